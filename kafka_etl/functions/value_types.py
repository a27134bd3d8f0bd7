"""Types of values, as annotations name them, and whether a value of one fits where another is due.

An annotation that leaves a doubt names no types, and fits everything.
"""

from __future__ import annotations

import types
import typing
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import Any, Final

from kafka_etl.functions.declare import DROP, Drop
from kafka_etl.record import Record
from kafka_etl.value_classes import is_typed, reads_only_mappings

ValueTypes = frozenset[type] | None
"""Classes with fields, and the plain types of `_PLAIN`; None: unknown."""

_PLAIN: Final = (dict, list, str, bytes, bool, int, float)
_NUMBERS: Final = frozenset((bool, int, float))
_MAPPINGS: Final = (Mapping, MutableMapping)
_MANY: Final = (list, Iterator, Generator, AsyncIterator, AsyncGenerator)
"""What a result may be to stand for several outputs; its first parameter is their type."""


def types_of(hint: Any) -> ValueTypes:
    """The types of values that an annotation names; `None` and `DROP` are no values."""
    hint = _resolved(hint)
    if _is_union(hint):
        return _joined(types_of(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is typing.Literal:
        return _joined(types_of(type(it)) for it in typing.get_args(hint) if it is not DROP)
    kind = typing.get_origin(hint) or hint
    if kind in (types.NoneType, Drop):
        return frozenset()
    found = _type_of(kind)
    return None if found is None else frozenset((found,))


def types_of_outputs(hint: Any) -> ValueTypes:
    """The types of the outputs, where a function is annotated to return `hint`."""
    hint = _resolved(hint)
    if _is_union(hint):
        return _joined(types_of_outputs(option) for option in typing.get_args(hint))
    if (typing.get_origin(hint) or hint) not in _MANY:
        return types_of(hint)
    item, *_ = (*typing.get_args(hint), Any)
    return types_of(item)


def fits(given: ValueTypes, wanted: ValueTypes) -> bool:
    """Whether a value of some given type can stand where one of the wanted types is due."""
    if not given or not wanted:
        return True
    return any(_fits(one, other) for one in given for other in wanted)


def shown(named: ValueTypes) -> str:
    """Show types as they are written in annotations: `dict | str`."""
    return " | ".join(sorted(kind.__name__ for kind in named or ()))


def _type_of(kind: Any) -> type | None:
    """The type of values that a plain annotation names; None: unknown."""
    if kind in _MAPPINGS or typing.is_typeddict(kind):
        return dict
    if not isinstance(kind, type) or kind is Record:
        return None
    if is_typed(kind):
        return kind
    return next((plain for plain in _PLAIN if issubclass(kind, plain)), None)


def _fits(given: type, wanted: type) -> bool:
    if issubclass(given, wanted) or issubclass(wanted, given) or {given, wanted} <= _NUMBERS:
        return True
    # Objects of classes with fields are made of mappings, and of no other value.
    return is_typed(wanted) and (given is dict or not reads_only_mappings(wanted))


def _resolved(hint: Any) -> Any:
    """The annotation behind a `NewType`, or behind the name of `type Name = …`."""
    while True:
        behind = getattr(hint, "__supertype__", getattr(hint, "__value__", None))
        if isinstance(hint, type) or behind is None:
            return hint
        hint = behind


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _joined(options: Iterable[ValueTypes]) -> ValueTypes:
    found: set[type] = set()
    for option in options:
        if option is None:
            return None
        found |= option
    return frozenset(found)
