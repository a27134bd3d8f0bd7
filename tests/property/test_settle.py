"""Settling and leaving out divide the records: nothing is lost, nothing is there twice."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.engine.poison.crash_suspects import Suspect
from kafka_etl.invocation import (
    Condition,
    ErrorInfo,
    Failure,
    Invocation,
    Outcome,
    Outputs,
    Settlement,
)
from kafka_etl.record import Batch, Partition, next_offsets, partition_of
from kafka_etl.settle import excluding, settle
from kafka_etl.testing import StoredRecord

PARTITIONS = [Partition("in", number) for number in range(4)]


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    places = draw(st.lists(st.sampled_from(PARTITIONS), min_size=1, max_size=25))
    at: Counter[Partition] = Counter()
    records: list[StoredRecord] = []
    for tp in places:
        records.append(StoredRecord(b"", partition=tp.number, offset=at[tp]))
        at[tp] += 1
    ends = {tp: at[tp] + draw(st.integers(0, 2)) for tp in PARTITIONS if at[tp]}
    only_an_end = draw(st.sets(st.sampled_from(PARTITIONS)))
    ends |= {tp: 5 for tp in only_an_end if tp not in ends}
    return Batch(records, ends, dict.fromkeys(ends, 0))


@st.composite
def outcomes(draw: st.DrawFn, batch: Batch) -> Outcome:
    """Each record has up to two outputs, or failed."""
    origins: list[int] = []
    failed: list[Failure] = []
    for index in range(len(batch)):
        made = draw(st.integers(-1, 2))
        origins += [index] * made
        if made < 0:
            error = ErrorInfo("E", "m")
            failed.append(Failure(index, Condition.OPERATOR_ERROR, error))
    values: list[bytes | None] = [b"%d" % row for row in range(len(origins))]
    one_to_one = origins == list(range(len(batch))) and draw(st.booleans())
    outputs = Outputs(values, list(values), origins=None if one_to_one else origins)
    return Outcome(outputs, tuple(failed))


subsets = st.frozensets(st.sampled_from(PARTITIONS))
data = st.data()


@given(data, st.booleans())
def test_what_is_settled_is_the_batch_or_the_part_before_a_failure(
    data: st.DataObject,
    dead_letters: bool,
) -> None:
    batch = data.draw(batches())
    outcome = data.draw(outcomes(batch))
    verdict = settle(Invocation("id", batch, 0), outcome, dead_letters=dead_letters, at_ms=0)
    settlement = verdict.settlement
    if dead_letters or not outcome.failed:
        assert verdict.stop is None
        assert settlement.progress == batch.progress
        assert len(settlement.dead_letters) == len(outcome.failed)
        return
    first = outcome.failed[0].index
    assert verdict.stop is not None
    assert verdict.stop.record is batch.records[first]
    assert settlement.progress == next_offsets(batch.records[:first])
    assert all(index < first for index in settlement.outputs.origins or ())


@given(data, subsets)
def test_leaving_out_divides_a_settlement(data: st.DataObject, gone: frozenset[Partition]) -> None:
    batch = data.draw(batches())
    whole = settlement(batch, data.draw(outcomes(batch)))
    stay = frozenset(PARTITIONS) - gone
    kept, left = excluding(batch, whole, gone), excluding(batch, whole, stay)
    assert kept is not None
    assert left is not None
    assert {**kept.progress, **left.progress} == whole.progress
    assert not kept.progress.keys() & gone
    values = [*kept.outputs.values, *left.outputs.values]
    assert Counter(values) == Counter(whole.outputs.values)
    assert len(kept.dead_letters) + len(left.dead_letters) == len(whole.dead_letters)
    assert all(partition_of(letter.record) not in gone for letter in kept.dead_letters)
    remaining = batch.without(gone)
    for index in kept.outputs.origins or ():
        assert partition_of(remaining.records[index]) not in gone


@given(data, subsets, subsets)
def test_leaving_one_after_the_other_is_leaving_together(
    data: st.DataObject, one: frozenset[Partition], other: frozenset[Partition]
) -> None:
    batch = data.draw(batches())
    whole = settlement(batch, data.draw(outcomes(batch)))
    together = excluding(batch, whole, one | other)
    first = excluding(batch, whole, one)
    assert first is not None
    second = excluding(batch.without(one), first, other)
    assert second is not None
    assert together is not None
    assert second.outputs.values == together.outputs.values
    assert second.progress == together.progress
    assert second.dead_letters == together.dead_letters


def settlement(batch: Batch, outcome: Outcome) -> Settlement:
    return settle(Invocation("id", batch, 0), outcome, dead_letters=True, at_ms=0).settlement


@given(data, st.integers(1, 30))
def test_splitting_a_batch_divides_it(data: st.DataObject, size: int) -> None:
    batch = data.draw(batches())
    front, rest = batch.split(size)
    assert [*front.records, *rest.records] == list(batch.records)
    assert {**front.progress, **rest.progress} == batch.progress
    assert front.begins == batch.begins
    assert not rest.records or front.progress.items() <= rest.begins.items()


@given(data)
def test_joining_slices_is_the_batch(data: st.DataObject) -> None:
    batch = data.draw(batches())
    parts: list[Settlement] = []
    rest = batch
    while rest.records:
        part, rest = rest.split(data.draw(st.integers(1, 10)))
        parts.append(settlement(part, data.draw(outcomes(part))))
    joined = Settlement.joined(parts)
    assert joined.progress == batch.progress
    assert joined.outputs.values == [v for part in parts for v in part.outputs.values]
    assert len(joined.dead_letters) == sum(len(part.dead_letters) for part in parts)


@given(
    st.builds(
        Suspect,
        st.integers(0, 2**62),
        st.integers(0, 2**62),
        st.none() | st.integers(0, 2**62),
        st.integers(0, 1000),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
        st.sampled_from(Condition),
    )
)
def test_a_note_comes_back_as_it_was(suspect: Suspect) -> None:
    assert Suspect.from_note(suspect.note()) == suspect


@given(st.text(max_size=50) | st.binary(max_size=50).map(lambda b: b.decode("latin-1")))
def test_any_note_of_anybody_is_read_without_harm(note: str) -> None:
    Suspect.from_note(note)
