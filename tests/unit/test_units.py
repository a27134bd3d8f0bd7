"""Durations and sizes as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kafka_etl.units import Duration, Size, parse_duration, parse_size, show_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("20ms", 0.02),
        ("5s", 5.0),
        ("1.5m", 90.0),
        ("2h", 7200.0),
        ("1d", 86_400.0),
        ("250us", 0.00025),
        (" 10 s ", 10.0),
        ("0s", 0.0),
        (0, 0.0),
        (0.0, 0.0),
    ],
)
def test_a_duration_has_a_unit(written: Any, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("16MiB", 16 * 1024 * 1024),
        ("1MB", 1_000_000),
        ("512KiB", 512 * 1024),
        ("1kB", 1000),
        ("1.5GiB", 1_610_612_736),
        ("10B", 10),
        ("10", 10),
        (10, 10),
        (0, 0),
    ],
)
def test_a_size_has_a_unit_or_counts_bytes(written: Any, size: int) -> None:
    assert parse_size(written) == size


NONSENSE = ["", "s", "fast", "-5s", "5 5s", "5x", "1e3s", "5S", "½s", "9" * 400 + "s"]
NEITHER = [None, True, False, [], {}, b"5s", "5,5s", "0x10s", "infs", "nans"]


@pytest.mark.parametrize("written", [*NONSENSE, *NEITHER, 5, 1.5, float("nan"), "5", "0"])
def test_what_is_no_duration_is_told_what_one_looks_like(written: Any) -> None:
    with pytest.raises(ValueError, match="should be a duration with its unit, such as 20ms"):
        parse_duration(written)


@pytest.mark.parametrize(
    "written",
    ["", "MiB", "big", "-5MB", "5mb", "16M", "²", "9" * 400 + "B", "9" * 5000, -1, 1.5, *NEITHER],
)
def test_what_is_no_size_is_told_what_one_looks_like(written: Any) -> None:
    with pytest.raises(ValueError, match="should be a size with its unit, such as 16MiB"):
        parse_size(written)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.02, "20ms"),
        (300, "5m"),
        (90, "90s"),
        (3600, "1h"),
        (86_400, "1d"),
        (1.5, "1500ms"),
        (0, "0s"),
        (0.000_001, "1us"),
        (32.102561, "32102561us"),
    ],
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


@given(st.integers(1, 10**9), st.sampled_from(["us", "ms", "s", "m", "h", "d"]))
def test_what_is_shown_is_read_back(amount: int, unit: str) -> None:
    seconds = parse_duration(f"{amount}{unit}")
    assert parse_duration(show_duration(seconds)) == pytest.approx(seconds)


@given(st.text() | st.floats() | st.integers() | st.binary() | st.none())
def test_anything_else_is_refused_and_nothing_else_is_raised(value: Any) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(value) >= 0
        except ValueError as error:
            assert str(error).startswith("should be a ")  # noqa: PT017 - both ways are right


def test_settings_models_take_them() -> None:
    class Model(BaseModel):
        wait: Duration = 1.0
        size: Size = 1

    made = Model.model_validate({"wait": "20ms", "size": "1KiB"})
    assert (made.wait, made.size) == (0.02, 1024)
    schema = Model.model_json_schema()["properties"]
    assert schema["wait"]["type"] == ["string", "integer"]
    assert "16MiB" in schema["size"]["examples"]
