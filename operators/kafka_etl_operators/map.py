"""The operator `map`: sets fields of a value to the results of expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from kafka_etl import Record
from kafka_etl.expression import Expression


def map_fields(
    *,
    set: Annotated[  # noqa: A002 - its name in YAML
        dict[str, Expression], Field(examples=[{"total": "value.price * value.count"}])
    ],
) -> Callable[[Any], Any]:
    """Set fields of values that are objects; the other fields stay.

    Every expression is computed from the input record, so no expression sees a field that another
    expression sets. An existing field keeps its place, and a new field goes to the end. A tombstone
    (a record whose value is null) has no fields, and passes unchanged.

    Args:
        set: Name of a field -> expression for its value.

    Raises:
        ValueError: `set` is empty.
    """
    if not set:
        raise ValueError("`set` names no field")
    if all(expression.value_only for expression in set.values()):
        return _of_values({name: expression.on_value() for name, expression in set.items()})
    return _of_records({name: expression.on_record() for name, expression in set.items()})


def _of_values(functions: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    if len(functions) == 1:
        ((only, function),) = functions.items()
        return lambda value: {**_object(value), only: function(value)}
    named = list(functions.items())

    def map_value(value: Any) -> Any:
        return {**_object(value), **{name: function(value) for name, function in named}}

    return map_value


def _of_records(functions: dict[str, Callable[[Record], Any]]) -> Callable[[Record], Record]:
    named = list(functions.items())

    def map_record(record: Record) -> Record:
        made = {name: function(record) for name, function in named}
        return record.replace(value={**_object(record.value), **made})

    return map_record


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType] - decoded, so its keys are text
    raise TypeError(f"`map` takes an object with fields, not {type(value).__name__}")
