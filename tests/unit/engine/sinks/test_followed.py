"""A writer whose rows are acknowledged before the offsets move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kafka_etl.contracts import (
    TAKEN,
    Abandoned,
    Again,
    Limits,
    Refused,
    RowOrder,
    Rows,
    RowsRefused,
    Unreachable,
    Writer,
)
from kafka_etl.engine.sinks import connection, delivery
from kafka_etl.engine.sinks.followed import FollowedSink
from kafka_etl.errors import SinkBlocked, SinkFailed
from kafka_etl.invocation import Outputs, Settlement, Tenure
from kafka_etl.record import Partition
from kafka_etl.retry import Backoff
from kafka_etl.testing import StoredRecord

IN = Partition("in", 0)


class Target(Writer):
    """A writer that notes its calls, with answers by value."""

    def __init__(self, *, repeatable: bool = True, order: RowOrder = RowOrder.KEY) -> None:
        self.repeatable = repeatable
        self.order = order
        self.calls: list[str] = []
        self.taken: list[bytes] = []
        self.sets: list[list[bytes]] = []
        self.verdicts: Callable[[bytes], Any] = lambda _value: None
        self.fails: Callable[[list[bytes]], Exception | None] = lambda _values: None
        self.on_connect: Callable[[], None] = lambda: None
        self.answer: Any = None

    def connect(self) -> None:
        self.calls.append("connect")
        self.on_connect()

    def close(self) -> None:
        self.calls.append("close")

    def write(self, rows: Rows) -> Any:
        values = list(rows.values)
        self.sets.append(values)
        error = self.fails(values)
        if error is not None:
            raise error
        if self.answer is not None:
            return self.answer() if callable(self.answer) else self.answer
        found = {at: self.verdicts(value) for at, value in enumerate(values)}
        given = {at: verdict for at, verdict in found.items() if verdict is not None}
        self.taken += [value for at, value in enumerate(values) if at not in given]
        return given or TAKEN


class LedgerOf:
    def __init__(self, target: Target) -> None:
        self._target = target
        self.settlements: list[Settlement] = []

    def open(self) -> None:
        self._target.calls.append("open ledger")

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        self.settlements.append(settlement)
        return lambda: self._target.calls.append("commit offsets")

    def close(self) -> None:
        self._target.calls.append("close ledger")


@pytest.fixture(autouse=True)
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits, none of which is waited."""
    waited: list[float] = []

    def rest(self: connection.Connection, seconds: float, reason: str) -> None:
        waited.append(seconds)
        self._pulse(reason)

    monkeypatch.setattr(connection.Connection, "rest", rest)
    monkeypatch.setattr(delivery, "_AGAIN", Backoff(initial=0.2, max=30.0, jitter="none"))
    return waited


class Bench:
    def __init__(self, target: Target, pulse: Callable[[str], None] = lambda _r: None, **more: Any):
        self.target = target
        self.ledger = LedgerOf(target)
        self.sink = FollowedSink(target, self.ledger, lambda _record: "id", pulse, **more)

    def commit(self, *values: bytes, keys: list[bytes | None] | None = None, **more: Any) -> None:
        records = [StoredRecord(value, offset=at) for at, value in enumerate(values)]
        outputs = Outputs(values=list(values), keys=keys or [None] * len(values), size=1)
        self.sink.begin(Settlement(outputs, (), {IN: len(values)}, records=records, **more))()

    def refused(self, *values: bytes, **more: Any) -> Mapping[int, Refused]:
        with pytest.raises(RowsRefused) as refused:
            self.commit(*values, **more)
        assert refused.value.delivered
        return refused.value.rows


def test_offsets_follow_what_was_written() -> None:
    bench = Bench(Target())
    bench.sink.open()
    bench.commit(b"1")
    bench.commit()
    bench.sink.close()
    assert bench.target.calls == [
        *("connect", "open ledger", "commit offsets", "commit offsets"),
        *("close", "close ledger"),
    ]
    assert bench.target.sets == [[b"1"]]


def test_partitions_that_left_during_the_write_are_not_committed() -> None:
    bench = Bench(Target())
    bench.commit(b"1", tenure=lambda: Tenure("new", frozenset({IN})))
    (settlement,) = bench.ledger.settlements
    assert (settlement.lease, settlement.progress) == ("new", {})


def test_a_target_that_is_away_is_waited_for(rests: list[float]) -> None:
    target, said = Target(), list[str]()
    errors = iter([ConnectionError("no route"), Unreachable("asleep"), None])

    def away() -> None:
        error = next(errors)
        if error is not None:
            raise error

    target.on_connect = away
    bench = Bench(target, said.append)
    bench.sink.open()
    assert rests == [0.2, 0.4]
    assert said == ["the sink: ConnectionError: no route", "the sink: asleep"]


def test_a_run_to_the_end_does_not_wait_for_ever() -> None:
    target = Target()
    target.on_connect = raising(ConnectionError("no route"))
    with pytest.raises(SinkFailed, match="no route"):
        Bench(target, patience=-1).sink.open()


def test_what_can_never_be_opened_stops_at_once() -> None:
    target = Target()
    target.on_connect = raising(SinkFailed("wrong format"))
    with pytest.raises(SinkFailed, match="wrong format"):
        Bench(target).sink.open()


def test_a_target_that_refuses_everybody_pauses_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "MEND_PATIENCE", -1.0)
    target = Target()
    target.on_connect = raising(Unreachable("wrong password", mend=True))
    with pytest.raises(SinkBlocked, match="wrong password"):
        Bench(target).sink.open()


def test_a_wait_ends_when_the_worker_must_stop() -> None:
    target = Target()
    target.fails = lambda _values: Unreachable("away")

    def pulse(_reason: str) -> None:
        raise Abandoned

    bench = Bench(target, pulse)
    with pytest.raises(Abandoned):
        bench.commit(b"1")
    assert not bench.ledger.settlements


def test_an_outage_during_a_write_costs_no_row_and_no_pause() -> None:
    target = Target()
    failures = iter(range(40))
    target.fails = lambda _values: Unreachable("away") if next(failures, None) is not None else None
    bench = Bench(target)
    bench.commit(b"1")
    assert target.taken == [b"1"]


def test_a_refused_row_costs_itself() -> None:
    target = Target()
    target.verdicts = lambda value: Refused("400", "bad") if value == b"2" else None
    bench = Bench(target)
    assert bench.refused(b"1", b"2", b"3") == {1: Refused("400", "bad")}
    assert target.taken == [b"1", b"3"]
    assert not bench.ledger.settlements, "the engine makes the letter first"


def test_a_row_that_is_to_be_tried_again_is_and_the_others_are_not(rests: list[float]) -> None:
    target = Target()
    answers = iter([Again("busy", after=7), None])
    target.verdicts = lambda value: next(answers) if value == b"2" else None
    bench = Bench(target)
    bench.commit(b"1", b"2", b"3")
    assert target.sets == [[b"1", b"2", b"3"], [b"2"]]
    assert rests == [7]


def test_later_rows_of_a_key_wait_behind_the_one_that_is_tried_again() -> None:
    target = Target()
    answers = iter([Again("busy"), None, None])
    target.verdicts = lambda value: next(answers) if value.startswith(b"a") else None
    bench = Bench(target)
    bench.commit(b"a1", b"b1", b"a2", b"b2", keys=[b"a", b"b", b"a", b"b"])
    assert target.taken.index(b"a1") < target.taken.index(b"a2")
    assert target.taken[:2] == [b"b1", b"b2"]


def test_no_set_holds_a_key_twice() -> None:
    target = Target()
    Bench(target).commit(b"a1", b"b1", b"a2", b"b2", keys=[b"a", b"b", b"a", b"b"])
    assert target.sets == [[b"a1", b"b1"], [b"a2", b"b2"]]


def test_where_the_target_keeps_the_order_a_set_holds_all() -> None:
    target = Target(order=RowOrder.SET)
    Bench(target).commit(b"a1", b"a2", keys=[b"a", b"a"])
    assert target.sets == [[b"a1", b"a2"]]


def test_sets_keep_to_the_limits() -> None:
    target = Target()
    target.limits = Limits(rows=2, bytes=5)
    Bench(target).commit(b"1", b"2", b"3", b"4444", b"55")
    assert target.sets == [[b"1", b"2"], [b"3", b"4444"], [b"55"]]


def test_a_row_larger_than_the_target_takes_is_refused_unsent() -> None:
    bench = Bench(Target())
    bench.target.limits = Limits(row_bytes=3)
    refused = bench.refused(b"123", b"1234", b"5")
    assert {at: verdict.too_large for at, verdict in refused.items()} == {1: True}
    assert bench.target.taken == [b"123", b"5"]


def test_again_has_an_end_unless_the_target_is_busy() -> None:
    target = Target()
    target.verdicts = lambda value: Again("not yet") if value == b"1" else None
    (verdict,) = Bench(target).refused(b"1", b"2").values()
    assert verdict.message == "not yet (after 10 tries)"
    target = Target()
    answers = iter([Again("slow down", patient=True)] * 30)
    target.verdicts = lambda _value: next(answers, None)
    Bench(target).commit(b"1")
    assert target.taken == [b"1"]


def test_a_bad_row_behind_an_unknown_error_is_found_by_halving() -> None:
    target = Target()
    target.fails = lambda values: RuntimeError("boom") if b"13" in values else None
    values = [b"%d" % n for n in range(16)]
    assert Bench(target).refused(*values) == {13: Refused("Failed", "RuntimeError: boom")}
    assert sorted(target.taken) == sorted(set(values) - {b"13"})


def test_a_bad_row_at_the_front_is_found_as_well() -> None:
    target = Target()
    target.fails = lambda values: RuntimeError("boom") if b"0" in values else None
    assert set(Bench(target).refused(*[b"%d" % n for n in range(8)])) == {0}


def test_a_row_that_hangs_the_target_is_refused() -> None:
    target = Target()
    target.fails = lambda values: Unreachable("timed out") if b"1" in values else None
    assert Bench(target).refused(b"0", b"1", b"2", b"3") == {1: Refused("Timeout", "timed out")}


@pytest.mark.parametrize("count", [1, 2, 100])
def test_where_every_row_fails_the_pipeline_pauses_and_no_row_is_blamed(count: int) -> None:
    target = Target()
    target.fails = lambda _values: RuntimeError("disk full")
    with pytest.raises(SinkBlocked, match="disk full"):
        Bench(target).commit(*[b"%d" % n for n in range(count)])
    assert len(target.sets) < 100


def test_a_set_that_must_not_be_repeated_is_not_halved() -> None:
    target = Target(repeatable=False)
    target.fails = lambda _values: RuntimeError("boom")
    with pytest.raises(SinkBlocked):
        Bench(target).commit(b"1", b"2")
    assert target.sets == [[b"1", b"2"]] * 10


@pytest.mark.parametrize(
    "answer", [lambda: None, True, {5: Refused("400", "")}, {0: "no"}, {"0": Refused("1", "")}]
)
def test_an_impossible_answer_acknowledges_nothing(answer: Any) -> None:
    target = Target()
    target.answer = answer
    bench = Bench(target)
    with pytest.raises(SinkFailed):
        bench.commit(b"1", b"2")
    assert not bench.ledger.settlements


def raising(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call
