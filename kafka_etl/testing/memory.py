"""A source and a sink on a small broker in memory, for tests of whole pipelines without Kafka.

Both pass the suites of the Kafka source and sink (`SourceContract`, `SinkContract`). Tests can also
revoke and assign partitions, make the sink abort or refuse commits, or lose answers to commits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from itertools import chain, islice, zip_longest
from zlib import crc32

from kafka_etl.contracts import Aborted, Arrival, OutcomeUnknown, Position, Refusal
from kafka_etl.invocation import DeadLetter, Outputs, Settlement
from kafka_etl.record import (
    Batch,
    Headers,
    Offsets,
    Partition,
    next_offsets,
    offset_of,
    partition_of,
)
from kafka_etl.trial.stored_record import StoredRecord


class MemoryBroker:
    """A broker in memory: topics, and the committed offsets of one group.

    Attributes:
        offsets: Partition -> offset that the group has committed.
        notes: Partition -> note committed with the offset.
        dead_letters: Committed dead letters, in order.
    """

    def __init__(self) -> None:
        self.offsets: dict[Partition, int] = {}
        self.notes: dict[Partition, str] = {}
        self.dead_letters: list[DeadLetter] = []
        self._logs: dict[Partition, list[StoredRecord]] = {}
        self._ends: dict[Partition, int] = {}
        self._leases: list[object] = []

    def create(self, topic: str, partitions: int = 1) -> None:
        """Create an empty topic with this number of partitions."""
        for number in range(partitions):
            self._logs[Partition(topic, number)] = []
            self._ends[Partition(topic, number)] = 0

    def partitions(self, topic: str) -> tuple[Partition, ...]:
        """Return the partitions of a topic, by number."""
        return tuple(sorted(tp for tp in self._logs if tp.topic == topic))

    def append(  # noqa: PLR0913 - the parts of a Kafka record
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Headers | None = None,
        *,
        timestamp_ms: int | None = None,
        partition: int | None = None,
    ) -> StoredRecord:
        """Append a record to a topic; by default a hash of the key chooses the partition."""
        number = partition
        if number is None:
            number = crc32(key or b"") % len(self.partitions(topic))
        place = Partition(topic, number)
        record = StoredRecord(
            value,
            key,
            headers,
            timestamp_ms=timestamp_ms,
            topic=topic,
            partition=number,
            offset=self._ends[place],
        )
        self._logs[place].append(record)
        self._ends[place] += 1
        return record

    def leave_gap(self, partition: Partition, offsets: int = 1) -> None:
        """Skip offsets, as the markers and the aborted records of transactions do in Kafka."""
        self._ends[partition] += offsets

    def end(self, partition: Partition) -> int:
        """Return the offset that the next record will get."""
        return self._ends[partition]

    def read(self, partition: Partition, offset: int, limit: int) -> list[StoredRecord]:
        """Return at most `limit` records of a partition, from `offset` on."""
        log = self._logs[partition]
        first = bisect_left(log, offset, key=offset_of)
        return log[first : first + limit]

    def records(self, topic: str) -> list[StoredRecord]:
        """Return all records of a topic, partition by partition."""
        return list(chain.from_iterable(self._logs[tp] for tp in self.partitions(topic)))

    def renew_lease(self, lease: object | None) -> object:
        """Return a member's new proof of membership, as a rebalance does; void the old one.

        Args:
            lease: Proof so far; None: the member is new.
        """
        self.void_lease(lease)
        renewed = object()
        self._leases.append(renewed)
        return renewed

    def void_lease(self, lease: object | None) -> None:
        """Make a proof of membership invalid: the broker aborts commits with this proof."""
        self._leases = [known for known in self._leases if known is not lease]

    def is_member(self, lease: object | None) -> bool:
        """Whether a proof of membership is valid."""
        return any(known is lease for known in self._leases)


class MemorySource:
    """A source on a broker in memory; one member of the broker's group.

    `assign` and `revoke` take effect in the next `poll` or `serve`, as they do in a Kafka client.
    After a revocation the source is still a member, and the broker accepts its commits, even for a
    revoked partition: the caller must not commit for such a partition.

    Args:
        broker: Broker with the topics.
        partitions: Partitions assigned in the first `poll` or `serve`.
        offsets_in_sink: Whether partitions that arrive wait for `place`.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        partitions: Iterable[Partition],
        *,
        offsets_in_sink: bool = False,
    ) -> None:
        self._broker = broker
        self._offsets_in_sink = offsets_in_sink
        self._waiting: set[Partition] = set()
        self._pending: list[Callable[[], None]] = []
        self._taken: dict[Partition, int] = {}
        self._durable: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._stamps: dict[Partition, int] = {}
        self._arrived: dict[Partition, Arrival] = {}
        self._departed: set[Partition] = set()
        self._lease: object | None = None
        self.assign(*partitions)

    # Called by tests

    def assign(self, *partitions: Partition) -> None:
        """Assign partitions to the source, from the next `poll` or `serve` on."""
        self._pending.append(lambda: self._arrive(partitions))

    def revoke(self, *partitions: Partition) -> None:
        """Revoke partitions in the next `poll` or `serve`; until then the source keeps them."""
        self._pending.append(lambda: self._leave(partitions))

    def expel(self) -> None:
        """Expel the source from its group: the broker aborts its commits from now on.

        The partitions are revoked in the next `poll` or `serve`, which makes the source a member
        again.
        """
        self._broker.void_lease(self._lease)
        self.revoke(*self._taken)

    # Called by the engine

    def poll(self, limit: int) -> Batch | None:
        """See `kafka_etl.contracts.Source`; this source never waits for records."""
        self.serve()
        before = dict(self._next)
        logs = [
            self._broker.read(tp, at, limit)
            for tp, at in sorted(self._next.items())
            if tp not in self._waiting
        ]
        in_turn = chain.from_iterable(zip_longest(*logs))
        records = list(islice((record for record in in_turn if record is not None), limit))
        progress = self._progress(records)
        self._next.update(progress)
        self._stamps.update({partition_of(record): record.timestamp()[1] for record in records})
        begins = {tp: before[tp] for tp in progress}
        return Batch(records, progress, begins) if progress else None

    def serve(self) -> None:
        pending, self._pending = self._pending, []
        for change in pending:
            change()
        if pending:
            self._lease = self._broker.renew_lease(self._lease)

    @property
    def lease(self) -> object:
        return self._lease

    def arrivals(self) -> Mapping[Partition, Arrival]:
        arrived, self._arrived = self._arrived, {}
        return arrived

    def departures(self) -> frozenset[Partition]:
        departed, self._departed = frozenset(self._departed), set()
        return departed

    def advance(self, progress: Offsets) -> None:
        self._taken.update({tp: at for tp, at in progress.items() if tp in self._taken})

    def settle(self, progress: Offsets) -> None:
        self._durable.update({tp: at for tp, at in progress.items() if tp in self._durable})

    def place(self, offsets: Offsets) -> None:
        for tp, at in offsets.items():
            if tp in self._taken:
                self._taken[tp] = self._durable[tp] = self._next[tp] = at
                self._waiting.discard(tp)

    def rewind(self) -> None:
        self._next = dict(self._taken)

    def reload(self) -> None:
        self._taken = {tp: self._broker.offsets.get(tp, 0) for tp in self._taken}
        self._durable = dict(self._taken)
        self.rewind()

    def positions(self) -> Mapping[Partition, Position]:
        return {
            tp: Position(at, self._broker.end(tp), self._stamps.get(tp, -1))
            for tp, at in self._durable.items()
        }

    @property
    def joined(self) -> bool:
        return self._broker.is_member(self._lease)

    @property
    def trouble(self) -> str | None:
        return None

    def finished(self, ends: Offsets) -> bool:
        return all(self._broker.offsets.get(tp, 0) >= end for tp, end in ends.items())

    def close(self) -> None:
        self._broker.void_lease(self._lease)
        self._leave(tuple(self._taken))

    def _progress(self, records: Sequence[StoredRecord]) -> dict[Partition, int]:
        """Return partition -> next offset after these records.

        If no record follows in a partition, the next offset is the partition's end, past a gap.
        """
        progress = next_offsets(records)
        for tp, at in self._next.items():
            if not self._broker.read(tp, progress.get(tp, at), 1):
                end = self._broker.end(tp)
                if end > at and tp not in self._waiting:
                    progress[tp] = end
        return progress

    def _arrive(self, partitions: Sequence[Partition]) -> None:
        for tp in partitions:
            offset = self._broker.offsets.get(tp, 0)
            self._taken[tp] = self._durable[tp] = self._next[tp] = offset
            if self._offsets_in_sink:
                self._waiting.add(tp)
            self._arrived[tp] = Arrival(offset, self._broker.notes.get(tp, ""))

    def _leave(self, partitions: Sequence[Partition]) -> None:
        for tp in partitions:
            if self._taken.pop(tp, None) is not None:
                self._departed.add(tp)
            self._durable.pop(tp, None)
            self._waiting.discard(tp)
            self._next.pop(tp, None)
            self._arrived.pop(tp, None)


class Answer(Enum):
    """The outcome of a commit to a `MemorySink`."""

    COMMITTED = "it succeeds"
    ABORTED = "the target is away, nothing is durable"
    ABORTED_ROUTINE = "a rebalance got in the way, nothing is durable"
    LOST_BEFORE = "the answer is lost, and nothing is durable"
    LOST_AFTER = "the answer is lost, and everything is durable"
    FENCED = "another client has our id, and nothing is durable"


def _nothing(_: object) -> bool:
    return False


class MemorySink:
    """A sink on a broker in memory; commits outputs, dead letters and offsets as one act.

    Args:
        broker: Broker with the topics.
        topic: Topic of outputs that name no topic.
        answers: Outcomes of the first commits.

    Attributes:
        answers: Outcomes of the next commits; any later commit succeeds.
        refuses: Function that tells whether the sink refuses an output's value. A refusal aborts
            the whole settlement.
        refuses_letter: Function that tells the same of a dead letter.
        commits: Settlements that became durable, in order.
        opened: Number of calls of `open`.
    """

    def __init__(self, broker: MemoryBroker, topic: str, answers: Iterable[Answer] = ()) -> None:
        self.answers: deque[Answer] = deque(answers)
        self.refuses: Callable[[bytes | None], bool] = _nothing
        self.refuses_letter: Callable[[DeadLetter], bool] = _nothing
        self.commits: list[Settlement] = []
        self.opened: int = 0
        self._broker = broker
        self._topic = topic
        self._ready = False

    def open(self) -> None:
        self.opened += 1
        self._ready = True

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`."""
        return lambda: self._commit(settlement)

    def close(self) -> None:
        self._ready = False

    def _commit(self, settlement: Settlement) -> None:
        if not self._ready:
            raise RuntimeError("a commit needs an open sink: `open` was not called, or not again")
        answer = self.answers.popleft() if self.answers else Answer.COMMITTED
        self._fail_before(answer)
        if not self._broker.is_member(settlement.lease):
            raise Aborted("the source is not a member of its group", routine=True)
        refusal = self._refusal(settlement)
        if refusal is not None:
            raise Aborted(refusal.message, refusal=refusal)
        self._store(settlement)
        if answer is Answer.LOST_AFTER:
            self._ready = False
            raise OutcomeUnknown(answer.value)

    def _fail_before(self, answer: Answer) -> None:
        match answer:
            case Answer.ABORTED:
                raise Aborted(answer.value)
            case Answer.ABORTED_ROUTINE:
                raise Aborted(answer.value, routine=True)
            case Answer.LOST_BEFORE | Answer.FENCED:
                self._ready = False
                raise OutcomeUnknown(answer.value, fenced=answer is Answer.FENCED)
            case Answer.COMMITTED | Answer.LOST_AFTER:
                pass

    def _refusal(self, settlement: Settlement) -> Refusal | None:
        if any(map(self.refuses, settlement.outputs.values)):
            return Refusal("REFUSED", "the sink refuses a record of the set")
        if any(map(self.refuses_letter, settlement.dead_letters)):
            return Refusal("REFUSED", "the sink refuses a dead letter")
        return None

    def _store(self, settlement: Settlement) -> None:
        for row in range(len(settlement.outputs)):
            self._store_output(settlement.outputs, row)
        self._broker.dead_letters.extend(settlement.dead_letters)
        self._broker.offsets.update(settlement.progress)
        self._broker.notes.update({tp: settlement.notes.get(tp, "") for tp in settlement.progress})
        self.commits.append(settlement)

    def _store_output(self, outputs: Outputs, row: int) -> None:
        self._broker.append(
            (outputs.topics[row] if outputs.topics else None) or self._topic,
            outputs.values[row],
            outputs.keys[row],
            outputs.headers[row] if outputs.headers else None,
            timestamp_ms=(outputs.timestamps[row] or None) if outputs.timestamps else None,
        )
