from __future__ import annotations

import pytest

from kafka_etl.invocation import (
    SHARED,
    Condition,
    DeadLetter,
    ErrorInfo,
    Failure,
    Invocation,
    Outcome,
    Outputs,
    Refused,
    Settlement,
)
from kafka_etl.record import Batch, Partition
from kafka_etl.settle import Verdict, excluding, refused, settle
from kafka_etl.testing import StoredRecord

A, B, C = Partition("in", 0), Partition("in", 1), Partition("in", 2)


def batch(*partitions: Partition) -> Batch:
    """A record of each, in this order; offsets count from 10 in each partition."""
    at = dict.fromkeys(partitions, 10)
    records: list[StoredRecord] = []
    for tp in partitions:
        records.append(StoredRecord(b"", partition=tp.number, offset=at[tp]))
        at[tp] += 1
    return Batch(records, at, dict.fromkeys(partitions, 10))


def outputs(*origins: int, one_to_one: bool = False) -> Outputs:
    """An output of each origin, whose value says so."""
    values: list[bytes | None] = [b"%d" % origin for origin in origins]
    return Outputs(
        values=values,
        keys=list(values),
        headers=[[("h", value)] for value in values],
        timestamps=list(origins),
        topics=[f"t{origin}" for origin in origins],
        origins=None if one_to_one else list(origins),
        size=len(values),
    )


def failure(index: int) -> Failure:
    return Failure(index, Condition.OPERATOR_ERROR, ErrorInfo("E", "m"), "op")


def judge(records: Batch, outcome: Outcome, *, dead_letters: bool) -> Verdict:
    return settle(Invocation("id", records, 5), outcome, dead_letters=dead_letters, at_ms=7)


@pytest.mark.parametrize("dead_letters", [True, False])
def test_without_failures_everything_is_settled(*, dead_letters: bool) -> None:
    records = batch(A, B, A)
    done = outputs(0, 2, 2)
    verdict = judge(records, Outcome(done, dropped=1), dead_letters=dead_letters)
    whole = Settlement(
        done,
        (),
        records.progress,
        begins=records.begins,
        records=records.records,
        slices=(3,),
        invocation_id="id",
    )
    assert verdict == Verdict(whole)


def test_the_failed_become_dead_letters_with_their_invocation() -> None:
    records = batch(A, B, A)
    verdict = judge(records, Outcome(outputs(0), (failure(1), failure(2))), dead_letters=True)
    assert verdict.stop is None
    assert verdict.settlement.progress == {A: 12, B: 11}
    assert verdict.settlement.dead_letters == (
        DeadLetter(records.records[1], failure(1), "id", 7),
        DeadLetter(records.records[2], failure(2), "id", 7),
    )


def test_without_a_place_for_them_the_records_before_the_first_are_settled() -> None:
    records = batch(A, B, A, B, A)
    done = outputs(0, 0, 1, 3, 4)
    verdict = judge(records, Outcome(done, (failure(2),)), dead_letters=False)
    assert verdict.stop == DeadLetter(records.records[2], failure(2), "id", 7)
    assert verdict.settlement.outputs == done.take([0, 1, 2])
    assert verdict.settlement.progress == {A: 11, B: 11}
    assert verdict.settlement.dead_letters == ()


def test_nothing_before_the_first_is_nothing_settled() -> None:
    verdict = judge(batch(A, A), Outcome(outputs(1), (failure(0),)), dead_letters=False)
    assert len(verdict.settlement.outputs) == 0
    assert verdict.settlement.progress == {}


def test_outputs_of_all_are_of_the_failed_record_too() -> None:
    verdict = judge(batch(A, A), Outcome(outputs(0, SHARED), (failure(1),)), dead_letters=False)
    assert len(verdict.settlement.outputs) == 0
    assert verdict.settlement.progress == {}


# Leaving out partitions


def test_a_partition_that_was_not_there_changes_nothing() -> None:
    settlement = Settlement(outputs(0, 1), (), {A: 11, B: 11})
    assert excluding(batch(A, B), settlement, frozenset({C})) is settlement


@pytest.mark.parametrize("one_to_one", [True, False])
def test_what_was_made_of_a_partition_goes_with_it(*, one_to_one: bool) -> None:
    records = batch(A, B, A, C)
    done = outputs(0, 1, 2, 3, one_to_one=one_to_one)
    letters = tuple(DeadLetter(r, failure(i), "id", 7) for i, r in enumerate(records.records))
    settlement = Settlement(done, letters, records.progress, notes={C: "n"})
    rest = excluding(records, settlement, frozenset({A}))
    assert rest is not None
    assert rest.outputs.values == [b"1", b"3"]
    assert rest.outputs.headers == [[("h", b"1")], [("h", b"3")]]
    assert rest.outputs.topics == ["t1", "t3"]
    assert rest.outputs.size == 2
    assert [letter.record for letter in rest.dead_letters] == [
        records.records[1],
        records.records[3],
    ]
    assert rest.progress == {B: 11, C: 11}


def test_partitions_may_leave_one_after_the_other() -> None:
    """Origins are those of what remains: else the second to leave takes what is not its own."""
    records = batch(A, B, C, A, B, C)
    first = excluding(records, Settlement(outputs(*range(6)), (), records.progress), frozenset({A}))
    assert first is not None
    remaining = records.without(frozenset({A}))
    second = excluding(remaining, first, frozenset({B}))
    assert second is not None
    assert second.outputs.values == [b"2", b"5"]
    assert second.progress == {C: 12}


def test_progress_without_records_goes_with_its_partition_too() -> None:
    settlement = Settlement(Outputs(), (), {A: 5, B: 6})
    rest = excluding(Batch((), {A: 5, B: 6}, {}), settlement, frozenset({A}))
    assert rest == Settlement(Outputs(origins=[]), (), {B: 6}, records=[], slices=(0,))


def test_outputs_of_all_cannot_be_told_apart() -> None:
    settlement = Settlement(outputs(0, SHARED), (), {A: 11, B: 11})
    assert excluding(batch(A, B), settlement, frozenset({A})) is None
    assert excluding(batch(A, B), settlement, frozenset({C})) is settlement


# Joining


def test_settlements_are_joined_in_order() -> None:
    one, two = batch(A, B).records
    letter = DeadLetter(two, failure(0), "id", 7)
    joined = Settlement.joined(
        [
            Settlement(
                Outputs([b"1"], [None], size=1),
                (),
                {A: 1, B: 5},
                "old",
                records=[one],
                begins={A: 0},
            ),
            Settlement(outputs(0), (letter,), {A: 2}, "new", records=[two], begins={A: 1, B: 4}),
        ]
    )
    assert joined.outputs == Outputs(
        values=[b"1", b"0"],
        keys=[None, b"0"],
        headers=[None, [("h", b"0")]],
        timestamps=[0, 0],
        topics=[None, "t0"],
        origins=[0, 1],
        size=2,
    )
    assert joined.sources() == [one, two]
    assert (joined.begins, joined.slices) == ({A: 0, B: 4}, (1, 1))
    assert joined.dead_letters == (letter,)
    assert (joined.progress, joined.lease) == ({A: 2, B: 5}, "new")


def test_columns_that_nobody_has_stay_away() -> None:
    plain = Outputs([b"1"], [None], size=1)
    joined = Outputs.joined([plain, plain])
    assert (joined.headers, joined.timestamps, joined.topics) == (None, None, None)
    assert len(joined) == 2


def test_outputs_of_all_records_keep_to_their_slice() -> None:
    records = batch(A, B, A).records
    joined = Settlement.joined(
        [
            Settlement(outputs(0, SHARED), (), {A: 11}, records=records[:2]),
            Settlement(outputs(SHARED), (), {A: 12}, records=records[2:]),
        ]
    )
    assert joined.outputs.origins == [0, -1, -2]
    assert joined.sources() == [records[0], None, None]


# Refused by the sink


def settled(*origins: int, records: int = 3) -> Settlement:
    made = batch(*[A] * records)
    return Settlement(outputs(*origins), (), made.progress, records=made.records, slices=(records,))


def test_a_refused_output_takes_all_outputs_of_its_record_along() -> None:
    before = settled(0, 1, 1, 1, 2)
    rest, failures = refused(before, {2: Refused("22003", "too big")}, 9, delivered=False)
    assert rest.outputs.values == [b"0", b"2"]
    assert [f.index for f in failures] == [1]
    (letter,) = rest.dead_letters
    assert (letter.record, letter.failure.condition) == (before.records[1], Condition.REFUSED)
    assert letter.failure.error == ErrorInfo("22003", "too big")
    assert (letter.delivered, rest.progress) == ((), before.progress)


def test_what_the_target_has_of_the_record_is_named_in_the_letter() -> None:
    rest, _ = refused(settled(0, 1, 1, 1, 2), {2: Refused("400", "no")}, 9, delivered=True)
    assert len(rest.outputs) == 0, "the others are with the target"
    assert rest.dead_letters[0].delivered == (0, 2)


def test_an_output_of_all_records_is_one_letter() -> None:
    before = Settlement.joined([settled(0, records=1), settled(SHARED, records=3)])
    rest, failures = refused(before, {1: Refused("400", "no", too_large=True)}, 9, delivered=False)
    (letter,) = rest.dead_letters
    assert (letter.record, letter.others) == (before.records[1], tuple(before.records[2:]))
    assert failures[0].condition is Condition.RECORD_TOO_LARGE
    assert rest.outputs.values == [b"0"]
