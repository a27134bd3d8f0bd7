"""The operator `explode`: an output for each element of a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard, cast

Value = dict[str, Any]


def explode(
    *, field: str, into: str | None = None, number: str | None = None
) -> Callable[[Value], list[Value]]:
    """Give one output for each element of a list field, with all other fields; top level only.

    A value whose list is empty gives none: it is dropped, and counted. One without the field, or
    with something else in it, fails.

    Args:
        field: The list.
        into: The field that holds the element; default: that of the list.
        number: A field for the element's place in the list, from 0.

    Raises:
        ValueError: Two of them are the same field.
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
