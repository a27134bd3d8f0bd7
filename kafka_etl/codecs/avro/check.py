"""Finds values that fastavro would silently change: 6.7 written as 6, true as 1, 2**31 as an int.

A check is made once per schema; a schema without such types gets none. For most records the check
compares the types of the fields with the expected ones, which takes 0.1 us, and packs the numbers
with `struct`, which refuses numbers beyond 32 bits. In a union fastavro chooses the branch by the
value, so only two cases need a check there: floats that are too large, and objects that fit more
than one branch.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import itemgetter
from typing import Any, Final

from kafka_etl.schema_registry.codec_settings import is_list, is_mapping

BRANCH: Final = "-type"
"""The field by which an object may name its branch of a union: fastavro's convention."""

Suspects = Callable[[Any], bool]
"""Whether fastavro might write a value as another one; may also raise for a suspicious value."""

_EXACT: Final[Mapping[str, type]] = {"int": int, "long": int, "boolean": bool}
_OBJECTS: Final = frozenset(["record", "error", "map"])
_PACKED: Final[Mapping[str, str]] = {"int": "i", "float": "f"}


def _is_whole(value: Any, limit: int) -> bool:
    """Whether a value is whole and from -`limit` to `limit` - 1.

    6.0 counts as whole, and numbers of other libraries count, too; booleans do not.
    """
    if isinstance(value, bool | str | bytes):
        return False
    return bool(int(value) == value) and -limit <= value < limit


def _is_float(value: Any) -> bool:
    return bool(struct.pack("<f", value))  # without "<", a number too large becomes infinite


SIMPLE: Final[Mapping[str, Callable[[Any], bool]]] = {
    "int": lambda value: _is_whole(value, 2**31),
    "long": lambda value: _is_whole(value, 2**63),
    "float": _is_float,
    "boolean": lambda value: isinstance(value, bool),
}
"""Primitive type that needs a check -> whether a value is of the type; may raise for others."""


def suspects(schema: Any) -> Suspects | None:
    """Return the check for values of a parsed schema; None: no value needs a check."""
    return _Suspects().of(schema)


class _Suspects:
    """Makes the checks of a schema; knows the types named so far, as types refer to names."""

    def __init__(self) -> None:
        self._named: dict[str, Suspects | None] = {}
        self._open: set[str] = set()
        self._records: dict[str, Any] = {}

    def of(self, schema: Any) -> Suspects | None:
        if is_list(schema):
            return self._union(schema)
        if _simple(schema) is not None:
            look = self._items(schema)
            return None if look is None else lambda value: look((value,))
        return self._holder(schema) if is_mapping(schema) else self._again(schema)

    def _holder(self, schema: dict[str, Any]) -> Suspects | None:
        match schema["type"]:
            case "record" | "error":
                return self._record(schema)
            case "array":
                return self._items(schema["items"])
            case "map":
                look = self._items(schema["values"])
                return None if look is None else lambda value: look(value.values())
            case inner:
                return None if isinstance(inner, str) else self.of(inner)

    def _again(self, name: str) -> Suspects | None:
        """Return the check of a named type; within the type itself, look the check up later."""
        if name not in self._open:
            return self._named.get(name)

        def later(value: Any) -> bool:
            look = self._named[name]
            return look is not None and look(value)

        return later

    def _union(self, branches: list[Any]) -> Suspects | None:
        looks = [
            look
            for branch in branches
            if _simple(branch) in (None, "float") and (look := self.of(branch)) is not None
        ]
        objects = [one for branch in branches if (one := self._object(branch)) is not None]
        if len(objects) > 1:
            looks = [_ambiguous(objects), *looks]
        if not looks:
            return None
        return lambda value: value is not None and any(look(value) for look in looks)

    def _object(self, branch: Any) -> Any | None:
        """Return the branch if the branch can hold an object (a record or a map); else None."""
        found = self._records.get(branch, branch) if isinstance(branch, str) else branch
        return found if is_mapping(found) and found["type"] in _OBJECTS else None

    def _items(self, schema: Any) -> Callable[[Collection[Any]], bool] | None:
        """Return a check for all items of an array, or all values of a map, at once."""
        kind = _simple(schema)
        if kind is None:
            look = self.of(schema)
            return None if look is None else lambda values: any(map(look, values))
        form, usual = _PACKED.get(kind), {_EXACT[kind]} if kind in _EXACT else None

        def unusual(values: Collection[Any]) -> bool:
            if form is not None:
                struct.pack(f"<{len(values)}{form}", *values)
            return usual is not None and not usual.issuperset(map(type, values))

        return unusual

    def _record(self, schema: dict[str, Any]) -> Suspects | None:
        self._open.add(schema["name"])
        self._records[schema["name"]] = schema
        types = {field["name"]: field["type"] for field in schema["fields"]}
        kinds = {name: kind for name, t in types.items() if (kind := _simple(t)) is not None}
        within = {
            name: look
            for name, t in types.items()
            if name not in kinds and (look := self.of(t)) is not None
        }
        self._open.discard(schema["name"])
        made = self._named[schema["name"]] = _any_of(_own(kinds), _within(within))
        return made


def _ambiguous(objects: Collection[Any]) -> Suspects:
    """Return a check that finds objects that fit several branches, or that name their branch."""
    records = [one["fields"] for one in objects if one["type"] != "map"]
    shapes = [
        (
            frozenset(f["name"] for f in fields if "default" not in f and "null" not in f["type"]),
            frozenset(f["name"] for f in fields),
        )
        for fields in records
    ]
    maps = len(objects) - len(records)

    def look(value: Any) -> bool:
        if not is_mapping(value):
            return isinstance(value, tuple)
        keys = value.keys()
        fitting = maps + sum(required <= keys <= names for required, names in shapes)
        return fitting > 1 or BRANCH in keys

    return look


def _simple(kind: Any) -> str | None:
    """Return the name of a primitive type without a logical type that needs a check; else None."""
    if is_mapping(kind) and "logicalType" not in kind:
        kind = kind.get("type")
    return kind if isinstance(kind, str) and kind in SIMPLE else None


def _own(kinds: Mapping[str, str]) -> Suspects | None:
    """Return a check of a record's primitive fields.

    All fields are checked at once; only for an unusual record is each field checked by itself.
    """
    unusual = _any_of(_types(kinds), _ranges(kinds))
    if unusual is None:
        return None
    fields = tuple((name, SIMPLE[kind]) for name, kind in kinds.items())

    def look(value: Any) -> bool:
        try:
            is_unusual = unusual(value)
        except Exception:  # noqa: BLE001 - a field is absent (a default), or of quite another type
            is_unusual = True
        return is_unusual and any(name in value and not fits(value[name]) for name, fits in fields)

    return look


def _types(kinds: Mapping[str, str]) -> Suspects | None:
    """Return a check that finds fields whose Python type is not the usual one."""
    usual = {name: _EXACT[kind] for name, kind in kinds.items() if kind in _EXACT}
    if not usual:
        return None
    read, expected = _reader(usual), list(usual.values())
    return lambda value: list(map(type, read(value))) != expected


def _ranges(kinds: Mapping[str, str]) -> Suspects | None:
    """Return a check that raises `struct.error` or `OverflowError` for numbers beyond 32 bits."""
    forms = {name: _PACKED[kind] for name, kind in kinds.items() if kind in _PACKED}
    if not forms:
        return None
    read, pack = _reader(forms), struct.Struct("<" + "".join(forms.values())).pack
    return lambda value: not pack(*read(value))


def _within(looks: Mapping[str, Suspects]) -> Suspects | None:
    """Return the check of a record's other fields, by field name."""
    if not looks:
        return None
    pairs = tuple(looks.items())
    return lambda value: any(look(value.get(name)) for name, look in pairs)


def _any_of(first: Suspects | None, second: Suspects | None) -> Suspects | None:
    if first is None or second is None:
        return first or second
    return lambda value: first(value) or second(value)


def _reader(names: Iterable[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function from a record to the tuple of these fields' values."""
    first, *others = names
    if others:
        return itemgetter(first, *others)
    return lambda value: (value[first],)
