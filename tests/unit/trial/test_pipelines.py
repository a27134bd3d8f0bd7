"""`run_pipeline`, `run_operator` and the fake clock of `kafka_etl.testing`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl import DROP, Context, Permanent, Record, Retry, operator
from kafka_etl.contracts import Unavailable
from kafka_etl.errors import ConfigError, TryEnded
from kafka_etl.testing import FakeClock, StoredRecord, Waited, run_operator, run_pipeline
from tests.unit.trial.test_cases import folder

__all__ = ["folder"]

START = 1_767_225_600_000


def usd(number: int, amount: float, **more: Any) -> dict[str, Any]:
    return {"id": number, "amount": amount, "currency": "USD", **more}


def test_a_pipeline_on_records_of_a_test(folder: Path) -> None:
    outputs, dead_letters, dropped = run_pipeline(
        folder / "pipeline.yaml",
        [
            usd(1, 10.0),
            {"currency": "EUR"},
            Record(usd(2, 200.0), key=b"k2", headers=[("h", b"1")]),
            usd(3, -1.0),
            b"{broken",
            StoredRecord(b'{"id":9,"amount":-9,"currency":"USD"}', b"k9", topic="t", offset=99),
        ],
    )
    assert [(o.value["id"], o.key, o.headers, o.destination) for o in outputs] == [
        (1, None, [], "orders-eur"),
        (2, "k2", [("h", b"1")], "large"),
    ]
    assert outputs[0].value["amount_eur"] == pytest.approx(9.2)
    assert [(d.condition, d.operator, d.error_type, d.error_text) for d in dead_letters[:1]] == [
        ("OperatorError", "to_eur", "kafka_etl.errors.Permanent", "negative amount")
    ]
    assert [(d.condition, d.value, d.key) for d in dead_letters] == [
        ("OperatorError", usd(3, -1.0), None),
        ("DecodeError", b"{broken", None),
        ("OperatorError", usd(9, -9), "k9"),
    ]
    assert dead_letters[2].letter.record.offset() == 99
    assert dropped == 1


def test_settings_may_be_overridden(folder: Path) -> None:
    ran = run_pipeline(
        folder / "pipeline.yaml", [usd(1, 10.0)], overrides={"operators.1.with.rate": "2"}
    )
    assert ran.outputs[0].value["amount_eur"] == 20


def test_a_bad_file_is_an_error_with_all_findings(folder: Path) -> None:
    path = folder / "pipeline.yaml"
    path.write_text(path.read_text().replace("sink:", "snk:").replace("rate", "rat"))
    with pytest.raises(ConfigError, match=r"(?s)rat.*snk|snk.*rat"):
        run_pipeline(path, [])


def test_the_clock_jumps_instead_of_waiting(folder: Path) -> None:
    clock = FakeClock()
    (dead,) = run_pipeline(
        folder / "pipeline.yaml", [usd(1, 1.0, flaky=True)], clock=clock
    ).dead_letters
    assert [wait.seconds for wait in clock.waits] == [30.0, 30.0, 30.0]  # of 1h, capped by `max`
    assert "TimeoutError: call 1 in to_eur" in clock.waits[0].reason
    assert [a.started_ms - START for a in dead.attempts] == [0, 30_000, 60_000, 90_000]
    assert dead.letter.at_ms == clock.now_ms() == START + 90_000


# Operators


def double(value: dict[str, int], *, times: int = 2) -> dict[str, int]:
    return {"n": value["n"] * times}


def test_an_operator_alone() -> None:
    ran = run_operator(double, [{"n": 1}, {"n": 2}, {}], times=3)
    assert [output.value for output in ran.outputs] == [{"n": 3}, {"n": 6}]
    assert [(d.operator, d.error_text) for d in ran.dead_letters] == [
        ("double", "'n' is not there")
    ]


def test_operators_of_every_kind() -> None:
    def text(value: str) -> str:
        return value.upper()

    def several(value: dict[str, int]) -> Iterator[int]:
        yield from value.values()

    def drops(_value: int) -> Any:
        return DROP

    def batch(values: list[dict[str, int]]) -> list[dict[str, int]]:
        return values[::-1]

    class Counts:
        def __init__(self, *, start: int) -> None:
            self.count = start

        def __call__(self, record: Record, context: Context) -> Record:
            self.count += 1
            return record.replace(key=f"{context.operator}-{self.count}".encode())

    async def awaited(value: int) -> int:
        return value + 1

    assert run_operator(text, ["a"], codec="text").outputs[0].value == "A"
    assert [o.value for o in run_operator(several, [{"a": 1, "b": 2}, {}]).outputs] == [1, 2]
    assert run_operator(drops, [1, 2]).dropped == 2
    assert [o.value for o in run_operator(batch, [{"a": 1}, {"a": 2}]).outputs] == [
        {"a": 2},
        {"a": 1},
    ]
    assert [o.key for o in run_operator(Counts, [1, 1], start=5).outputs] == [
        "Counts-6",
        "Counts-7",
    ]
    assert [o.value for o in run_operator(awaited, [1, 2]).outputs] == [2, 3]
    assert [o.value for o in run_operator(lambda value: value, [1]).outputs] == [1]


def test_wrong_settings_are_an_error() -> None:
    with pytest.raises(ConfigError, match="tims"):
        run_operator(double, [], tims=3)


def test_a_wrong_setting_is_named_with_its_place() -> None:
    def op(value: int, *, rates: dict[str, float]) -> float:
        return value * rates["USD"]

    with pytest.raises(ConfigError, match=r"`rates\.USD` should be a number"):
        run_operator(op, [], rates={"USD": "much"})


def test_an_operator_that_asks_for_another_try_gets_it_at_once() -> None:
    tries: list[int] = []

    def asks(value: int, context: Context) -> int:
        tries.append(context.attempt)
        if context.attempt < 3:
            raise Retry(after=60)
        return value

    clock = FakeClock(start_ms=0)
    assert run_operator(asks, [7], clock=clock).outputs[0].value == 7
    assert (tries, clock.now_ms()) == ([1, 2, 3], 120_000)


def test_a_system_that_is_away_ends_the_run() -> None:
    def away(_value: int) -> int:
        raise Unavailable("the shop is away")

    clock = FakeClock()
    with pytest.raises(TryEnded, match="the shop is away"):
        run_operator(away, [1], clock=clock)
    assert clock.waits == [Waited(1, "the shop is away")] * 10


def test_prints_stay_those_of_the_test(capsys: pytest.CaptureFixture[str]) -> None:
    @operator(takes="value")
    def talks(value: int) -> int:
        print("hello")  # noqa: T201
        raise Permanent("no")

    assert len(run_operator(talks, [1]).dead_letters) == 1
    assert capsys.readouterr().out == "hello\n"


def test_an_operator_alone_may_route_to_any_topic() -> None:
    def op(value: str) -> Record:
        return Record(value).to(value)

    ran = run_operator(op, ["large", "_own", "no topic", "__consumer_offsets"], codec="text")
    assert [output.destination for output in ran.outputs] == ["large", "_own"]
    assert [failed.error_text for failed in ran.dead_letters] == [
        "`to('no topic')`: no topic has such a name",
        "`to('__consumer_offsets')`: no topic has such a name",
    ]
