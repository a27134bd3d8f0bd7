"""Exactly once, whatever happens on the way: aborts, refusals, lost answers, rebalances.

The checker of `fates` reads everything back. That it would notice is tested as well, against
engines, sources and sinks that are wrong in one thing each.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_etl.contracts import Aborted, OutcomeUnknown
from kafka_etl.engine.stream import uncommitted as finished
from kafka_etl.invocation import Outputs, Settlement
from kafka_etl.record import Batch, partition_of
from kafka_etl.settle import excluding
from kafka_etl.testing import Answer, MemoryBroker, MemorySource
from tests.property.fates import Fate, Form, Operators, fates, forms, is_refused, problems
from tests.unit.engine.kit import Begun, Bench, Overlap

FORGIVING = [answer for answer in Answer if answer is not Answer.COMMITTED]


@dataclass
class Plan:
    """A run: what is put in, what it goes through, and what goes wrong when.

    Attributes:
        answers: Of the sink to the first commits.
        handovers: Call of an operator -> the partition that moves to the other worker then.
        overlap: Whether full batches are committed while the next is run, and when that happens.
    """

    written: list[Fate]
    chosen: list[Form] = field(default_factory=lambda: ["value", "value"])
    partitions: int = 2
    batch: int = 100
    slice_size: int = 3
    seconds: float = 0.3
    settle_after: float = 1.0
    answers: list[Answer] = field(default_factory=list)
    handovers: dict[int, int] = field(default_factory=dict)
    overlap: Overlap | None = None


plans = st.builds(
    Plan,
    written=st.lists(fates, min_size=1, max_size=25),
    chosen=forms,
    partitions=st.integers(1, 3),
    batch=st.integers(1, 30),
    slice_size=st.integers(1, 10),
    seconds=st.sampled_from([0.0, 0.1, 0.6, 3.0]),
    settle_after=st.sampled_from([1.0, 1000.0]),
    answers=st.lists(st.sampled_from(Answer), max_size=8),
    handovers=st.dictionaries(st.integers(1, 40), st.integers(0, 2), max_size=4),
    overlap=st.sampled_from([None, "at once", "late"]),
)


class Run:
    """Two workers of one group over one broker; one begins with everything."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.broker = MemoryBroker()
        self.broker.create("in", plan.partitions)
        self.broker.create("out", 1)
        for number, fate in enumerate(plan.written):
            place = number % plan.partitions
            self.broker.append("in", fate.value(number), b"%d" % number, partition=place)
        self.strangers: list[str] = []
        self._calls = 0
        self._moving: list[tuple[Bench, Any]] = []
        self.benches = [self._bench(), self._bench()]
        self.benches[1].source.revoke(*self.benches[1].partitions)
        self.benches[1].source.serve()

    def finish(self) -> list[str]:
        """Run both to the end, and check everything."""
        for _ in range(400):
            if self.benches[0].source.finished({tp: self.broker.end(tp) for tp in self._all}):
                break
            for bench in self.benches:
                bench.step()
                self._hand_over(bench)
        return problems(self.plan.written, self.plan.chosen, self.broker) + self.strangers

    @property
    def _all(self) -> tuple[Any, ...]:
        return self.broker.partitions("in")

    def _bench(self) -> Bench:
        operators = Operators(self.plan.chosen)
        bench = Bench(
            *operators,
            broker=self.broker,
            batch=self.plan.batch,
            slice_size=self.plan.slice_size,
            answers=self.plan.answers,
            settle_after=self.plan.settle_after,
            overlap=self.plan.overlap,
        )
        operators.on_call = lambda: self._called(bench)
        bench.sink.refuses = is_refused
        store = bench.sink._store

        def watched(settlement: Settlement) -> None:
            self._watch(bench.source, settlement)
            store(settlement)

        bench.sink._store = watched  # type: ignore[method-assign]
        return bench

    def _called(self, bench: Bench) -> None:
        """An operator is called: time passes, and perhaps a partition is asked back."""
        bench.now += self.plan.seconds
        self._calls += 1
        number = self.plan.handovers.get(self._calls)
        if number is not None and number < len(self._all):
            partition = self._all[number]
            if partition in bench.source.positions():
                bench.source.revoke(partition)
                self._moving.append((bench, partition))

    def _hand_over(self, bench: Bench) -> None:
        """Give what has left this worker to the other."""
        for entry in list(self._moving):
            giver, partition = entry
            if giver is bench and partition not in giver.source.positions():
                self._moving.remove(entry)
                other = self.benches[giver is self.benches[0]]
                other.source.assign(partition)

    def _watch(self, source: MemorySource, settlement: Settlement) -> None:
        """Whoever commits a partition must have it: its next owner is at work already."""
        for partition in settlement.progress.keys() - source.positions().keys():
            self.strangers.append(f"{partition} was committed after it had left")


@settings(max_examples=150, deadline=None)
@given(plans)
@example(Plan([Fate("refused")] * 9))
@example(Plan([Fate("flaky", count=3)] * 9, ["records", "values"], answers=FORGIVING))
def test_every_record_ends_in_its_outputs_or_one_dead_letter(plan: Plan) -> None:
    assert Run(plan).finish() == []


# The checker itself

MISHAPS = Plan(
    written=[Fate(kind) for kind in ["ok", "many", "bad", "drop", "null", "unencodable"] * 4],
    chosen=["record", "value"],
    answers=[Answer.ABORTED, Answer.LOST_AFTER, Answer.COMMITTED, Answer.LOST_BEFORE],
)
SLICES = Plan([Fate()] * 20, ["records", "value"], settle_after=1000)
WAITS = Plan(
    [Fate("flaky"), Fate("flaky"), Fate()] * 4, partitions=3, seconds=0.0, handovers={1: 1, 8: 2}
)
MOVES = Plan([Fate()] * 24, partitions=3, slice_size=6, settle_after=1000, handovers={4: 0, 16: 1})


joined = Outputs.joined


def not_atomic(bench: Bench, _patch: pytest.MonkeyPatch) -> None:
    """A sink whose outputs stay though it says that it aborted."""
    sink = bench.sink
    commit = sink._commit

    def leaking(settlement: Settlement) -> None:
        try:
            commit(settlement)
        except Aborted:
            for row in range(len(settlement.outputs)):
                sink._store_output(settlement.outputs, row)
            raise

    sink._commit = leaking


def offsets_first(bench: Bench, _patch: pytest.MonkeyPatch) -> None:
    """A sink that moves the offsets of what it may yet abort."""
    commit = bench.sink._commit

    def hasty(settlement: Settlement) -> None:
        bench.broker.offsets.update(settlement.progress)
        commit(settlement)

    bench.sink._commit = hasty


def no_letters(bench: Bench, _patch: pytest.MonkeyPatch) -> None:
    """A sink that forgets its dead letters."""
    store = bench.sink._store
    bench.sink._store = lambda s: store(replace(s, dead_letters=()))  # type: ignore[method-assign]


def no_rewind(bench: Bench, _patch: pytest.MonkeyPatch) -> None:
    """A source that goes on where it was after an abort."""
    bench.source.rewind = lambda: None  # type: ignore[method-assign]


def no_reload(bench: Bench, _patch: pytest.MonkeyPatch) -> None:
    """A source that takes a lost answer for an abort."""
    bench.source.reload = bench.source.rewind  # type: ignore[method-assign]


def twice(_bench: Bench, patch: pytest.MonkeyPatch) -> None:
    """An engine that sends the first slice of a commit again behind the others."""
    patch.setattr(Outputs, "joined", lambda parts: joined([*parts, parts[0]]))


def out_of_order(_bench: Bench, patch: pytest.MonkeyPatch) -> None:
    """An engine that joins its slices the wrong way round."""
    patch.setattr(Outputs, "joined", lambda parts: joined(parts[::-1]))


def blind_after_waits(bench: Bench, _patch: pytest.MonkeyPatch) -> None:
    """An engine that does not look who left while it waited for the next attempt."""
    engine = bench.engine
    wait = engine.wait

    def waited(seconds: float, reason: str) -> None:
        served = engine._membership._served
        wait(seconds, reason)
        engine._membership._served = max(served, bench.now)

    engine.wait = waited  # type: ignore[method-assign]


def old_origins(_bench: Bench, patch: pytest.MonkeyPatch) -> None:
    """An engine that leaves a partition out, and forgets that the records behind it move up."""

    def unmoved(batch: Batch, settlement: Settlement, gone: Any) -> Settlement | None:
        rest = excluding(batch, settlement, gone)
        if rest is not None and rest is not settlement:
            stay = [index for index, r in enumerate(batch.records) if partition_of(r) not in gone]
            rest.outputs.origins = [stay[index] for index in rest.outputs.origins or ()]
        return rest

    patch.setattr(finished, "excluding", unmoved)


SEEDED = {
    not_atomic: MISHAPS,
    offsets_first: MISHAPS,
    no_letters: MISHAPS,
    no_rewind: MISHAPS,
    no_reload: MISHAPS,
    twice: SLICES,
    out_of_order: SLICES,
    blind_after_waits: WAITS,
    old_origins: MOVES,
}


OVERLAPS: list[Overlap | None] = [None, "at once", "late"]


def overlapping(plan: Plan, overlap: Overlap | None) -> Plan:
    """The same in batches so small that another follows."""
    return replace(plan, batch=len(plan.written) // 2, overlap=overlap) if overlap else plan


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("plan", [MISHAPS, SLICES, WAITS, MOVES])
def test_these_runs_are_right_as_they_are(plan: Plan, overlap: Overlap | None) -> None:
    assert Run(overlapping(plan, overlap)).finish() == []


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("wrong", SEEDED, ids=lambda wrong: wrong.__name__)
def test_and_what_is_wrong_in_them_is_noticed(
    wrong: Callable[[Bench, pytest.MonkeyPatch], None],
    overlap: Overlap | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(overlapping(SEEDED[wrong], overlap))
    for bench in run.benches:
        wrong(bench, monkeypatch)
    assert run.finish() != []


LATER = Plan(
    [Fate()] * 24,
    batch=4,
    settle_after=1000,
    answers=[Answer.COMMITTED, Answer.COMMITTED, Answer.ABORTED],
)


def deaf(bench: Bench) -> None:
    """An engine that takes every commit that was begun for durable."""
    submit = bench.engine._parts.submit

    def hearing_nothing(call: Callable[[], float]) -> Begun:
        submitted = submit(call)

        def result() -> float:
            with suppress(Aborted, OutcomeUnknown):
                return submitted.result()
            return 0.0

        return Begun(result)

    object.__setattr__(bench.engine._parts, "submit", hearing_nothing)


@pytest.mark.parametrize("overlap", ["at once", "late"])
def test_whoever_does_not_hear_how_a_commit_ended_is_noticed(overlap: Overlap) -> None:
    run = Run(replace(LATER, overlap=overlap))
    assert Run(replace(LATER, overlap=overlap)).finish() == []
    for bench in run.benches:
        deaf(bench)
    assert run.finish() != []
