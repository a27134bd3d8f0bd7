"""After a death inside an operator: notes first, then record by record, then dead letters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kafka_etl import operator
from kafka_etl.contracts import Arrival
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.poison.crash_suspects import Evidence, Suspect
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.engine.rows.mapping import PoolFailed
from kafka_etl.invocation import Outputs
from kafka_etl.record import Partition, SourceRecord
from kafka_etl.testing import Answer
from tests.unit.engine.kit import Bench, Operator, chain_of

A = Partition("in", 0)


class Killed(BaseException):
    """Stands for the death of the process; nothing catches it on its way."""


def same(value: Any) -> Any:
    return value


def evidence(first: int, following: int, hand: int | None = None) -> Evidence:
    return Evidence({A: (first, following)}, None if hand is None else (A, hand), "killed")


def note(bench: Bench) -> Suspect | None:
    return Suspect.from_note(bench.broker.notes.get(A, ""))


def test_what_is_known_is_committed_before_anything_is_run() -> None:
    bench = Bench(same, evidence=evidence(2, 5, hand=3))
    bench.broker.offsets[A] = 2
    bench.put(*range(8))
    bench.step()
    first = bench.sink.commits[0]
    assert (len(first.outputs), first.progress) == (0, {A: 2})
    assert Suspect.from_note(first.notes[A]) == Suspect(2, 5, 3, 1, "killed")


def test_the_suspect_range_is_run_record_by_record() -> None:
    bench = Bench(same, evidence=evidence(0, 4), slice_size=100)
    bench.put(*range(8))
    bench.finish()
    assert bench.outputs() == list(range(8))
    assert bench.log.hands == [(A, offset) for offset in range(4)]
    assert bench.log.ranges[-1] == {A: (4, 8)}
    assert note(bench) is None
    assert not bench.condemned
    bench.put(8, 9)
    bench.finish()
    assert len(bench.log.hands) == 4


def noting(sizes: list[int]) -> Operator:
    """An operator on lists, which notes how long each was."""

    def op(values: list[int]) -> list[int]:
        sizes.append(len(values))
        return values

    return op


def test_records_of_other_partitions_are_run_as_ever() -> None:
    sizes: list[int] = []
    bench = Bench(noting(sizes), evidence=evidence(0, 3), partitions=2, slice_size=100)
    bench.put(*range(50), partition=1)
    bench.put(*range(5), partition=0)
    bench.finish()
    assert sizes == [1, 1, 1, 1, 1, 50]  # the source takes turns until there is no suspect left


def test_so_many_as_are_worked_on_at_once_are_run_together_first() -> None:
    sizes: list[int] = []
    bench = Bench(noting(sizes), evidence=evidence(0, 10), together=4, slice_size=100)
    bench.put(*range(12))
    bench.finish()
    assert sizes == [4, 4, 2, 2]
    assert bench.log.hands == []
    assert bench.log.ranges[:3] == [{A: (0, 4)}, {A: (4, 8)}, {A: (8, 10)}]


def test_progress_inside_the_range_keeps_its_note() -> None:
    bench = Bench(same, evidence=evidence(0, 6, hand=4), batch=3)
    bench.put(*range(8))
    bench.step()
    assert bench.offset() == 3
    assert note(bench) == Suspect(0, 6, 4, 1, "killed")
    bench.finish()
    assert note(bench) is None


def test_so_many_deaths_on_one_record_make_a_dead_letter_without_another_call() -> None:
    seen: list[int] = []

    def op(value: int) -> int:
        seen.append(value)
        return value

    bench = Bench(op, evidence=evidence(0, 6, hand=3), max_deaths=2)
    bench.put(*range(8))
    bench.broker.notes[A] = Suspect(0, 6, 3, 1, "killed").note()
    bench.finish()
    assert 3 not in seen
    assert bench.outputs() == [n for n in range(8) if n != 3]
    assert bench.letters() == [(b"3", "WorkerCrashed")]
    (letter,) = bench.broker.dead_letters
    said = letter.failure.error.message
    assert said == "the worker died 2 times with this record alone in hand: killed"
    assert (letter.failure.attempts, letter.failure.deaths) == ((), 2)


def test_a_condemned_record_is_committed_before_the_next_is_run() -> None:
    """The next may kill the worker, too, and would take its place in the note."""

    def op(value: int) -> int:
        assert bench.offset() >= (4 if value > 3 else 0)
        return value

    bench = Bench(op, evidence=evidence(0, 6, hand=3), max_deaths=1)
    bench.put(*range(8))
    bench.finish()
    assert bench.outputs() == [n for n in range(8) if n != 3]


def test_a_note_that_could_not_be_committed_is_committed_later() -> None:
    bench = Bench(
        same, evidence=evidence(0, 4, hand=1), answers=[Answer.ABORTED, Answer.LOST_BEFORE]
    )
    bench.put(*range(6))
    bench.finish()
    assert bench.outputs() == list(range(6))
    assert Suspect.from_note(bench.sink.commits[0].notes[A]) == Suspect(0, 4, 1, 1, "killed")


def test_a_partition_that_leaves_takes_its_note_along() -> None:
    bench = Bench(same, evidence=evidence(0, 4, hand=1), answers=[Answer.ABORTED], partitions=2)
    bench.put(*range(6))
    bench.put(7, partition=1)
    bench.step()
    bench.source.revoke(A)
    bench.step()
    bench.step()
    assert bench.sink.commits[0].progress.keys() == {bench.partitions[1]}
    assert not bench.condemned


def test_what_was_lost_on_the_way_comes_with_the_partition() -> None:
    bench = Bench(same)
    bench.put(*range(6))
    bench.broker.notes[A] = Suspect(0, 4, 1, 2, "killed").note()
    bench.finish()
    assert bench.letters() == [(b"1", "WorkerCrashed")]


def test_a_batch_operator_is_given_one_record_at_a_time() -> None:
    calls: list[list[int]] = []

    def op(values: list[int]) -> list[int]:
        calls.append(values)
        return values

    bench = Bench(op, evidence=evidence(0, 3), batch=3)
    bench.put(*range(6))
    bench.finish()
    assert calls[:3] == [[0], [1], [2]]


def test_where_rows_are_mixed_the_range_is_condemned_as_a_whole() -> None:
    calls: list[list[int]] = []

    @operator(mixes=True)
    def op(values: list[int]) -> list[int]:
        calls.append(values)
        return [sum(values)]

    bench = Bench(op, evidence=evidence(0, 3), max_deaths=1, slice_size=100)
    bench.put(*range(6))
    bench.finish()
    assert calls == [[3, 4, 5]]
    assert bench.letters() == [(b"%d" % n, "WorkerCrashed") for n in range(3)]
    assert len({letter.invocation_id for letter in bench.broker.dead_letters}) == 1
    said = bench.broker.dead_letters[0].failure.error.message
    assert said == "the worker died once with the batch of this record in hand: killed"


def test_what_is_committed_is_counted_before_the_next_record_may_kill() -> None:
    seen: list[tuple[float, float]] = []

    def op(value: int) -> int:
        counted = bench.log.counted[-1] if bench.log.counted else {}
        seen.append((bench.count("commits"), counted.get(("commits", ""), 0)))
        return value

    bench = Bench(op, evidence=evidence(0, 6, hand=3), max_deaths=1)
    bench.put(*range(8))
    bench.finish()
    assert max(seen) > (0, 0)
    assert all(committed == counted for committed, counted in seen)


def test_careful_work_is_committed_often() -> None:
    def op(value: int) -> int:
        bench.now += 0.06
        return value

    bench = Bench(op, evidence=evidence(0, 6))
    bench.put(*range(6))
    bench.finish()
    assert bench.commits() == [0, 2, 2, 2]


@pytest.mark.parametrize("killers", [{3}, {0}, {5}, {2, 3}, {0, 1, 5}])
@pytest.mark.parametrize("max_deaths", [1, 2, 3])
@pytest.mark.parametrize("together", [1, 2, 3])
def test_killers_are_found_by_one_worker_after_the_other(
    killers: set[int], max_deaths: int, together: int
) -> None:
    """The whole story: each death leaves what the recorder held, and the next worker goes on."""

    def op(value: int) -> int:
        if value in killers:
            raise Killed
        return value

    bench = Bench(batch=4)
    bench.put(*range(6))
    left: Evidence | None = None
    deaths = 0
    while bench.offset() < 6:
        bench = successor(bench, op, left, max_deaths, together)
        try:
            bench.finish()
        except Killed:
            deaths += 1
            left = Evidence(bench.log.ranges[-1], bench.log.hand, "killed")
        assert deaths < 50
    assert bench.outputs() == [n for n in range(6) if n not in killers]
    assert sorted(bench.letters()) == [(b"%d" % n, "WorkerCrashed") for n in sorted(killers)]
    assert deaths <= len(killers) * (max_deaths + (1 if together == 1 else 2))


class Mortal(Chain):
    """Stages in which user code that dies takes the worker with it."""

    def attempt(self, records: Sequence[SourceRecord]) -> tuple[Outputs, Flow]:
        outputs, flow = super().attempt(records)
        if any(isinstance(fault.error, Killed) for fault in flow.faults.values()):
            raise PoolFailed(Killed())
        return outputs, flow


def successor(
    bench: Bench, op: Any, left: Evidence | None, max_deaths: int, together: int
) -> Bench:
    """A new worker over the same broker."""
    made = chain_of(op)
    return Bench(
        chain=Mortal(made.decode, made.operators, made.encode, made.entering),
        batch=4,
        evidence=left,
        max_deaths=max_deaths,
        together=together,
        broker=bench.broker,
    )


def test_an_arrival_without_a_note_is_no_suspect() -> None:
    bench = Bench(same)
    assert bench.condemned.suspects.consider({A: Arrival(0, "somebody's own metadata")}) == {}
