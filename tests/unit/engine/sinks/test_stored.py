"""A store in the engine's hands: its offsets are the truth, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kafka_etl.contracts import Refused, RefusedRows, StoredOffset, Unreachable
from kafka_etl.engine.sinks import connection, stored
from kafka_etl.engine.sinks.stored import StoredSink, StoreIdentity
from kafka_etl.errors import BreakerTripped, RecordFailed, SinkBlocked, StoreOffsetsUnclear
from kafka_etl.invocation import Settlement
from kafka_etl.record import Partition
from kafka_etl.testing import (
    Lost,
    MemoryBroker,
    MemoryRollingStore,
    MemorySink,
    MemoryStore,
    MemoryTarget,
)
from tests.unit.engine.kit import Bench, Overlap

P0, P1 = Partition("in", 0), Partition("in", 1)
IDENTITY = StoreIdentity("memory", "g", "g", {"in": "topic-id"})


class LedgerOf:
    """The group's offsets and the dead-letter topic, on the broker in memory."""

    owes = False

    def __init__(self, broker: MemoryBroker) -> None:
        self._sink = MemorySink(broker, "out")

    def open(self) -> None:
        self._sink.open()

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        return self._sink.begin(settlement)

    def close(self) -> None:
        self._sink.close()


class StoreBench(Bench):
    def __init__(self, *operators: Any, rolling: bool = False, **more: Any) -> None:
        self.target = MemoryTarget()
        self.begun = False

        def sink(broker: MemoryBroker) -> StoredSink:
            door = MemoryRollingStore(self.target) if rolling else MemoryStore(self.target)
            self.door = door
            return StoredSink(door, LedgerOf(broker), IDENTITY, lambda _r: "id", lambda _r: None)

        super().__init__(*operators, sink=sink, **more)

    def values(self) -> list[bytes]:
        return [row.value for row in self.target.rows]

    def stands(self, number: int = 0) -> int:
        return self.target.offsets[Partition("in", number)].next

    def step(self) -> None:
        super().step()
        if not self.begun:
            self.begun = True
            super().step()  # the first has only placed the partitions

    def finish(self, steps: int = 200) -> None:
        ends = {tp: self.broker.end(tp) for tp in self.partitions}
        for _ in range(steps):
            standing = self.target.offsets
            if all(tp in standing and standing[tp].next >= end for tp, end in ends.items()):
                return
            self.step()
        raise AssertionError(f"not at the end after {steps} steps: {self.target.offsets}")


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(connection.Connection, "rest", lambda *_: None)
    monkeypatch.setattr(stored, "_MIRROR_EVERY", 0.0)
    return


def numbers(*given: int) -> list[bytes]:
    return [b"%d" % n for n in given]


@pytest.mark.parametrize("overlap", [None, "at once", "late"])
def test_commits_that_overlap_the_next_batch_meet_no_conflict(overlap: Overlap | None) -> None:
    bench = StoreBench(batch=2, overlap=overlap, partitions=2)
    bench.put(*range(10))
    bench.put(*range(10, 15), partition=1)
    bench.finish()
    assert sorted(bench.values()) == sorted(numbers(*range(15)))
    assert (bench.stands(0), bench.stands(1)) == (10, 5)
    assert bench.count("aborts") == 0


def test_the_group_has_a_copy_with_a_mark() -> None:
    bench = StoreBench()
    bench.put(1, 2)
    bench.finish()
    bench.step()
    assert bench.offset() == 2
    assert bench.broker.notes[P0].startswith("store=memory/g")


def test_the_stores_offsets_win_over_the_groups() -> None:
    bench = StoreBench(partitions=2)
    bench.put(*range(5))
    bench.broker.offsets[P0] = 4
    bench.target.offsets[P0] = StoredOffset(2, 0, "topic-id", "g")
    bench.finish()
    assert bench.values() == numbers(2, 3, 4)


def test_a_partition_that_the_store_does_not_know_begins_where_the_group_stands() -> None:
    bench = StoreBench()
    bench.put(*range(5))
    bench.broker.offsets[P0] = 3
    bench.finish()
    assert bench.values() == numbers(3, 4)
    assert bench.target.offsets[P0] == StoredOffset(5, 0, "topic-id", "g")


@pytest.mark.parametrize(
    ("at", "said"),
    [(StoredOffset(2, 0, "another", "g"), "made anew"), (StoredOffset(2, 0, "", "h"), "group h")],
)
def test_offsets_of_another_topic_or_group_stop_the_pipeline(at: StoredOffset, said: str) -> None:
    bench = StoreBench()
    bench.put(1)
    bench.target.offsets[P0] = at
    with pytest.raises(StoreOffsetsUnclear, match=said):
        bench.step()


@pytest.mark.parametrize("lost", list(Lost))
def test_a_lost_answer_doubles_and_loses_nothing(lost: Lost) -> None:
    bench = StoreBench(batch=3)
    bench.put(*range(9))
    bench.step()
    bench.target.lost.append(lost)
    bench.finish()
    assert bench.values() == numbers(*range(9))


def test_another_worker_that_moved_a_partition_is_followed() -> None:
    bench = StoreBench(partitions=2, batch=4)
    bench.put(*range(6))
    bench.put(*range(10, 16), partition=1)
    bench.target.rivals.append({P0: StoredOffset(3, 0, "topic-id", "g")})
    bench.finish()
    kept = [int(value) for value in bench.values()]
    assert sorted(kept) == [3, 4, 5, *range(10, 16)]
    assert bench.pace.limit == 4, "the size of the batch is not to blame"


def test_a_partition_that_another_keeps_moving_stops_the_pipeline() -> None:
    bench = StoreBench()
    bench.put(*range(50))
    bench.target.rivals += [{P0: StoredOffset(n, 0, "topic-id", "g")} for n in range(20, 40, 2)]
    with pytest.raises(StoreOffsetsUnclear, match="another daemon"):
        bench.finish()


def test_refused_rows_are_dead_letters_and_the_rest_is_committed() -> None:
    bench = StoreBench()
    bench.target.verdict = lambda value: Refused("23514", "no") if value in {b"1", b"3"} else None
    bench.put(*range(5))
    bench.finish()
    assert bench.values() == numbers(0, 2, 4)
    assert bench.letters() == [(b"1", "Refused"), (b"3", "Refused")]
    assert (bench.count("records_out"), bench.count("dead_letters", "Refused")) == (3, 2)
    assert bench.count("records_in") == 5


def test_refusals_of_a_commit_under_way_do_not_void_the_next_batch() -> None:
    seen: list[int] = []

    def op(value: int) -> int:
        seen.append(value)
        return value

    bench = StoreBench(op, batch=3, overlap="late")
    bench.target.verdict = lambda value: Refused("23514", "no") if value == b"1" else None
    bench.put(*range(9))
    bench.finish()
    assert (bench.values(), seen) == (numbers(0, *range(2, 9)), list(range(9)))


def test_one_output_refused_takes_the_others_of_its_record_out() -> None:
    bench = StoreBench(lambda value: [value, value * 10])
    bench.target.verdict = lambda value: Refused("23514", "no") if value == b"20" else None
    bench.put(1, 2, 3)
    bench.finish()
    assert bench.values() == numbers(1, 10, 3, 30)
    assert bench.letters() == [(b"2", "Refused")]


def test_without_a_place_for_dead_letters_a_refusal_stops_after_the_records_before() -> None:
    bench = StoreBench(dead_letters=False)
    bench.target.verdict = lambda value: Refused("23514", "no") if value == b"2" else None
    bench.put(*range(5))
    with pytest.raises(RecordFailed, match="in\\[0\\]@2 failed in operator sink"):
        bench.finish()
    assert (bench.values(), bench.stands()) == (numbers(0, 1), 2)


def test_a_target_that_refuses_row_after_row_trips_the_breaker() -> None:
    bench = StoreBench(max_consecutive=10)
    bench.target.verdict = lambda _value: Refused("23514", "no")
    bench.put(*range(20))
    with pytest.raises(BreakerTripped):
        bench.finish()
    assert (bench.letters(), bench.stands()) == ([], 0)
    bench.breaker.let_pass()
    bench.finish()
    assert len(bench.letters()) == 20


def test_refusals_add_up_over_commits() -> None:
    bench = StoreBench(batch=4, max_consecutive=10)
    bench.target.verdict = lambda _value: Refused("23514", "no")
    bench.put(*range(20))
    with pytest.raises(BreakerTripped):
        bench.finish()
    assert (len(bench.letters()), bench.stands()) == (8, 8)
    bench.breaker.let_pass()
    bench.finish()
    assert len(bench.letters()) == 20


def fail_on_bad(value: int) -> int:
    if value < 0:
        raise ValueError("bad")
    return value


def test_after_a_failed_commit_the_dead_letters_of_the_next_one_are_all_written() -> None:
    bench = StoreBench(fail_on_bad)
    bench.target.verdict = lambda value: Refused("23514", "no") if value == b"2" else None
    bench.put(1, -1, 2)
    bench.target.lost.append("after")
    bench.put(-3)
    bench.finish()
    assert {value for value, _ in bench.letters()} == {b"-1", b"2", b"-3"}


def test_dead_letters_for_another_place_are_written_once_through_refusals() -> None:
    written: list[bytes | None] = []
    bench = StoreBench(
        fail_on_bad, letters=lambda letters: written.extend(d.record.value() for d in letters)
    )
    bench.target.verdict = lambda value: Refused("23514", "no") if value == b"2" else None
    bench.put(1, -1, 2, 3)
    bench.finish()
    assert (written, bench.values()) == ([b"-1", b"2"], numbers(1, 3))


@pytest.mark.parametrize("rows", [{}, {7: Refused("?", "no")}])
def test_a_refusal_of_no_row_or_an_unknown_one_is_the_stores_error(
    rows: dict[int, Refused], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = StoreBench()

    def commit(*_: Any) -> None:
        raise RefusedRows(rows)

    monkeypatch.setattr(bench.door, "commit", commit)
    bench.put(1)
    with pytest.raises(SinkBlocked, match="refused rows"):
        bench.finish()


def test_an_outage_makes_no_dead_letter_and_halves_nothing() -> None:
    bench = StoreBench(batch=8)
    bench.put(*range(8))
    bench.target.away = 20
    bench.finish()
    assert (bench.values(), bench.letters()) == (numbers(*range(8)), [])


def test_an_unknown_error_is_led_back_to_its_record() -> None:
    bench = StoreBench(batch=8)
    bench.target.fails = lambda value: RuntimeError("boom") if value == b"5" else None
    bench.put(*range(8))
    bench.finish()
    assert bench.values() == numbers(0, 1, 2, 3, 4, 6, 7)
    assert bench.letters() == [(b"5", "Refused")]


def test_where_every_record_fails_nobody_is_blamed() -> None:
    bench = StoreBench(batch=4)
    bench.target.fails = lambda _value: RuntimeError("disk full")
    bench.put(*range(4))
    with pytest.raises(SinkBlocked, match="disk full"):
        bench.finish()
    assert (bench.letters(), bench.values()) == ([], [])
    bench.target.fails = lambda _value: None
    bench.finish()  # resumed
    assert bench.values() == numbers(*range(4))


def test_a_record_that_hangs_the_store_becomes_a_dead_letter() -> None:
    bench = StoreBench(batch=4)
    bench.target.fails = lambda value: Unreachable("timed out") if value == b"2" else None
    bench.put(*range(4))
    bench.finish()
    assert bench.values() == numbers(0, 1, 3)
    assert bench.letters() == [(b"2", "Refused")]


# Rolling


def test_what_is_open_is_neither_durable_nor_read_again() -> None:
    bench = StoreBench(rolling=True, batch=2)
    bench.put(*range(6))
    for _ in range(5):
        bench.step()
    assert (bench.values(), bench.stands()) == ([], 0)
    assert bench.source.positions()[P0].next == 0, "lag goes by what is durable"
    assert list(bench.door.open_rows) == numbers(*range(6))
    bench.engine.end()
    assert (bench.values(), bench.stands()) == (numbers(*range(6)), 6)
    assert bench.source.positions()[P0].next == 6


def test_dead_letters_wait_for_the_roll_of_their_file() -> None:
    bench = StoreBench(rolling=True)
    bench.target.verdict = lambda value: Refused("?", "no") if value == b"1" else None
    bench.put(*range(3))
    bench.step()
    assert bench.letters() == []
    bench.engine.end()
    assert (bench.letters(), bench.values()) == ([(b"1", "Refused")], numbers(0, 2))


def test_a_partition_that_leaves_is_rolled() -> None:
    bench = StoreBench(rolling=True, partitions=2)
    bench.put(1, 2)
    bench.put(3, partition=1)
    bench.step()
    bench.source.revoke(P1)
    bench.step()
    assert sorted(bench.values()) == numbers(1, 2, 3)


def test_a_roll_that_meets_a_rival_is_void_and_goes_on_behind_it() -> None:
    bench = StoreBench(rolling=True)
    bench.put(*range(4))
    bench.step()
    bench.target.rivals.append({P0: StoredOffset(3, 0, "topic-id", "g")})
    bench.door._every = 0
    for _ in range(4):
        bench.now += 1
        bench.step()
    assert bench.values() == numbers(3)


def test_a_torn_roll_is_tried_again() -> None:
    bench = StoreBench(rolling=True)
    bench.put(*range(4))
    bench.step()
    bench.target.torn = 1
    bench.source.revoke(P0)
    bench.step()
    bench.engine.end()
    assert bench.values() == numbers(*range(4))


def test_what_a_dead_owner_did_not_copy_its_successor_copies() -> None:
    """Else a topic to which nobody writes any more would seem to lag for ever."""
    bench = StoreBench()
    bench.put(1, 2)
    bench.broker.offsets[P0] = 0
    bench.target.offsets[P0] = StoredOffset(2, 0, "topic-id", "g")
    for _ in range(3):
        bench.now += 1
        bench.step()
    assert bench.offset() == 2
