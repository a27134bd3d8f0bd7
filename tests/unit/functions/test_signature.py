"""What an operator's signature says, and every way in which it may say nothing useful."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, NewType, Optional, TypedDict, Union

import pytest
from pydantic import Field, ValidationError

from kafka_etl import Context, Record, operator
from kafka_etl.errors import OperatorSignatureError
from kafka_etl.functions.declare import Declaration
from kafka_etl.functions.signature import (
    Shape,
    Takes,
    arguments,
    prefilled,
    settings_model,
    shape_of,
    takes_anything,
)

if TYPE_CHECKING:
    from decimal import Decimal


class Order(TypedDict):
    amount: float


@dataclass
class Buyer:
    name: str


class Customer:
    name: str


Number = NewType("Number", int)


def taking(annotation: Any, **declared: Any) -> Shape:
    def op(value):
        return value

    op.__annotations__["value"] = annotation
    return shape_of(op, Declaration(**declared), "op")


def refusal(function: Callable[..., Any], **declared: Any) -> OperatorSignatureError:
    with pytest.raises(OperatorSignatureError) as caught:
        shape_of(function, Declaration(**declared), "shop.op")
    assert "shop.op" in caught.value.what
    return caught.value


# What it takes


@pytest.mark.parametrize(
    ("annotation", "declared", "shape"),
    [
        (Buyer, None, Shape(cls=Buyer)),
        (Buyer | None, None, Shape(nullable=True, cls=Buyer)),
        (list[Buyer], None, Shape(batch=True, cls=Buyer)),
        (list[Buyer | None], None, Shape(batch=True, nullable=True, cls=Buyer)),
        (Buyer, "value", Shape(cls=Buyer)),
        (Buyer, "record", Shape(Takes.RECORD)),
        (list[Buyer], "batch", Shape(batch=True, cls=Buyer)),
    ],
)
def test_a_class_with_fields_is_what_values_are_made_of(
    annotation: Any, declared: Any, shape: Shape
) -> None:
    assert taking(annotation, takes=declared) == shape


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (Any, Shape()),
        (object, Shape()),
        (dict, Shape(container=dict)),
        (dict[str, Any], Shape(container=dict)),
        (Mapping[str, int], Shape(container=dict)),
        (list, Shape(container=list)),
        (int, Shape()),
        (float, Shape()),
        (bool, Shape()),
        (Order, Shape(container=dict)),
        (int | str, Shape()),
        (Union[dict, list], Shape()),  # noqa: UP007
        (Annotated[dict, "an order"], Shape(container=dict)),
        (bytes, Shape(Takes.BYTES)),
        (str, Shape(Takes.TEXT)),
        (Record, Shape(Takes.RECORD)),
    ],
)
def test_the_first_parameter_says_what_a_call_is_given(annotation: Any, shape: Shape) -> None:
    assert taking(annotation) == shape
    assert taking(annotation | None) == replace(shape, nullable=True)
    assert taking(Optional[annotation]) == replace(shape, nullable=True)  # noqa: UP045


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (list[dict], Shape(batch=True, container=dict)),
        (list[dict[str, Any]], Shape(batch=True, container=dict)),
        (list[Any], Shape(batch=True)),
        (list[Order], Shape(batch=True, container=dict)),
        (list[list[int]], Shape(batch=True, container=list)),
        (list[bytes], Shape(Takes.BYTES, batch=True)),
        (list[str], Shape(Takes.TEXT, batch=True)),
        (list[Record], Shape(Takes.RECORD, batch=True)),
        (list[dict | None], Shape(batch=True, nullable=True, container=dict)),
    ],
)
def test_a_list_of_something_is_a_batch(annotation: Any, shape: Shape) -> None:
    assert taking(annotation) == shape


def test_no_annotation_is_the_decoded_value() -> None:
    assert shape_of(lambda value: value, Declaration(), "op") == Shape()


def test_annotations_may_be_strings() -> None:
    def op(value: "Record | None") -> "dict":  # noqa: UP037
        return {}

    assert shape_of(op, Declaration(), "op") == Shape(Takes.RECORD, nullable=True)


@pytest.mark.parametrize(
    "annotation",
    [
        Customer,
        Number,
        tuple,
        set,
        Sequence[int],
        bytes | str,
        list[Customer],
        Context,
        int | bytes,
    ],
)
def test_anything_else_is_refused_with_the_parameter_and_the_fix(annotation: Any) -> None:
    def op(order):
        return order

    op.__annotations__["order"] = annotation
    error = refusal(op)
    assert "`order` is annotated with" in error.what
    assert "which no record can be turned into" in error.what
    assert error.next_step.startswith("Annotate `order` with dict, list, int")


def test_an_annotation_that_does_not_resolve_names_itself() -> None:
    def op(value: dict, price: Decimal) -> dict:
        return value

    error = refusal(op)
    assert "the annotation `Decimal` of `price` does not resolve" in error.what
    assert "TYPE_CHECKING" in error.next_step


@pytest.mark.parametrize(
    ("declared", "annotation", "shape"),
    [
        ("value", list[dict], Shape(container=list)),
        ("value", Customer, Shape()),
        ("value", str, Shape(Takes.TEXT)),
        ("value", Record, Shape()),
        ("record", dict, Shape(Takes.RECORD)),
        ("record", Customer | None, Shape(Takes.RECORD, nullable=True)),
        ("batch", Any, Shape(batch=True)),
        ("batch", list, Shape(batch=True)),
        ("batch", Sequence[int], Shape(batch=True)),
        ("batch", list[Record | None], Shape(Takes.RECORD, batch=True, nullable=True)),
        ("batch", list[Customer], Shape(batch=True)),
    ],
)
def test_what_is_declared_overrules_the_annotation(
    declared: str, annotation: Any, shape: Shape
) -> None:
    assert taking(annotation, takes=declared) == shape


def test_only_a_batch_operator_can_mix_rows() -> None:
    def op(order: dict) -> dict:
        return order

    error = refusal(op, mixes=True)
    assert "takes one record at a time" in error.what
    assert "Annotate `order` with `list[...]`" in error.next_step
    assert taking(list[dict], mixes=True).mixes


def test_the_decorator_returns_the_function_itself() -> None:
    def op(rows: list[dict]) -> list[dict]:
        return rows

    assert operator(mixes=True, version="2")(op) is op


# What it gives


@pytest.mark.parametrize(
    ("annotation", "may_drop"),
    [(dict | None, True), (Optional[int], True), (dict, False), (Any, False)],  # noqa: UP045
)
def test_none_is_a_drop_where_the_annotation_admits_it(annotation: Any, *, may_drop: bool) -> None:
    def op(value):
        return value

    op.__annotations__["return"] = annotation
    assert shape_of(op, Declaration(), "op").may_drop is may_drop


def test_an_operator_that_returns_nothing_is_refused() -> None:
    def op(value: dict) -> None:
        pass

    error = refusal(op)
    assert "would drop every record" in error.what
    assert "return DROP" in error.next_step


# Further parameters


def test_a_second_positional_parameter_needs_a_value() -> None:
    def op(order: dict, rate: float) -> dict:
        return order

    error = refusal(op)
    assert "parameter `rate` has no value" in error.what
    assert "Put `*` before it (`*, rate`)" in error.next_step


def test_a_context_and_defaults_are_welcome() -> None:
    def op(order: dict, context: Context, rate: float = 1.0) -> dict:
        return order

    assert shape_of(op, Declaration(), "op") == Shape(container=dict)


def test_a_function_without_positional_parameters_builds_the_operator() -> None:
    assert not takes_anything(lambda *, rate: rate)
    assert takes_anything(lambda value: value)
    assert takes_anything(lambda value, /: value)


# Settings


def sample(
    value: dict,
    context: Context,
    *,
    rate: float,
    schema: str = "public",
    copy: Annotated[int, Field(ge=1)] = 1,
    more: Context,
) -> dict:
    return {"rate": rate, "schema": schema, "copy": copy, "same": context is more}


def test_keyword_only_parameters_are_the_settings() -> None:
    model = settings_model(sample, "sample")
    settings = model.model_validate({"rate": "0.5", "copy": 3})
    assert arguments(settings) == {"rate": 0.5, "schema": "public", "copy": 3}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, "missing"),
        ({"rate": 1, "rat": 1}, "extra_forbidden"),
        ({"rate": "fast"}, "float_parsing"),
        ({"rate": 1, "copy": 0}, "greater_than_equal"),
        ({"set_rate": 1}, "missing"),
    ],
)
def test_settings_are_checked(given: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings_model(sample, "sample").model_validate(given)
    assert error in {found["type"] for found in caught.value.errors()}


def test_settings_that_cannot_be_named_are_refused() -> None:
    def op(value: dict, **options: Any) -> dict:
        return value

    with pytest.raises(OperatorSignatureError) as caught:
        settings_model(op, "shop.op")
    assert "shop.op: `**options` cannot be checked" in caught.value.what
    assert "keyword-only" in caught.value.next_step


def test_settings_of_a_type_that_cannot_be_checked_are_refused() -> None:
    class Opaque:
        pass

    def op(value: dict, *, thing: Any) -> dict:
        return value

    op.__annotations__["thing"] = Opaque
    with pytest.raises(OperatorSignatureError, match="a setting has a type"):
        settings_model(op, "shop.op")


# Filling in


def test_a_plain_function_is_copied_with_its_settings_as_defaults() -> None:
    context = Context("p")
    settings = {"rate": 2.0, "schema": "s", "copy": 1}
    ready = prefilled(sample, settings, context, "sample")
    assert ready({}) == {"rate": 2.0, "schema": "s", "copy": 1, "same": True}
    assert ready is not sample
    assert ready.__name__ == "sample"
    assert sample.__kwdefaults__ == {"schema": "public", "copy": 1}
    assert sample.__defaults__ is None


def test_without_anything_to_fill_in_it_is_the_function_itself() -> None:
    def op(value: dict) -> dict:
        return value

    assert prefilled(op, {}, Context(), "op") is op


def test_a_method_keeps_its_object() -> None:
    class Op:
        def __call__(self, value: dict, context: Context) -> tuple[Any, str]:
            return self, context.worker

    op = Op()
    assert prefilled(op.__call__, {}, Context(worker="w"), "op")({}) == (op, "w")


def test_a_wrapped_function_is_filled_in_through_its_wrapper() -> None:
    def twice(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return [function(*args, **kwargs)] * 2

        return wrapper

    @twice
    def op(value: int, *, rate: float) -> float:
        return value * rate

    assert prefilled(op, {"rate": 3}, Context(), "op")(2) == [6, 6]


def test_closures_and_defaults_survive() -> None:
    offset = 100

    def op(value: int, context: Context, extra: int = 7, *, rate: int) -> int:
        return value * rate + offset + extra

    assert prefilled(op, {"rate": 2}, Context(), "op")(1) == 109
