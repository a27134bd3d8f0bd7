"""A second look at values that Protobuf refused: convert JSON's forms, or name the bad field."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeGuard

from kafka_etl.codecs.protobuf.schema import STRUCT, fields_of, is_map, kind_of, rivals
from kafka_etl.schema_registry.codec_settings import is_mapping

_FLOAT: Final = struct.Struct("<f")
_WHOLE: Final = re.compile(r"0|-?[1-9][0-9]{0,19}")
_BOOLS: Final = {"true": True, "false": False}
_URL_SAFE: Final = str.maketrans("-_", "+/")


def fitted(value: dict[str, Any], descriptor: Any, path: str = "") -> dict[str, Any]:
    """Return a value whose fields Protobuf's class accepts.

    Texts in the forms of Protobuf's JSON mapping are converted: base64 to bytes, and the text keys
    of maps to numbers and booleans. Null fields are left out.

    Args:
        value: Fields by name.
        descriptor: Type that the value shall have.
        path: Path of the value, for errors; empty for the whole value.

    Raises:
        ValueError: A field does not fit; the error names the field.
    """
    begin, fields = path and f"{path}.", fields_of(descriptor)
    strangers = [f"{begin}{name}" for name in value if name not in fields]
    if strangers:
        raise ValueError(f"the Protobuf schema has no field {', '.join(strangers)}")
    for union, names in rivals(descriptor):
        given = [f"{begin}{name}" for name in names if value.get(name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"fields {' and '.join(given)}: only one of `oneof {union}` can be written"
            )
    return {
        name: _field(item, fields[name], f"{begin}{name}")
        for name, item in value.items()
        if item is not None
    }


def misfit(path: str, value: Any, kind: str) -> ValueError:
    """Return the error for a value that is not of its type."""
    if value is None and path:
        return ValueError(f"field {path} is null and must not be")
    field = f"field {path}: " if path else ""
    return ValueError(f"{field}{value!r:.80} is no Protobuf {kind}")


def _field(item: Any, field: Any, path: str) -> Any:
    if is_map(field):
        if not is_mapping(item):
            raise misfit(path, item, "map")
        of_key, of_value = fields_of(field.message_type).values()
        return {
            _key(key, of_key, f"{path}{{}}"): _one(part, of_value, f"{path}[{key!r}]")
            for key, part in item.items()
        }
    if not field.is_repeated:
        return _one(item, field, path)
    if not _has_parts(item):
        raise misfit(path, item, f"repeated {_name(field)}")
    return [_one(part, field, f"{path}[{number}]") for number, part in enumerate(item)]


def _has_parts(item: Any) -> TypeGuard[Iterable[Any]]:
    """Whether an item counts as the parts of a repeated field.

    An iterator does not count, because the first attempt to write the value may have consumed the
    iterator. Text, bytes and mappings do not count: their characters, bytes or keys are no parts.
    """
    return isinstance(item, Iterable) and not isinstance(item, str | bytes | Mapping | Iterator)


def _key(key: Any, field: Any, path: str) -> Any:
    """Return a map's key; text, the only kind of key in JSON, is converted to the key's type."""
    if isinstance(key, str):
        match kind_of(field):
            case "string":
                pass
            case "bool":
                key = _BOOLS.get(key, key)
            case _ if _WHOLE.fullmatch(key):
                key = int(key)
            case _:
                pass
    return _one(key, field, path)


def _one(item: Any, field: Any, path: str) -> Any:
    """Return the value of a single field, or one part of a repeated field or a map."""
    within, kind = field.message_type, kind_of(field)
    if within is not None and within.full_name != STRUCT and is_mapping(item):
        return fitted(item, within, path)
    if kind == "float" and _too_large(item):
        raise ValueError(f"field {path}: {item!r:.80} is too large for a Protobuf float")
    if kind == "bytes" and isinstance(item, str):
        return _from_base64(item, path)
    if not _takes(field, item):
        raise misfit(path, item, _name(field))
    return item


def _too_large(item: Any) -> bool:
    try:
        _FLOAT.pack(item)
    except OverflowError:
        return True
    except struct.error:
        return False
    return False


def _from_base64(text: str, path: str) -> bytes:
    """Decode base64 as Protobuf's JSON mapping does: either alphabet, padding optional."""
    bare = text.rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"field {path}: {text!r:.80} is neither bytes nor base64") from error


def _takes(field: Any, item: Any) -> bool:
    from google.protobuf import message_factory  # noqa: PLC0415 - an extra

    try:
        holder = message_factory.GetMessageClass(field.containing_type)
        holder(**{field.name: [item] if field.is_repeated else item})
    except Exception:  # noqa: BLE001 - any error means that the item cannot be written
        return False
    return item is not None


def _name(field: Any) -> str:
    if field.message_type is not None:
        return str(field.message_type.full_name)
    if field.enum_type is not None:
        names = ", ".join(value.name for value in field.enum_type.values)
        return f"enum of {names:.80}"
    return kind_of(field)
