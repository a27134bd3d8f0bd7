"""Headers that name schemas go with the bytes they came with, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import polars as pl
import pytest

from kafka_etl import Record
from kafka_etl.codecs import BYTES
from kafka_etl.contracts import Codec
from kafka_etl.schema_registry.wire_format import KEY_HEADER, VALUE_HEADER, headed
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import chain_of, json, run

HEAD = bytes(17)
OWN = [("own", b"1")]
NAMED = replace(json(), names_schema=True, table=None)
IN_HEADER = replace(
    NAMED, encode=lambda value: HEAD + orjson.dumps(value), headed=headed, of_class=None
)


def came(value: bytes | None = b'{"id":1}', *names: str) -> StoredRecord:
    return StoredRecord(value, b"k", [*OWN, *((name, b"old") for name in names)])


def on_values(value: dict[str, Any]) -> dict[str, Any]:
    return value


def on_records(record: Record) -> Record:
    return record.replace(value={"id": 2})


def on_columns(frame: pl.DataFrame) -> pl.DataFrame:
    return frame


OPERATORS = pytest.mark.parametrize("operator", [on_values, on_records, on_columns])


@OPERATORS
def test_an_old_one_does_not_go_with_a_new_value(operator: Callable[..., Any]) -> None:
    chain = chain_of(operator, sink=NAMED, schema_ids=True)
    ran = run(chain, came(b'{"id": 1}', VALUE_HEADER, KEY_HEADER), came())
    assert ran.outputs.headers == [[*OWN, (KEY_HEADER, b"old")], OWN]


def test_it_stays_with_bytes_that_go_through() -> None:
    record = came(b"{}", VALUE_HEADER, KEY_HEADER)
    chain = chain_of(sink=NAMED, schema_ids=True)
    assert run(chain, record).outputs.headers == [record.headers()]


def test_it_stays_with_the_bytes_and_not_with_others_that_an_operator_returns() -> None:
    given = [came(value, VALUE_HEADER) for value in (b"a", b"b", b"c", None)]
    becomes = {b"a": bytes(bytearray(b"a")), b"b": b"new", b"c": Record(value=None)}

    def op(value: bytes) -> Any:
        return becomes[value]

    ran = run(chain_of(op, value=BYTES, sink=NAMED, schema_ids=True), *given)
    assert ran.outputs.values == [b"a", b"new", None, None]
    assert ran.outputs.headers == [given[0].headers(), OWN, OWN, given[3].headers()]


def test_that_of_a_new_key_goes_with_the_old_one() -> None:
    def op(record: Record) -> Record:
        return record.replace(key=b"new") if record.value["id"] == 1 else record

    other = came(b'{"id":2}', KEY_HEADER)
    ran = run(chain_of(op, schema_ids=True), came(b'{"id":1}', KEY_HEADER), other)
    assert ran.outputs.headers == [OWN, other.headers()]


@OPERATORS
def test_a_new_one_is_set(operator: Callable[..., Any]) -> None:
    chain = chain_of(operator, sink=IN_HEADER, schema_ids=True)
    ran = run(chain, came(b'{"id":2}', VALUE_HEADER), StoredRecord(b'{"id":2}'), came(None))
    new = [(VALUE_HEADER, HEAD)]
    assert ran.outputs.headers is not None
    assert [h or [] for h in ran.outputs.headers] == [[*OWN, *new], new, OWN]
    assert ran.outputs.values == [b'{"id":2}', b'{"id":2}', None]


def test_a_value_that_fails_has_none() -> None:
    def op(value: dict[str, Any]) -> Any:
        return value if value["id"] else object()

    ran = run(chain_of(op, sink=IN_HEADER, schema_ids=True), {"id": 0}, {"id": 1})
    assert set(ran.conditions) == {0}
    assert ran.outputs.headers == [[(VALUE_HEADER, HEAD)]]


@pytest.mark.parametrize(
    ("converts", "source", "expected"),
    [(False, json(), b'{ "id":1}'), (True, json(), b'{"id":1}'), (True, BYTES, b'{ "id":1}')],
)
def test_without_operators_values_are_converted_where_codecs_differ(
    converts: bool, source: Codec, expected: bytes
) -> None:
    chain = chain_of(value=source, sink=json(), converts=converts)
    assert run(chain, StoredRecord(b'{ "id":1}')).outputs.values == [expected]
