"""The types that annotations of operators name, and whether one operator fits behind another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NewType, TypedDict

import msgspec
import pyarrow as pa
import pydantic
import pytest
from typing_extensions import TypeAliasType

from kafka_etl import DROP, Context, Drop, Record
from kafka_etl.functions.bind import bind, settings_of
from kafka_etl.functions.value_types import ValueTypes, fits, shown, types_of, types_of_outputs


@dataclass
class Order:
    id: int


@dataclass
class PaidOrder(Order):
    paid: int


@dataclass
class Customer:
    id: int


class Struct(msgspec.Struct):
    id: int


class Row(msgspec.Struct, array_like=True):
    id: int


class Model(pydantic.BaseModel):
    id: int


class OfAnything(pydantic.BaseModel):
    id: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def read(cls, given: Any) -> Any:
        return {"id": 1}


class OfAttributes(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(from_attributes=True)
    id: int


class Ids(pydantic.RootModel[list[int]]):
    pass


class AsDict(TypedDict):
    id: int


class Colour(StrEnum):
    RED = "red"


Id = NewType("Id", int)
Text = TypeAliasType("Text", str)


@pytest.mark.parametrize(
    ("hint", "types"),
    [
        (dict, {dict}),
        (dict[str, Any], {dict}),
        (Mapping[str, Any], {dict}),
        (AsDict, {dict}),
        (Order, {Order}),
        (Struct | None, {Struct}),
        (dict | str, {dict, str}),
        (Id, {int}),
        (Text, {str}),
        (Colour, {str}),
        (Literal["a", "b"], {str}),
        (Literal["a", DROP], {str}),
        (dict | Drop, {dict}),
        (None.__class__, set()),
        (dict | Any, None),
        (Any, None),
        (object, None),
        (Record, None),
        (datetime, None),
        (tuple[int, ...], None),
        (Iterable[int], None),
    ],
)
def test_an_annotation_names_types_or_leaves_a_doubt(hint: Any, types: set[type] | None) -> None:
    assert types_of(hint) == (None if types is None else frozenset(types))


@pytest.mark.parametrize(
    ("hint", "types"),
    [
        (str, {str}),
        (list[str], {str}),
        (list[str] | None, {str}),
        (dict | list[Order], {dict, Order}),
        (Iterator[dict], {dict}),
        (Generator[bytes, None, None], {bytes}),
        (AsyncIterator[dict | None], {dict}),
        (list[list[int]], {list}),
        (list, None),
        (list[Record], None),
        (Iterable[str], None),
    ],
)
def test_outputs_are_what_a_list_or_a_generator_holds(hint: Any, types: set[type] | None) -> None:
    assert types_of_outputs(hint) == (None if types is None else frozenset(types))


CERTAIN = [
    (str, dict),
    (dict, str),
    (bytes, str),
    (int, dict),
    (Order, dict),
    (Struct, AsDict),
    (Model, Mapping[str, Any]),
    (Order, Customer),
    (Order, Struct),
    (str, Order),
    (bytes, Model),
    (list[str] | None, bytes | None),
    (dict | Order, str),
    (Iterator[str], dict),
]
FITTING = [
    (dict, dict),
    (dict, AsDict),
    (dict, Order),
    (dict, Struct),
    (dict, Model),
    (dict | None, Order | None),
    (PaidOrder, Order),
    (Order, PaidOrder),
    (dict | str, str),
    (str, dict | str),
    (float, int),
    (bool, float),
    (str, OfAnything),
    (Order, OfAttributes),
    (list[list[int]], Ids),
    (list[list[int]], Row),
    (Any, str),
    (str, Any),
    (Record, str),
    (str, Record),
    (list[dict], list[dict]),
    (list[dict], dict),
    (dict, list[Order]),
    (pa.Table, dict),
    (str, pa.Table),
    (None.__class__ | dict, str | dict),
]


def bound(takes: Any = Any, gives: Any = Any) -> Any:
    def operator(value):
        return value

    operator.__annotations__.update({"value": takes, "return": gives})
    settings = settings_of(operator, "op")()
    return bind(operator, settings, Context(pipeline="p", operator="op"))


@pytest.mark.parametrize(("gives", "takes"), CERTAIN, ids=str)
def test_a_certain_mismatch_does_not_fit(gives: Any, takes: Any) -> None:
    assert not fits(bound(gives=gives).gives, bound(takes=takes).accepts)


@pytest.mark.parametrize(("gives", "takes"), FITTING, ids=str)
def test_what_can_be_fits(gives: Any, takes: Any) -> None:
    assert fits(bound(gives=gives).gives, bound(takes=takes).accepts)


def test_types_are_shown_as_in_annotations() -> None:
    both: ValueTypes = frozenset((str, Order))
    assert shown(both) == "Order | str"
