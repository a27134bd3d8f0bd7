"""Writes single values as Protobuf, and refuses those that it would write as something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kafka_etl.codecs.protobuf.fit import fitted, misfit
from kafka_etl.codecs.protobuf.schema import (
    STRUCT,
    is_map,
    kind_of,
    reached,
    rivals,
)
from kafka_etl.schema_registry.codec_settings import is_mapping

_INFINITE: Final = b"\0\0\x80\x7f"
_MINUS_INFINITE: Final = b"\0\0\x80\xff"
"""What a number becomes, silently, that is too large for a `float`."""

Suspects = Callable[[Any], bool]
"""Whether a value has to be looked at, though it can be written."""


def value_writer(cls: Any, head: bytes) -> Callable[[Any], bytes]:
    """Writes dicts, and objects of generated classes, behind a head.

    It raises ValueError, which names the field.
    """
    own = cls.DESCRIPTOR.full_name
    types = reached(cls.DESCRIPTOR)
    has_floats = any(kind_of(field) == "float" for one in types.values() for field in one.fields)
    suspect = _suspects(cls.DESCRIPTOR, {}) if any(map(rivals, types.values())) else None

    def serialized(value: Any) -> bytes:
        made = cls(**value) if isinstance(value, dict) else value
        if made.DESCRIPTOR.full_name != own:
            raise TypeError(f"{made.DESCRIPTOR.full_name} is not {own}")
        data: bytes = made.SerializeToString(deterministic=True)
        return data

    def write(value: Any) -> bytes:
        try:
            if suspect is None or not suspect(value):
                data = serialized(value)
                if not has_floats or not (_INFINITE in data or _MINUS_INFINITE in data):
                    return head + data
        except Exception:  # noqa: BLE001 - looked at
            return write_closely(value)
        return write_closely(value)

    def write_closely(value: Any) -> bytes:
        if not is_mapping(value) and not hasattr(value, "DESCRIPTOR"):
            raise misfit("", value, own)
        known = fitted(value, cls.DESCRIPTOR) if is_mapping(value) else value
        try:
            return head + serialized(known)
        except Exception as error:
            raise ValueError(str(error)) from error  # an `EncodeError` would be tried again

    return write


def _suspects(descriptor: Any, known: dict[str, Suspects]) -> Suspects:
    """Finds two members of one `oneof`: the last would be written, and the others dropped."""
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    unions = [names for _, names in rivals(descriptor)]
    others: list[tuple[str, Suspects]] = []

    def suspect(value: Any) -> bool:
        if not is_mapping(value):
            return False
        for names in unions:
            if len([name for name in names if value.get(name) is not None]) > 1:
                return True
        return any(look(value[name]) for name, look in others if value.get(name) is not None)

    known[descriptor.full_name] = suspect  # before its fields: a type may hold itself
    others += [
        (field.name, _of_field(field, known))
        for field in descriptor.fields
        if field.message_type is not None
        and field.message_type.full_name != STRUCT
        and any(map(rivals, reached(field.message_type).values()))
    ]
    return suspect


def _of_field(field: Any, known: dict[str, Suspects]) -> Suspects:
    if is_map(field):
        in_value = _suspects(field.message_type.fields_by_name["value"].message_type, known)
        return lambda found: is_mapping(found) and any(map(in_value, found.values()))
    in_one = _suspects(field.message_type, known)
    if field.is_repeated:
        return lambda found: type(found) in (list, tuple) and any(map(in_one, found))
    return in_one
