"""Short ways to run operators, and a whole engine, in a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from kafka_etl.codecs import BYTES
from kafka_etl.codecs.json.codec import PLUGIN, JsonSettings
from kafka_etl.contracts import Abandoned, Codec, CodecContext, OffsetKeeper
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.attempt.decode import decode_for
from kafka_etl.engine.attempt.encode import Encode
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.attempt.operate import operate_all
from kafka_etl.engine.hooks import Hooks, Limits
from kafka_etl.engine.poison.breaker import Breaker, BreakerLimits
from kafka_etl.engine.poison.crash_suspects import CrashSuspects, Evidence
from kafka_etl.engine.poison.kinds import Kinds
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.stream.commit_protocol import CommitProtocol
from kafka_etl.engine.stream.loop import StreamEngine
from kafka_etl.engine.stream.pace import Pace
from kafka_etl.engine.stream.parts import Letters, StreamParts
from kafka_etl.functions.bind import BoundOperator, bind, settings_of
from kafka_etl.functions.context import Context
from kafka_etl.invocation import Condition, Failure, Invocation, Outcome, Outputs
from kafka_etl.metrics import Counters
from kafka_etl.record import Batch, Partition, next_offsets
from kafka_etl.retry import Backoff, RetryPolicy
from kafka_etl.testing import Answer, MemoryBroker, MemorySink, MemorySource, StoredRecord

Operator = Callable[..., Any] | BoundOperator
PATIENT = RetryPolicy(max_attempts=3, backoff=Backoff(initial=1, max=100, jitter="none"))
"""Three attempts, with waits of 1 and 2 seconds."""


def bound(function: Operator, **settings: Any) -> BoundOperator:
    """The operator as a pipeline binds it."""
    if isinstance(function, BoundOperator):
        return function
    name = getattr(function, "__name__", "op")
    model = settings_of(function, name)
    return bind(function, model.model_validate(settings), Context("p", name, "w"))


def as_bytes(value: Any) -> bytes | None:
    """JSON; bytes and None stay what they are."""
    return value if isinstance(value, bytes | None) else orjson.dumps(value)


def records(*values: Any) -> list[StoredRecord]:
    """Records of one partition: JSON values, raw bytes, None for a tombstone."""
    return [
        StoredRecord(as_bytes(value), b"k%d" % offset, offset=offset, timestamp_ms=1000 + offset)
        for offset, value in enumerate(values)
    ]


def json() -> Codec:
    """A new one: it has not learnt any schema."""
    return PLUGIN.build(JsonSettings(), CodecContext("source", "value"))


def chain_of(
    *operators: Operator,
    value: Codec | None = None,
    key: Codec = BYTES,
    sink: Codec | None = None,
    pools: Pools | None = None,
    converts: bool = False,
    converts_keys: bool = False,
    **encode: Any,
) -> Chain:
    """The stages as a worker makes them of these operators."""
    ready = [bound(operator) for operator in operators]
    return Chain(
        decode=decode_for(
            ready, value or json(), key, converts=converts, converts_keys=converts_keys
        ),
        operators=operate_all(ready, pools or Pools(ready, lambda: None)),
        encode=Encode(value=sink or json(), key=key, topic="out", **encode),
        entering=lambda _stage: None,
    )


@dataclass
class Ran:
    """What came of one invocation."""

    outcome: Outcome
    waits: list[float] = field(default_factory=list)

    @property
    def outputs(self) -> Outputs:
        return self.outcome.outputs

    @property
    def values(self) -> list[Any]:
        """Values, decoded; None for a tombstone."""
        return [None if v is None else orjson.loads(v) for v in self.outputs.values]

    @property
    def origins(self) -> list[int]:
        origins = self.outputs.origins
        return list(range(len(self.outputs))) if origins is None else origins

    @property
    def failed(self) -> dict[int, str]:
        """Index of the record -> its error."""
        return {f.index: f"{f.error.type}: {f.error.message}" for f in self.outcome.failed}

    @property
    def conditions(self) -> dict[int, Condition]:
        return {f.index: f.condition for f in self.outcome.failed}

    def failure(self) -> Failure:
        """The only one."""
        (failure,) = self.outcome.failed
        return failure


def run(
    chain: Chain | Operator,
    *given: Any,
    policy: RetryPolicy = PATIENT,
    policies: Mapping[str, RetryPolicy] | None = None,
) -> Ran:
    """One invocation of these records, or of records of these values, to its end."""
    if not isinstance(chain, Chain):
        chain = chain_of(chain)
    source = [
        v if isinstance(v, StoredRecord) else r
        for v, r in zip(given, records(*map(_plain, given)), strict=True)
    ]
    waits: list[float] = []
    clock = iter(range(10**9))
    invoker = Invoker(chain, policy, policies or {}, now_ms=clock.__next__, random=lambda: 1.0)
    invocation = Invocation("id", Batch(source, next_offsets(source), {}), 0)
    return Ran(invoker.run(invocation, lambda seconds, _reason: waits.append(seconds)), waits)


def _plain(value: Any) -> Any:
    return None if isinstance(value, StoredRecord) else value


class Log:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.ranges: list[dict[Partition, tuple[int, int]]] = []
        self.hands: list[tuple[Partition, int]] = []
        self.hand: tuple[Partition, int] | None = None
        self.counted: list[dict[tuple[str, str], float]] = []

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def operating(self, ranges: Mapping[Partition, tuple[int, int]]) -> None:
        if ranges:  # none: a commit has succeeded
            self.ranges.append(dict(ranges))
        self.hand = None

    def in_hand(self, partition: Partition, offset: int) -> None:
        self.hand = (partition, offset)
        self.hands.append(self.hand)

    def count(self, counters: Mapping[tuple[str, str], float]) -> None:
        self.counted.append(dict(counters))


Overlap = Literal["at once", "late"]
"""When a commit that was begun is made: before anything else, or when its outcome is asked for."""


class Begun:
    """A call in no thread at all: it is made at one end of the time it may take."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def ended(self, _seconds: float) -> bool:
        return True

    def result(self) -> Any:
        return self._call()


def begin_at_once(call: Callable[[], Any]) -> Begun:
    future: Future[Any] = Future()
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001 - raised where the outcome is asked for
        future.set_exception(error)
    return Begun(future.result)


SUBMIT: dict[Overlap, Callable[[Callable[[], Any]], Begun]] = {
    "at once": begin_at_once,
    "late": Begun,
}


class Eager(CommitProtocol):
    """Overlaps always, or never: what is worth it is a question of times."""

    overlaps = False

    @property
    def may_overlap(self) -> bool:
        return self.overlaps


class Bench:
    """An engine between a source and a sink in memory, on a clock of its own.

    Input is topic `in`, outputs go to `out`; records are written with `put` and the engine is
    moved with `step` and `finish`.
    """

    def __init__(
        self,
        *operators: Operator,
        partitions: int = 1,
        batch: int = 1000,
        slice_size: int | None = None,
        dead_letters: bool = True,
        answers: Iterable[Answer] = (),
        policy: RetryPolicy = PATIENT,
        evidence: Evidence | None = None,
        max_deaths: int = 2,
        together: int = 1,
        max_consecutive: int = 1000,
        limits: BreakerLimits | None = None,
        kinds: Kinds | None = None,
        settle_after: float = 5.0,
        settle_bytes: int = 2**26,
        chain: Chain | None = None,
        broker: MemoryBroker | None = None,
        overlap: Overlap | None = None,
        sink: Callable[[MemoryBroker], Any] | None = None,
        letters: Letters | None = None,
    ) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.trouble: str | None = None
        self.troubles: list[str] = []
        self.fences: list[str] = []
        self.stop = False
        self.broker = broker or MemoryBroker()
        if broker is None:
            self.broker.create("in", partitions)
            self.broker.create("out", partitions)
        self.partitions = self.broker.partitions("in")
        self.sink: Any = sink(self.broker) if sink else MemorySink(self.broker, "out", answers)
        keeps = isinstance(self.sink, OffsetKeeper)
        self.source = MemorySource(self.broker, self.partitions, offsets_in_sink=keeps)
        self.sink.open()
        self.log = Log()
        self.counters = Counters()
        self.kinds = kinds or Kinds()
        self.breaker = Breaker(limits or BreakerLimits(max_consecutive), self.kinds)
        self.pace = Pace(batch, 1.0) if slice_size is None else FixedPace(batch, slice_size)
        chain = chain_of(*operators) if chain is None else chain
        self.condemned = Quarantine(
            CrashSuspects(evidence, max_deaths=max_deaths, by_range=chain.mixes, together=together)
        )
        parts = StreamParts(
            source=self.source,
            sink=self.sink,
            invoker=Invoker(
                chain, policy, {}, now_ms=lambda: int(self.now * 1000), random=lambda: 1.0
            ),
            limits=Limits(dead_letters, settle_after, settle_bytes),
            pace=self.pace,
            breaker=self.breaker,
            kinds=self.kinds,
            quarantine=self.condemned,
            recorder=self.log,
            counters=self.counters,
            hooks=Hooks(
                stopping=lambda: self.stop,
                sleep=self._sleep,
                fenced=self.fences.append,
                trouble=self._note_trouble,
                clock=lambda: self.now,
                now_ms=lambda: int(self.now * 1000),
                random=lambda: 1.0,
            ),
            submit=SUBMIT[overlap or "at once"],
            letters=letters,
        )
        self.engine = StreamEngine(parts)
        protocol = Eager(parts, self.engine._membership, self.engine._healthy)
        protocol.overlaps = overlap is not None
        self.engine._protocol = self.engine._recovery._protocol = protocol

    @property
    def under_way(self) -> bool:
        """Whether a commit was begun whose outcome is not taken in yet."""
        return self.engine._protocol.under_way

    def read_from(self, source: MemorySource) -> None:
        """Another source from here on."""
        self.source = self.engine._membership._source = source
        object.__setattr__(self.engine._parts, "source", source)

    def put(self, *values: Any, partition: int = 0, keys: Sequence[bytes] | None = None) -> None:
        """Write records: JSON values, raw bytes, None for a tombstone."""
        for number, value in enumerate(values):
            key = keys[number] if keys else b"k"
            self.broker.append("in", as_bytes(value), key, partition=partition)

    def step(self) -> None:
        self.engine.step()

    def finish(self, steps: int = 1000) -> None:
        """Step until the group stands at the end."""
        ends = {tp: self.broker.end(tp) for tp in self.partitions}
        for _ in range(steps):
            if self.source.finished(ends):
                return
            self.step()
        raise AssertionError(f"not at the end after {steps} steps: {self.broker.offsets}")

    def outputs(self) -> list[Any]:
        """Values in topic `out`, decoded, partition by partition."""
        return [
            None if r.value() is None else orjson.loads(r.value() or b"")
            for r in self.broker.records("out")
        ]

    def letters(self) -> list[Any]:
        """(value, condition) of each dead letter."""
        return [(d.record.value(), d.failure.condition.value) for d in self.broker.dead_letters]

    def offset(self, partition: int = 0) -> int:
        return self.broker.offsets.get(self.partitions[partition], 0)

    def count(self, name: str, label: str = "") -> float:
        return self.counters.snapshot().get((name, label), 0)

    def commits(self) -> list[int]:
        """How many outputs each commit had."""
        return [len(settlement.outputs) for settlement in self.sink.commits]

    def _note_trouble(self, trouble: str | None) -> None:
        self.trouble = trouble
        if trouble is not None:
            self.troubles.append(trouble)

    def _sleep(self, seconds: float) -> None:
        if self.stop:
            raise Abandoned
        self.waits.append(seconds)
        self.now += seconds


class FixedPace(Pace):
    """Slices of one size, whatever time they take."""

    def __init__(self, max_records: int, slice_size: int) -> None:
        super().__init__(max_records, 1.0)
        self._fixed = slice_size

    @property
    def slice_size(self) -> int:
        return self._fixed
