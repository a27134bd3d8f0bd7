"""The operator `explode`: gives one output for each element of a list field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeGuard, cast

from pydantic import Field

Value = dict[str, Any]


def explode(
    *,
    field: Annotated[str, Field(examples=["items"])],
    into: str | None = None,
    number: str | None = None,
) -> Callable[[Value], list[Value]]:
    """Give one output for each element of a top-level list field, with all other fields.

    A record whose list is empty gives no output: the record is dropped and counted. A record
    without the field, or whose field is null or no list, fails and becomes a dead letter.

    Args:
        field: Name of the list field.
        into: Name of the field for the element, which replaces a field of that name; default:
            `field`.
        number: Name of the field for the element's index in the list, from 0, which replaces a
            field of that name; default: no index.

    Raises:
        ValueError: `number` is the same name as `field` or `into`.
    """
    target = field if into is None else into
    if number in (field, target):
        raise ValueError(f"`number` is `{number}`, which holds something else")

    def explode_list(value: Value) -> list[Value]:
        elements = _list(value, field)
        rest = {name: held for name, held in value.items() if name != field}
        if number is None:
            return [{**rest, target: element} for element in elements]
        return [{**rest, target: element, number: place} for place, element in enumerate(elements)]

    return explode_list


def _list(value: object, field: str) -> list[Any]:
    if not isinstance(value, dict):
        raise TypeError(f"`explode` takes an object with fields, not {type(value).__name__}")
    held = cast("object", value[field])
    if not _is_list(held):
        raise TypeError(f"`{field}` holds no list, but {type(held).__name__}")
    return held


def _is_list(held: object) -> TypeGuard[list[Any]]:
    return isinstance(held, list)
