"""Commits that come to nothing, are refused, or whose answer is lost."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl import Permanent, operator
from kafka_etl.contracts import OutcomeUnknown
from kafka_etl.errors import DeadLetterRefused
from kafka_etl.testing import Answer
from tests.unit.engine.kit import Bench


def same(value: Any) -> Any:
    return value


def refuse(bench: Bench, *values: bytes) -> None:
    bench.sink.refuses = lambda value: value in values


def test_after_an_abort_a_smaller_batch_is_tried() -> None:
    bench = Bench(same, batch=100, answers=[Answer.ABORTED, Answer.ABORTED])
    bench.put(*range(100))
    bench.finish()
    assert bench.outputs() == list(range(100))
    assert bench.commits() == [25, 50, 25]
    assert bench.count("aborts") == 2


def test_an_abort_waits_longer_each_time_and_says_why() -> None:
    bench = Bench(same, answers=[Answer.ABORTED] * 8)
    bench.put(1)
    bench.finish()
    assert bench.waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert bench.troubles == ["the target is away, nothing is durable"] * 8
    assert bench.trouble is None


def test_a_rebalance_is_no_trouble() -> None:
    bench = Bench(same, answers=[Answer.ABORTED_ROUTINE] * 3)
    bench.put(1, 2)
    bench.finish()
    assert (bench.waits, bench.troubles) == ([], [])
    assert bench.outputs() == [1, 2]


def test_an_abort_of_nothing_but_offsets_does_not_shrink_batches() -> None:
    bench = Bench(same, answers=[Answer.ABORTED_ROUTINE])
    bench.broker.leave_gap(bench.partitions[0])
    bench.finish()
    assert bench.pace.limit == 1000


def test_a_partial_commit_that_aborts_comes_again_and_nothing_else() -> None:
    answers = [Answer.COMMITTED, Answer.ABORTED]
    bench = Bench(same, slice_size=2, settle_bytes=0, answers=answers)
    bench.put(*range(8))
    bench.finish()
    assert bench.outputs() == list(range(8))


# Refusals


@pytest.mark.parametrize("at", [0, 1, 37, 98, 99])
def test_one_refused_record_becomes_a_dead_letter_and_its_set_does_not(at: int) -> None:
    bench = Bench(same)
    bench.put(*range(at), "bad", *range(at, 99))
    refuse(bench, b'"bad"')
    bench.finish()
    assert bench.letters() == [(b'"bad"', "Refused")]
    assert bench.outputs() == list(range(99))
    (letter,) = bench.broker.dead_letters
    assert letter.failure.operator == "sink"
    assert letter.failure.error.type == "REFUSED"


def test_several_refused_records_are_each_found() -> None:
    bench = Bench(same)
    bench.put(*(["bad"] * 3), *range(20), "bad", *range(20), "bad")
    refuse(bench, b'"bad"')
    bench.finish()
    assert bench.letters() == [(b'"bad"', "Refused")] * 5
    assert bench.outputs() == [*range(20)] * 2


def test_a_refused_output_takes_the_others_of_its_record_along() -> None:
    def op(value: int) -> list[int]:
        return [value, value * 10]

    bench = Bench(op)
    bench.put(1, 2, 3)
    refuse(bench, b"20")
    bench.finish()
    assert bench.outputs() == [1, 10, 3, 30]
    assert bench.letters() == [(b"2", "Refused")]


def test_a_refused_record_is_not_run_again() -> None:
    seen: list[Any] = []

    def op(value: Any) -> Any:
        seen.append(value)
        return value

    bench = Bench(op, batch=1)
    bench.put("a", "bad", "b")
    refuse(bench, b'"bad"')
    bench.finish()
    assert seen == ["a", "bad", "b"]


def test_a_refused_dead_letter_stops_the_pipeline() -> None:
    def op(value: int) -> int:
        if value == 5:
            raise Permanent
        return value

    bench = Bench(op)
    bench.put(*range(10))
    bench.sink.refuses_letter = lambda letter: True
    with pytest.raises(DeadLetterRefused, match="REFUSED: the sink refuses a dead letter"):
        bench.finish()
    assert (bench.outputs(), bench.offset()) == ([0, 1, 2, 3, 4], 5)
    bench.sink.refuses_letter = lambda letter: False
    bench.finish()
    assert bench.outputs() == [n for n in range(10) if n != 5]
    assert len(bench.letters()) == 1


def test_a_record_refused_as_output_and_as_dead_letter_stops_it_as_well() -> None:
    bench = Bench(same)
    bench.put(1, "bad", 2)
    refuse(bench, b'"bad"')
    bench.sink.refuses_letter = lambda letter: True
    with pytest.raises(DeadLetterRefused):
        bench.finish()
    assert (bench.outputs(), bench.offset()) == ([1], 1)


def test_refusals_do_not_count_as_trouble() -> None:
    bench = Bench(same)
    bench.put(1, "bad")
    refuse(bench, b'"bad"')
    bench.finish()
    assert (bench.waits, bench.troubles) == ([], [])


def test_where_rows_are_mixed_a_refused_slice_is_condemned_and_no_other() -> None:
    @operator(mixes=True)
    def op(values: list[Any]) -> list[Any]:
        return values

    bench = Bench(op, slice_size=3)
    bench.put(*range(7), "bad", *range(7, 14))
    refuse(bench, b'"bad"')
    bench.finish()
    assert (b'"bad"', "Refused") in bench.letters()
    assert len(bench.letters()) <= 3
    assert len(bench.outputs()) + len(bench.letters()) == 15


# Lost answers


@pytest.mark.parametrize("answer", [Answer.LOST_BEFORE, Answer.LOST_AFTER])
def test_when_an_answer_is_lost_the_committed_offsets_are_the_truth(answer: Answer) -> None:
    bench = Bench(same, answers=[answer])
    bench.put(*range(10))
    bench.finish()
    assert bench.outputs() == list(range(10))
    assert bench.sink.opened == 2
    assert bench.count("outcomes_unknown") == 1
    assert bench.troubles[0] == answer.value


def test_a_lost_answer_for_a_dead_letter_leaves_exactly_one() -> None:
    def op(value: int) -> int:
        raise Permanent

    for answer in (Answer.LOST_BEFORE, Answer.LOST_AFTER):
        bench = Bench(op, answers=[answer])
        bench.put(1, 2)
        bench.finish()
        assert [value for value, _ in bench.letters()] == [b"1", b"2"]


def test_being_fenced_is_told() -> None:
    bench = Bench(same, answers=[Answer.FENCED])
    bench.put(1)
    bench.finish()
    assert bench.fences == ["another client has our id, and nothing is durable"]
    assert bench.outputs() == [1]


def test_opening_again_may_take_several_tries() -> None:
    bench = Bench(same, answers=[Answer.LOST_AFTER])
    bench.put(1, 2)
    failures = [OutcomeUnknown("not yet"), OutcomeUnknown("nor yet", fenced=True)]
    really_open = bench.sink.open

    def flaky() -> None:
        if failures:
            raise failures.pop(0)
        really_open()

    bench.sink.open = flaky  # type: ignore[method-assign]
    bench.finish()
    assert bench.outputs() == [1, 2]
    assert bench.count("outcomes_unknown") == 3
    assert bench.fences == ["nor yet"]
    assert bench.waits == [0.1, 0.2, 0.4]
