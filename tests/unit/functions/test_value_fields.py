"""Fields of an operator's class against the fields that a schema says the values have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from kafka_etl.codecs.avro.fields import fields_of
from kafka_etl.contracts import Fields
from kafka_etl.functions.value_fields import misfits

SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "amount", "type": ["null", "double"]},
        {"name": "currency", "type": {"type": "enum", "name": "C", "symbols": ["EUR"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "labels", "type": {"type": "map", "values": "string"}},
        {"name": "buyer", "type": {"type": "record", "name": "Buyer", "fields": []}},
        {"name": "seller", "type": "Buyer"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "raw", "type": ["bytes", "string"]},
    ],
}
FIELDS: Fields = {
    "id": frozenset((int,)),
    "amount": frozenset((float,)),
    "currency": frozenset((str,)),
    "tags": frozenset((list,)),
    "labels": frozenset((dict,)),
    "buyer": frozenset((dict,)),
    "seller": None,
    "at": None,
    "raw": frozenset((bytes, str)),
}


def test_the_types_are_those_in_which_values_are_decoded() -> None:
    assert fields_of(SCHEMA) == FIELDS


@pytest.mark.parametrize("schema", ["string", {"type": "array", "items": "long"}, ["null", SCHEMA]])
def test_what_is_no_record_has_no_fields(schema: Any) -> None:
    assert fields_of(schema) is None


@dataclass
class Buyer:
    name: str = ""


@dataclass
class Fits:
    id: int
    amount: float | None
    buyer: Buyer
    at: str
    note: str = ""
    more: list[int] = field(default_factory=list)
    made: int = field(init=False)


@dataclass
class Data:
    id: list[int]
    price: float


@pydantic.dataclasses.dataclass
class Checked:
    currency: str
    price: float = pydantic.Field(alias="cost")


class Struct(msgspec.Struct, rename={"price": "cost"}, forbid_unknown_fields=True):
    price: int
    id: str
    amount: float | None
    currency: str
    tags: list[str]
    labels: dict[str, str]
    buyer: Any


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", populate_by_name=True)
    number: int = pydantic.Field(alias="id")
    amount: str
    tags: str | list[str]
    currency: int
    labels: int
    buyer: Buyer
    seller: Buyer
    at: int


class Either(pydantic.BaseModel):
    id: int = pydantic.Field(validation_alias=pydantic.AliasChoices("number", "id"))
    name: str = pydantic.Field(validation_alias=pydantic.AliasPath("buyer", "name"))


class Reads(pydantic.BaseModel):
    price: int

    @pydantic.model_validator(mode="before")
    @classmethod
    def read(cls, given: Any) -> Any:
        return given


class ReadsFields(pydantic.BaseModel):
    id: Annotated[str, pydantic.BeforeValidator(str)]
    tags: int

    @pydantic.field_validator("tags", mode="before")
    @classmethod
    def count(cls, given: Any) -> int:
        return len(given)


class Texts(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(coerce_numbers_to_str=True)
    id: str


class Tagged(msgspec.Struct, tag="order", tag_field="currency", forbid_unknown_fields=True):
    id: int
    amount: float | None
    tags: list[str]
    labels: dict[str, str]
    buyer: Any
    seller: Any
    at: Any
    raw: Any


@dataclass
class Unresolved:
    price: Nowhere  # noqa: F821


class Typed(TypedDict):
    id: str
    price: float
    note: NotRequired[str]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Fits, []),
        (dict, []),
        (Any, []),
        (Fits | None, []),
        (Reads, []),
        (Either, []),
        (ReadsFields, []),
        (Texts, []),
        (Tagged, []),
        (Unresolved, []),
        (Data, ["field `id` is int, not list", "field `price` is missing"]),
        (Checked, ["field `cost` is missing"]),
        (
            Struct,
            [
                "field `cost` is missing",
                "field `id` is int, not str",
                "field `seller` is one too many",
                "field `at` is one too many",
                "field `raw` is one too many",
            ],
        ),
        (
            Model,
            [
                "field `amount` is float, not str",
                "field `labels` is dict, not int",
                "field `raw` is one too many",
            ],
        ),
        (Typed, ["field `id` is int, not str", "field `price` is missing"]),
    ],
)
def test_what_is_certain_not_to_fit_is_named(annotation: Any, said: list[str]) -> None:
    assert list(misfits(annotation, FIELDS)) == said
