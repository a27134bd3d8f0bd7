"""Encodes single values as Protobuf; refuses values that Protobuf would silently change."""

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
"""The encoded infinities, which Protobuf silently writes for numbers too large for a `float`."""

Suspects = Callable[[Any], bool]
"""Whether a value needs a second look, although Protobuf can write the value."""


def value_writer(cls: Any, head: bytes) -> Callable[[Any], bytes]:
    """Return a function that encodes a dict, or an object of the class, behind a head.

    The function raises `ValueError` for a value that does not fit; the error names the field.

    Args:
        cls: Class of the sink's type.
        head: Bytes before each payload: the schema's id and the indexes of the type.
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
        except Exception:  # noqa: BLE001 - the second look finds the reason
            return write_closely(value)
        return write_closely(value)

    def write_closely(value: Any) -> bytes:
        if not is_mapping(value) and not hasattr(value, "DESCRIPTOR"):
            raise misfit("", value, own)
        known = fitted(value, cls.DESCRIPTOR) if is_mapping(value) else value
        try:
            return head + serialized(known)
        except Exception as error:
            raise ValueError(str(error)) from error  # the engine would retry an `EncodeError`

    return write


def _suspects(descriptor: Any, known: dict[str, Suspects]) -> Suspects:
    """Return a function that finds values with two fields of one `oneof`.

    Protobuf would write the last of the fields and drop the others.
    """
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
