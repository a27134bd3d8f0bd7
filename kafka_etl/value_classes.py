"""Values as objects of a class with fields: a msgspec Struct, a dataclass or a pydantic model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, partial
from typing import Any, Final, TypeGuard
from uuid import UUID

import msgspec
from pydantic import BaseModel, RootModel, TypeAdapter


@dataclass(frozen=True, slots=True)
class Typed:
    """How objects of one class come from JSON or from plain data, and go back.

    All raise some `ValueError` or `msgspec.ValidationError` that names the field.
    """

    from_json: Callable[[bytes], Any]
    to_json: Callable[[Any], bytes]
    from_plain: Callable[[Any], Any]
    to_plain: Callable[[Any], Any]


_check_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
"""Raises for what is no JSON, and makes nothing of it."""

_PLAIN: Final = (bytes, datetime, date, time, timedelta, UUID, Decimal)
"""Types that plain data may have, besides those of JSON: a codec knows what becomes of them."""


def is_typed(hint: object) -> TypeGuard[type]:
    """Whether `hint` is a class that values can be decoded into."""
    return isinstance(hint, type) and (
        _is_struct(hint) or dataclasses.is_dataclass(hint) or issubclass(hint, BaseModel)
    )


def reads_only_mappings(cls: type) -> bool:
    """Whether objects of a class for which `is_typed` holds are made of mappings only, for sure.

    Classes that read other values have code for that: validators, or a schema of their own.
    """
    if _is_struct(cls):
        return not cls.__struct_config__.array_like
    if RootModel in cls.__mro__ or "__get_pydantic_core_schema__" in _own_names(cls):
        return False
    decorators = getattr(cls, "__pydantic_decorators__", None)
    config: Any = getattr(cls, "model_config", getattr(cls, "__pydantic_config__", None)) or {}
    return not (decorators and decorators.model_validators) and not config.get("from_attributes")


@cache
def typed(cls: type) -> Typed:
    """The ways in and out of a class for which `is_typed` holds."""
    return _struct(cls) if _is_struct(cls) else _validated(cls)


def _is_struct(cls: type) -> TypeGuard[type[msgspec.Struct]]:
    return issubclass(cls, msgspec.Struct)


def _own_names(cls: type) -> set[str]:
    """The names that a class has itself, or from a class that is not pydantic's own."""
    return {name for each in cls.__mro__ if each not in BaseModel.__mro__ for name in vars(each)}


def _struct(cls: type) -> Typed:
    return Typed(
        from_json=msgspec.json.Decoder(cls).decode,
        to_json=msgspec.json.Encoder().encode,
        from_plain=partial(msgspec.convert, type=cls),
        to_plain=partial(msgspec.to_builtins, builtin_types=_PLAIN),
    )


def _validated(cls: type) -> Typed:
    """By pydantic, which reads NaN and Infinity as if JSON had them, and writes null for them.

    To pass over the text before costs 0.2 us beside its 0.9. What is left, 1e400, is infinite to
    it, unless the class is configured with `allow_inf_nan=False`.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(cls)
    validate = adapter.validate_json

    def from_json(data: bytes) -> Any:
        _check_json(data)
        return validate(data)

    return Typed(
        from_json=from_json,
        to_json=adapter.dump_json,
        from_plain=adapter.validate_python,
        to_plain=adapter.dump_python,
    )
