"""One batch after the other: gathered, run in slices, settled whole or in part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kafka_etl import DROP, Permanent
from kafka_etl.contracts import Abandoned
from kafka_etl.engine.poison.breaker import BreakerLimits
from kafka_etl.engine.poison.kinds import Kinds
from kafka_etl.errors import BreakerTripped, RecordFailed
from kafka_etl.invocation import DeadLetter
from kafka_etl.testing import Answer
from tests.unit.engine.kit import Bench


def same(value: Any) -> Any:
    return value


def slow(bench: Callable[[], Bench], seconds: float = 1.0) -> Callable[[int], int]:
    """An operator that takes its time."""

    def op(value: int) -> int:
        bench().now += seconds
        return value

    return op


def test_records_go_from_the_source_to_the_sink() -> None:
    bench = Bench(same, partitions=2)
    bench.put(1, None, b"null {", partition=0)
    bench.put(4, partition=1)
    bench.finish()
    assert sorted(bench.outputs(), key=str) == [1, 4, None]
    assert bench.letters() == [(b"null {", "DecodeError")]
    assert bench.broker.offsets == {bench.partitions[0]: 3, bench.partitions[1]: 1}


def test_nothing_to_do_is_nothing_done() -> None:
    bench = Bench(same)
    bench.step()
    assert bench.sink.commits == []
    assert bench.log.phases == ["gather"]


def test_a_batch_is_one_commit_and_is_counted() -> None:
    def op(value: int) -> Any:
        if value == 2:
            return DROP
        if value == 3:
            raise Permanent
        return [value, value]

    bench = Bench(op)
    bench.put(1, 2, 3, 4)
    bench.step()
    assert bench.commits() == [4]
    assert bench.count("records_in") == 4
    assert bench.count("records_out") == 4
    assert bench.count("records_dropped") == 1
    assert bench.count("dead_letters", "OperatorError") == 1
    assert bench.count("bytes_out") == 4
    assert bench.count("commits") == 1
    assert bench.log.phases == ["gather", *["operator", "settle"] * 2, "commit"]


def test_the_recorder_knows_what_operators_are_about_to_see() -> None:
    bench = Bench(same, partitions=2, batch=4, slice_size=100)
    bench.put(*range(5), partition=0)
    bench.put(9, partition=1)
    bench.finish()
    one, two = bench.partitions
    assert bench.log.ranges == [{one: (0, 3), two: (0, 1)}, {one: (3, 5)}]
    assert bench.log.hands == []


def test_the_end_of_a_partition_is_settled_without_records() -> None:
    bench = Bench(same)
    bench.put(1)
    bench.broker.leave_gap(bench.partitions[0], 2)
    bench.step()
    assert bench.offset() == 3
    bench.broker.leave_gap(bench.partitions[0], 1)
    bench.step()
    assert bench.offset() == 4
    assert bench.commits() == [1, 0]


def test_the_end_is_not_reached_before_the_last_record_is_settled() -> None:
    bench = Bench(same, slice_size=1, settle_bytes=0)
    bench.put(1, 2)
    bench.broker.leave_gap(bench.partitions[0], 5)
    bench.step()
    assert [s.progress[bench.partitions[0]] for s in bench.sink.commits] == [1, 7]


# In part


def test_a_slow_batch_is_settled_in_part() -> None:
    bench = Bench(slow(lambda: bench), slice_size=1, settle_after=2.5)
    bench.put(*range(8))
    bench.step()
    assert bench.commits() == [3, 3, 2]
    assert bench.outputs() == list(range(8))


def test_so_is_one_with_large_outputs() -> None:
    def grow(value: int) -> str:
        return "x" * 98

    bench = Bench(grow, slice_size=2, settle_bytes=350)
    bench.put(*range(10))
    bench.step()
    assert bench.commits() == [4, 4, 2]


def test_stopping_settles_what_is_finished() -> None:
    def op(value: int) -> int:
        if value == 3:
            bench.stop = True
        return value

    bench = Bench(op, slice_size=2)
    bench.put(*range(8))
    bench.step()
    assert (bench.outputs(), bench.offset()) == ([0, 1, 2, 3], 4)


def test_stopping_in_a_wait_settles_the_slices_before() -> None:
    def op(value: int) -> int:
        if value == 3:
            bench.stop = True
            raise OSError
        return value

    bench = Bench(op, slice_size=2)
    bench.put(*range(8))
    with pytest.raises(Abandoned):
        bench.step()
    assert (bench.outputs(), bench.offset()) == ([0, 1], 2)


def test_waits_for_the_next_attempt_serve_the_client() -> None:
    left = [1]

    def op(value: int) -> int:
        if left:
            left.pop()
            raise OSError
        return value

    bench = Bench(op)
    bench.put(1)
    served = count_calls(bench, "serve")
    bench.step()
    assert sum(bench.waits) == pytest.approx(1)
    assert len(served) >= 5
    assert bench.count("retry_waves") == 1
    assert "wait" in bench.log.phases


def test_retries_in_slice_after_slice_are_told_and_shrink_no_slice() -> None:
    away = True

    def op(value: int) -> int:
        if away:
            raise ConnectionError("no route")
        return value

    bench = Bench(op, batch=10, slice_size=10)
    for _ in range(3):
        bench.put(*range(10))
    bench.step()
    assert bench.trouble is None, "one outage of a moment is no trouble"
    bench.step()
    assert bench.trouble == (
        "10 records failed attempt 2 and are tried again; mostly ConnectionError: no route in op"
    )
    assert bench.waits.count(0.2) >= 15
    away = False
    bench.step()
    assert bench.trouble is None
    assert bench.pace.limit == 10


def test_a_wait_is_no_work_by_which_slices_are_sized() -> None:
    def op(value: int) -> int:
        raise ConnectionError("no route")

    bench = Bench(op, batch=64)
    bench.put(*range(200))
    sizes = []
    for _ in range(4):
        bench.step()
        sizes.append(bench.pace.slice_size)
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1


def test_a_quick_batch_does_not_serve_the_client_on_its_way() -> None:
    bench = Bench(same, slice_size=1)
    bench.put(*range(5))
    bench.source.poll(1)
    bench.source.rewind()
    served = count_calls(bench, "serve")
    bench.step()
    assert served == [None]  # by `poll` itself


def test_a_slow_one_serves_it_between_slices() -> None:
    bench = Bench(slow(lambda: bench), slice_size=1, settle_after=100)
    bench.put(*range(4))
    served = count_calls(bench, "serve")
    bench.step()
    assert len(served) == 1 + 3 + 1


def test_idling_serves_and_fetches_nothing() -> None:
    bench = Bench(same)
    bench.put(1)
    bench.engine.idle()
    assert bench.sink.commits == []
    assert bench.log.phases == ["idle"]
    assert bench.source.joined
    bench.finish()
    assert bench.outputs() == [1]


def count_calls(bench: Bench, name: str) -> list[None]:
    """A list that grows with each call of this method of the source."""
    calls: list[None] = []
    method = getattr(bench.source, name)

    def counted() -> None:
        calls.append(None)
        method()

    setattr(bench.source, name, counted)
    return calls


# Without a place for dead letters


def test_without_dead_letters_the_records_before_are_settled_and_it_stops() -> None:
    def op(value: int) -> int:
        if value >= 5:
            raise Permanent("no more")
        return value

    bench = Bench(op, slice_size=4, dead_letters=False)
    bench.put(*range(8))
    with pytest.raises(RecordFailed) as caught:
        bench.step()
    assert (bench.outputs(), bench.offset(), bench.letters()) == ([0, 1, 2, 3, 4], 5, [])
    assert "in[0]@5 failed in operator op (OperatorError" in caught.value.what
    assert "no more" in caught.value.what
    assert "dead_letter" in caught.value.next_step


def test_a_first_record_that_fails_leaves_everything_as_it_is() -> None:
    bench = Bench(same, dead_letters=False)
    bench.put(b"{")
    with pytest.raises(RecordFailed, match="DecodeError"):
        bench.step()
    assert bench.offset() == 0


# The breaker


def failing(value: int) -> int:
    if value < 0:
        raise Permanent(f"negative {value % 2}")
    return value


def test_the_breaker_trips_before_the_run_is_committed() -> None:
    bench = Bench(failing, slice_size=3, max_consecutive=3)
    bench.put(1, 2, 3, -1, -2, -3, 4)
    with pytest.raises(BreakerTripped) as caught:
        bench.step()
    assert (bench.outputs(), bench.offset(), bench.letters()) == ([1, 2, 3], 3, [])
    assert "3 OperatorError in failing: kafka_etl.errors.Permanent: negative" in caught.value.what
    with pytest.raises(BreakerTripped):  # it comes again, and trips again
        bench.step()


def test_resuming_lets_the_run_pass_once() -> None:
    bench = Bench(failing, slice_size=3, max_consecutive=3)
    bench.put(-1, -2, -3, 4, -5, -6, -7)
    with pytest.raises(BreakerTripped):
        bench.step()
    bench.breaker.let_pass()
    with pytest.raises(BreakerTripped):
        bench.step()
    assert [value for value, _ in bench.letters()] == [b"-1", b"-2", b"-3", b"-5", b"-6"]
    bench.breaker.let_pass()
    bench.finish()
    assert len(bench.letters()) == 6
    assert bench.outputs() == [4]


def test_a_share_of_failures_trips_and_nothing_is_lost_in_between() -> None:
    limits = BreakerLimits(max_ratio=0.3, window=10, min_records=10)
    bench = Bench(failing, slice_size=2, limits=limits)
    values = [1, 2, -3, 4, 5, 6, -7, 8, 9, -10, 11, 12, 13]
    bench.put(*values)
    with pytest.raises(BreakerTripped, match="3 of the last 10 records failed"):
        bench.finish()
    assert bench.offset() == 8
    bench.breaker.let_pass()
    bench.finish()
    assert bench.outputs() == [value for value in values if value > 0]
    assert [value for value, _ in bench.letters()] == [b"-3", b"-7", b"-10"]


def test_a_new_kind_trips_before_its_commit_and_passes_after_a_resume() -> None:
    told: list[DeadLetter] = []
    kinds = Kinds(lambda: True, told.append)
    bench = Bench(failing, slice_size=2, kinds=kinds)
    bench.put(1, 2, -1, 3, -2, 4)
    with pytest.raises(BreakerTripped, match="a kind of failure that this pipeline never had"):
        bench.finish()
    assert (bench.offset(), bench.letters(), told) == (2, [], [])
    bench.breaker.let_pass()
    bench.finish()
    assert [value for value, _ in bench.letters()] == [b"-1", b"-2"]
    assert [letter.record.offset() for letter in told] == [2]


def test_records_that_come_again_after_an_abort_are_not_counted_twice() -> None:
    bench = Bench(failing, max_consecutive=10, answers=[Answer.ABORTED_ROUTINE] * 3)
    bench.put(*range(-6, 0))
    bench.finish()
    assert len(bench.letters()) == 6


def test_without_dead_letters_the_breaker_has_no_say() -> None:
    bench = Bench(failing, max_consecutive=1, dead_letters=False)
    bench.put(-1)
    with pytest.raises(RecordFailed):
        bench.step()
