"""Telling a passing fence from another daemon under the same name."""

from __future__ import annotations

import pytest

from kafka_etl.errors import Fenced
from kafka_etl.runtime.worker.fencing import Fencing


def fenced_at(*times: float) -> int | None:
    """The number of the fence that was one too many."""
    fencing = Fencing("kafka-etl.orders.blue.0", "host-a")
    for number, now in enumerate(times, 1):
        try:
            fencing.note(now, "_FENCED")
        except Fenced:
            return number
    return None


@pytest.mark.parametrize(
    ("times", "stopped_at"),
    [
        ((0,), None),
        ((0, 1), None),
        ((0, 1, 2), 3),
        ((0, 30, 59.9), 3),
        ((0, 30, 60), None),
        ((0, 30, 60, 90, 120), None),
        ((0, 100, 101, 102), 4),
        ((0, 50, 61, 62), 4),
    ],
)
def test_three_within_a_minute_are_too_many(
    times: tuple[float, ...], stopped_at: int | None
) -> None:
    assert fenced_at(*times) == stopped_at


def test_it_names_id_host_and_reason() -> None:
    fencing = Fencing("kafka-etl.orders.blue.0", "host-a")
    fencing.note(0, "x")
    fencing.note(1, "y")
    with pytest.raises(Fenced) as caught:
        fencing.note(2, "PRODUCER_FENCED")
    what = caught.value.what
    assert "kafka-etl.orders.blue.0" in what
    assert "host-a" in what
    assert "3 times in 60 s; the last time: PRODUCER_FENCED" in what
    assert "--instance" in caught.value.next_step
