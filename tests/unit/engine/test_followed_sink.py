"""A writer whose outputs are acknowledged before the offsets move."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, current_thread

import pytest

from kafka_etl.contracts import Abandoned, Aborted
from kafka_etl.engine.stream import followed_sink as module
from kafka_etl.engine.stream.followed_sink import FollowedSink
from kafka_etl.errors import Permanent, SinkFailed
from kafka_etl.invocation import Outputs, Settlement
from kafka_etl.record import Partition

ONE = Settlement(Outputs(values=[b"1"], keys=[None], size=1), (), {Partition("in", 0): 1})
NOTHING = Settlement(Outputs(), (), {Partition("in", 0): 1})


class Target:
    """A writer and a ledger that note the order of their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.on_open: Callable[[], None] = lambda: None
        self.on_write: Callable[[], None] = lambda: None

    def open(self) -> None:
        self.threads.add(current_thread().name)
        self.calls.append("open")
        self.on_open()

    def write(self, _outputs: Outputs) -> None:
        self.threads.add(current_thread().name)
        self.calls.append("write")
        self.on_write()

    def close(self) -> None:
        self.calls.append("close")


class LedgerOf:
    def __init__(self, target: Target) -> None:
        self._target = target

    def open(self) -> None:
        self._target.calls.append("open ledger")

    def begin(self, _settlement: Settlement) -> Callable[[], None]:
        return lambda: self._target.calls.append("commit offsets")

    def close(self) -> None:
        self._target.calls.append("close ledger")


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLOW", 0.0)
    monkeypatch.setattr(module, "_PIECE", 0.001)
    monkeypatch.setattr(module, "_REOPENING", module.Backoff(initial=0.001, jitter="none"))


def sink_of(
    target: Target,
    pulse: Callable[[str], None] = lambda _reason: None,
    patience: float | None = None,
) -> FollowedSink:
    return FollowedSink(target, LedgerOf(target), pulse, patience=patience)


def test_offsets_follow_what_was_written() -> None:
    target = Target()
    sink = sink_of(target)
    sink.open()
    sink.open()
    sink.commit(ONE)
    sink.commit(NOTHING)
    sink.close()
    assert target.calls == [
        *("open", "open ledger", "open ledger", "write", "commit offsets", "commit offsets"),
        *("close", "close ledger"),
    ]
    assert len(target.threads) == 1, "a client may belong to the thread that made it"
    assert current_thread().name not in target.threads


def test_a_slow_target_is_waited_for_with_signs_of_life() -> None:
    target, done, said = Target(), Event(), list[str]()

    def pulse(reason: str) -> None:
        said.append(reason)
        if len(said) == 3:
            done.set()

    target.on_write = lambda: done.wait(10) and None
    sink = sink_of(target, pulse)
    sink.open()
    sink.commit(ONE)
    assert target.calls[-1] == "commit offsets"
    assert said[0].startswith("writing to the sink, for ")
    sink.close()


def test_a_slow_call_is_left_behind_when_the_worker_must_stop() -> None:
    target, done = Target(), Event()

    def pulse(_reason: str) -> None:
        raise Abandoned

    target.on_write = lambda: done.wait(10) and None
    sink = sink_of(target, pulse)
    sink.open()
    with pytest.raises(Abandoned):
        sink.commit(ONE)
    assert "commit offsets" not in target.calls
    done.set()
    sink.close()


def test_a_target_that_is_away_is_opened_again() -> None:
    target, said = Target(), set[str]()

    def away() -> None:
        if target.calls.count("open") < 4:
            raise ConnectionError("no route")

    target.on_open = away
    sink = sink_of(target, said.add)
    sink.open()
    assert target.calls == ["open"] * 4 + ["open ledger"]
    assert "the sink cannot be opened: ConnectionError: no route" in said
    sink.close()


def test_a_run_to_the_end_does_not_wait_for_ever() -> None:
    target = Target()
    target.on_open = raising(ConnectionError("no route"))
    sink = sink_of(target, patience=0.01)
    with pytest.raises(SinkFailed, match="no route"):
        sink.open()
    sink.close()


def test_what_can_never_be_opened_stops_at_once() -> None:
    target = Target()
    target.on_open = raising(SinkFailed("wrong password"))
    sink = sink_of(target)
    with pytest.raises(SinkFailed, match="wrong password"):
        sink.open()
    sink.close()


@pytest.mark.parametrize(
    ("error", "refused"), [(Permanent("no"), True), (OSError("away"), False), (KeyError(1), False)]
)
def test_what_a_write_may_raise(error: Exception, refused: bool) -> None:
    target = Target()
    target.on_write = raising(error)
    sink = sink_of(target)
    sink.open()
    with pytest.raises(Aborted) as aborted:
        sink.commit(ONE)
    assert (aborted.value.refusal is not None) is refused
    assert "commit offsets" not in target.calls
    sink.close()


def raising(error: Exception) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call
