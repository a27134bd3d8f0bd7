"""Values of a column: passed on as they are, or refused with the column's name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from kafka_etl.contracts import Column, Kind
from kafka_etl.engine.shape.fit import fit

NOON = datetime(2026, 5, 17, 12)  # noqa: DTZ001 - as it comes without a zone
ID = UUID("12345678-1234-5678-1234-567812345678")


@dataclass
class Point:
    x: float


class Struct(msgspec.Struct):
    x: float


class Model(BaseModel):
    x: float


def one(column: Column, value: Any) -> Any:
    fitted, bad = fit(column, [value])
    if bad:
        raise bad[0]
    return fitted[0]


@pytest.mark.parametrize(
    ("column", "value", "becomes"),
    [
        (Column("c", Kind.INT, bits=16), 32767, 32767),
        (Column("c", Kind.INT, bits=0), 10**30, 10**30),
        (Column("c", Kind.FLOAT), 5, 5.0),
        (Column("c", Kind.FLOAT, bits=32), 0.1, 0.1),
        (Column("c", Kind.DECIMAL, precision=5, scale=2), "123.40000", Decimal("123.40000")),
        (Column("c", Kind.DECIMAL, precision=5, scale=2), Decimal("1E2"), Decimal("1E2")),
        (Column("c", Kind.DECIMAL), 7, Decimal(7)),
        (Column("c", Kind.TEXT, length=2), "éé", "éé"),
        (Column("c", Kind.BYTES), bytearray(b"x"), b"x"),
        (Column("c", Kind.BOOL), False, False),
        (Column("c", Kind.DATE), "2026-05-17", date(2026, 5, 17)),
        (Column("c", Kind.TIME), "12:00:00.123456", time(12, 0, 0, 123456)),
        (Column("c", Kind.TIMESTAMP), "2026-05-17T12:00:00", NOON),
        (Column("c", Kind.TIMESTAMP_TZ), "2026-05-17T12:00:00Z", NOON.replace(tzinfo=UTC)),
        (Column("c", Kind.UUID), str(ID), ID),
        (Column("c", Kind.JSON), {"a": [1, None]}, '{"a":[1,null]}'),
        (Column("c", Kind.JSON), [Point(1), Struct(2), Model(x=3)], '[{"x":1},{"x":2},{"x":3.0}]'),
        (Column("c", Kind.JSON, nul=False), "\\u0000", '"\\\\u0000"'),
        (Column("c", Kind.TEXT_FORM), "red", "red"),
        (Column("c", Kind.TEXT_FORM), NOON, "2026-05-17T12:00:00"),
        (Column("c", Kind.TEXT_FORM), Decimal("12.50"), "12.50"),
        (Column("c", Kind.TEXT_FORM), ID, str(ID)),
        (Column("c", Kind.TEXT_FORM, many=True), [NOON.date(), None], ["2026-05-17", None]),
        (Column("c", Kind.INT, many=True), [1, None], [1, None]),
        (Column("c", Kind.INT), None, None),
    ],
)
def test_what_fits_is_passed_on(column: Column, value: Any, becomes: Any) -> None:
    found = one(column, value)
    assert (found, type(found)) == (becomes, type(becomes))


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        (Column("c", Kind.INT, bits=16), 32768, "16 bits"),
        (Column("c", Kind.INT), 2**63, "64 bits"),
        (Column("c", Kind.INT), True, "int, not bool"),
        (Column("c", Kind.INT), 1.0, "int, not float"),
        (Column("c", Kind.INT, nullable=False), None, "takes no null"),
        (Column("c", Kind.FLOAT), 2**53 + 1, "round"),
        (Column("c", Kind.FLOAT, bits=32), 2**24 + 1, "round"),
        (Column("c", Kind.FLOAT, bits=32), 1e39, "32 bits"),
        (Column("c", Kind.FLOAT), math.nan, "finite"),
        (Column("c", Kind.FLOAT), -math.inf, "finite"),
        (Column("c", Kind.DECIMAL), 0.1, "text"),
        (Column("c", Kind.DECIMAL), "1_000", "decimal numbers"),
        (Column("c", Kind.DECIMAL), " 1 ", "decimal numbers"),
        (Column("c", Kind.DECIMAL), Decimal("NaN"), "finite"),
        (Column("c", Kind.DECIMAL, precision=5, scale=2), "1.001", "round"),
        (Column("c", Kind.DECIMAL, precision=5, scale=2), 1000, "before the point"),
        (Column("c", Kind.DECIMAL, precision=3), "1.23456", "round"),
        (Column("c", Kind.TEXT, nul=False), "a\0b", "NUL"),
        (Column("c", Kind.TEXT), "\ud800", "UTF-8"),
        (Column("c", Kind.TEXT, length=2), "abc", "2 characters, not 3"),
        (Column("c", Kind.TEXT), 5, "text, not int"),
        (Column("c", Kind.TEXT_FORM), 5, "text, not int"),
        (Column("c", Kind.TEXT_FORM), Decimal("NaN"), "finite"),
        (Column("c", Kind.BYTES), "text", "bytes, not str"),
        (Column("c", Kind.BOOL), 1, "true or false"),
        (Column("c", Kind.DATE), NOON, "date, not datetime"),
        (Column("c", Kind.DATE), "17.5.2026", "ISO"),
        (Column("c", Kind.TIME), "12:00:00.1234567", "round"),
        (Column("c", Kind.TIME), time(12, tzinfo=UTC), "without a zone"),
        (Column("c", Kind.TIMESTAMP), "2026-05-17T12:00:00,1234567", "round"),
        (Column("c", Kind.TIMESTAMP), NOON.replace(tzinfo=UTC), "has no time zone"),
        (Column("c", Kind.TIMESTAMP_TZ), NOON, "has a time zone"),
        (Column("c", Kind.TIMESTAMP_TZ), 5, "date and time, not int"),
        (Column("c", Kind.UUID), "1_345678123456781234567812345678", "takes a UUID"),
        (Column("c", Kind.JSON), {"x": math.nan}, "no NaN"),
        (Column("c", Kind.JSON), Struct(math.inf), "no NaN"),
        (Column("c", Kind.JSON), Decimal(1), "no Decimal"),
        (Column("c", Kind.JSON), b"x", "no bytes"),
        (Column("c", Kind.JSON), "\ud800", "JSON"),
        (Column("c", Kind.JSON), 2**64, "JSON"),
        (Column("c", Kind.JSON, nul=False), ["\0"], "NUL"),
        (Column("c", Kind.INT, many=True), "12", "list"),
        (Column("c", Kind.INT, many=True), [1, "2"], "int, not str"),
    ],
)
def test_what_does_not_fit_names_the_column_and_the_reason(
    column: Column, value: Any, why: str
) -> None:
    with pytest.raises((TypeError, ValueError), match="column c") as error:
        one(column, value)
    assert why in str(error.value)
    assert len(str(error.value)) < 300


def test_one_bad_value_costs_itself() -> None:
    fitted, bad = fit(Column("c", Kind.INT, nullable=False), [1, "2", None, 4])
    assert set(bad) == {1, 2}
    assert (fitted[0], fitted[3]) == (1, 4)


def test_a_long_decimal_takes_no_time() -> None:
    assert one(Column("c", Kind.DECIMAL, scale=2), "1." + "0" * 100_000)


def test_zeros_beyond_the_scale_are_no_digits() -> None:
    """Arrow has 38 digits; in DuckDB they are those of the whole column of a batch."""
    column = Column("c", Kind.DECIMAL, precision=38, scale=2)
    with localcontext(prec=5):
        given = [Decimal(f"{'9' * 36}.00000"), Decimal(f"1.5{'0' * 40}"), Decimal("0E-99")]
        fitted, bad = fit(column, given)
    assert (fitted, dict(bad)) == (given, {})
    assert pa.array(fitted, pa.decimal128(38, 2)).to_pylist() == fitted
    assert pa.array(fitted).type == pa.decimal128(38, 2)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**70), 2**70), st.booleans(), st.text())))
def test_whole_numbers_come_out_as_they_went_in(values: list[Any]) -> None:
    fitted, bad = fit(Column("c", Kind.INT), values)
    for at, value in enumerate(values):
        fits = value is None or (type(value) is int and -(2**63) <= value < 2**63)
        assert (at not in bad) is fits
        assert not fits or fitted[at] is value


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(0, 10))
def test_decimals_are_exact_or_refused(value: Decimal, scale: int) -> None:
    fitted, bad = fit(Column("c", Kind.DECIMAL, precision=20, scale=scale), [value])
    with localcontext(prec=60):  # the usual 28 digits are too few for 20 before the point
        exact = abs(value.adjusted()) < 20 and value == round(value, scale)
    assert not bad or not exact or value.adjusted() + 1 > 20 - scale
    assert bad or fitted[0] == value


@given(st.lists(st.text()), st.booleans())
def test_text_is_as_it_was(values: list[str], nul: bool) -> None:
    fitted, bad = fit(Column("c", Kind.TEXT, nul=nul), values)
    for at, value in enumerate(values):
        assert (at in bad) is ("\0" in value and not nul)
        assert at in bad or fitted[at] is value
