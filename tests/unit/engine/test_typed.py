"""Operators whose values are objects of a class with fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
import pytest
from pydantic import BaseModel

from kafka_etl import Record
from kafka_etl.codecs import TEXT
from kafka_etl.contracts import Codec
from kafka_etl.invocation import Condition
from tests.unit.engine.kit import chain_of, run


class Struct(msgspec.Struct):
    id: int
    amount: float
    note: str | None = None


@dataclass
class Plain:
    id: int
    amount: float
    note: str | None = None


class Model(BaseModel):
    id: int
    amount: float
    note: str | None = None


CLASSES = [Struct, Plain, Model]
each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def doubling(cls: type, annotation: Any = None) -> Any:
    def op(order):
        assert isinstance(order, cls)
        order.amount *= 2
        return order

    op.__annotations__["order"] = annotation or cls
    return op


@each_class
def test_a_value_is_an_object_of_the_class(cls: type) -> None:
    assert run(doubling(cls), {"id": 1, "amount": 1.5}).values == [
        {"id": 1, "amount": 3.0, "note": None}
    ]


@each_class
def test_so_are_the_values_of_a_batch(cls: type) -> None:
    def op(orders: list) -> list:
        return [order for order in orders if order.id != 1]

    op.__annotations__["orders"] = list[cls]  # type: ignore[valid-type]
    ran = run(op, *({"id": i, "amount": 1} for i in range(3)))
    assert [value["id"] for value in ran.values] == [0, 2]


@each_class
def test_what_does_not_fit_is_a_dead_letter_that_names_the_field(cls: type) -> None:
    ran = run(doubling(cls), {"id": 1, "amount": 1}, {"id": "x", "amount": 1}, {"id": 3})
    assert ran.conditions == {1: Condition.DECODE_ERROR, 2: Condition.DECODE_ERROR}
    assert "id" in ran.failed[1]
    assert "amount" in ran.failed[2]
    assert len(ran.values) == 1
    assert not ran.waits


@each_class
@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
@pytest.mark.parametrize("field", [b"amount", b"note", b"other"])
def test_what_json_has_no_numbers_for_is_refused(cls: type, field: bytes, number: bytes) -> None:
    bad = b'{"id":1,"amount":1,"%b":%b}' % (field, number)
    ran = run(doubling(cls), {"id": 0, "amount": 1}, bad, {"id": 2, "amount": 1, "note": "NaN"})
    assert ran.conditions == {1: Condition.DECODE_ERROR}
    assert "JSON is malformed: invalid character" in ran.failed[1]
    assert [value["id"] for value in ran.values] == [0, 2]


@each_class
def test_nulls_pass_by_unless_asked_for(cls: type) -> None:
    assert run(doubling(cls), None, {"id": 1, "amount": 1}).values[0] is None
    seen: list[Any] = []

    def op(order):
        seen.append(order)
        return {"id": 0}

    op.__annotations__["order"] = cls | None
    run(op, None, {"id": 1, "amount": 1})
    assert seen[0] is None
    assert isinstance(seen[1], cls)


@each_class
def test_behind_another_operator_values_are_made_objects(cls: type) -> None:
    def plain(order: dict) -> dict:
        return order | {"note": "seen"}

    chain = chain_of(plain, doubling(cls), doubling(cls))
    assert run(chain, {"id": 1, "amount": 1}).values == [{"id": 1, "amount": 4.0, "note": "seen"}]


@each_class
def test_what_an_operator_before_made_wrong_is_the_records_fault(cls: type) -> None:
    def spoil(order: dict) -> dict:
        return {} if order["id"] == 1 else order

    ran = run(chain_of(spoil, doubling(cls)), *({"id": i, "amount": 1} for i in range(3)))
    assert ran.conditions == {1: Condition.OPERATOR_ERROR}
    assert len(ran.values) == 2


@each_class
def test_any_codec_will_do(cls: type) -> None:
    reversed_json = Codec(
        "backwards",
        decode=lambda data: orjson.loads(data[::-1]),
        encode=lambda value: orjson.dumps(value)[::-1],
    )
    chain = chain_of(doubling(cls), value=reversed_json, sink=reversed_json)
    ran = run(chain, orjson.dumps({"id": 1, "amount": 1})[::-1])
    assert orjson.loads((ran.outputs.values[0] or b"")[::-1])["amount"] == 2


def test_outputs_of_many_kinds_are_encoded_each_in_its_way() -> None:
    makes = [Struct(1, 1.0), Plain(2, 2.0), Model(id=3, amount=3.0), {"id": 4}, b'{"id":5}']

    def op(record: Record) -> Any:
        return record.replace(value=makes[record.value])

    ran = run(op, 0, 1, 2, 3, 4)
    assert [value["id"] for value in ran.values] == [1, 2, 3, 4, 5]


def test_objects_are_nothing_to_a_codec_of_text() -> None:
    ran = run(chain_of(doubling(Struct), sink=TEXT), {"id": 1, "amount": 1})
    assert ran.conditions == {0: Condition.ENCODE_ERROR}
