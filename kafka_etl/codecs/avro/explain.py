"""A second look at values that could not be written: name the bad field, drop empty extra ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any, Final, TypeGuard

from kafka_etl.codecs.avro.check import BRANCH, SIMPLE
from kafka_etl.codecs.avro.logical import said
from kafka_etl.codecs.avro.schema import HOLDERS, fastavro, misfit
from kafka_etl.schema_registry.codec_settings import is_list, is_mapping

_NAMED: Final = ("record", "error", "enum", "fixed")
_PAIR: Final = 2


class CloserLook:
    """Inspects values field by field against a parsed schema; used after a failed attempt."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._named = dict(_definitions(schema))
        self._write = fastavro().schemaless_writer

    def fault(self, value: Any) -> str | None:
        """Return a sentence about the first bad field of a value; None: no bad field is found."""
        return self._fault(value, self._schema, "")

    def known(self, value: Any) -> Any:
        """Return the value without null fields that the schema does not define.

        A row of a table has such fields: those of other records. A value in a union becomes a pair
        (name of its branch, value) if fastavro might choose another branch.
        """
        return self._known(value, self._schema)

    def _resolved(self, schema: Any) -> Any:
        if is_mapping(schema) and not isinstance(schema["type"], str):
            return self._resolved(schema["type"])
        return self._named.get(schema, schema) if isinstance(schema, str) else schema

    def _fault(self, value: Any, schema: Any, path: str) -> str | None:
        schema = self._resolved(schema)
        if is_list(schema):
            return self._fault_in_union(value, schema, path)
        match _kind(schema):
            case "record" | "error" if _is_object(value):
                return self._fault_in_record(value, schema, path)
            case "array" if _is_items(value):
                return self._first_fault(value, schema["items"], f"{path}[]")
            case "map" if _is_object(value) and all(isinstance(key, str) for key in value):
                return self._first_fault(value.values(), schema["values"], f"{path}{{}}")
            case _ if self._fits(value, schema):
                return None
            case _:
                return misfit(path, value, *_said(schema))

    def _first_fault(self, values: Iterable[Any], schema: Any, path: str) -> str | None:
        faults = (self._fault(value, schema, path) for value in values)
        return next(filter(None, faults), None)

    def _fault_in_union(self, value: Any, branches: list[Any], path: str) -> str | None:
        if value is None and "null" in branches:
            return None
        named = self._named_branch(value, branches)
        if named is not None:
            return self._fault(named[1], named[0], path)
        others = [branch for branch in branches if branch != "null"]
        faults = [self._fault(value, branch, path) for branch in others]
        if None in faults:
            return self._ambiguity(value, branches, path) if _is_object(value) else None
        if len(faults) == 1:
            return faults[0]
        kinds = ", ".join(said(self._resolved(branch)) for branch in branches)
        return misfit(path, value, f"union of {kinds}")

    def _named_branch(self, value: Any, branches: list[Any]) -> tuple[Any, Any] | None:
        """Return the branch that a value names, and the value itself; None: no branch is named.

        A value names its branch as a pair `(name, value)`, or as an object with a field `-type`.
        """
        name, inner = None, value
        if _is_pair(value):
            name, inner = value
        elif _is_object(value) and BRANCH in value:
            name = value[BRANCH]
            inner = {key: item for key, item in value.items() if key != BRANCH}
        found = [one for one in map(self._resolved, branches) if _branch_name(one) == name]
        return (found[0], inner) if found else None

    def _fitting(self, value: Mapping[Any, Any], branches: list[Any]) -> list[Any]:
        """Return the branches that can hold an object.

        If exactly one of them has the very fields of the object, and none is a map, this branch
        alone is returned.
        """
        fitting = [
            one
            for one in map(self._resolved, branches)
            if _holds(one, value) and self._fault(value, one, "") is None
        ]
        exact = [
            one
            for one in fitting
            if _kind(one) != "map" and {field["name"] for field in one["fields"]} == set(value)
        ]
        return exact if len(exact) == 1 and "map" not in map(_kind, fitting) else fitting

    def _ambiguity(self, value: Mapping[Any, Any], branches: list[Any], path: str) -> str | None:
        """Return the fault of an object that fits several branches; None: it fits only one."""
        names = [_branch_name(one) for one in self._fitting(value, branches)]
        if len(names) < 2:  # noqa: PLR2004 - an ambiguity needs two branches
            return None
        return (
            f"{f'field {path}: ' if path else ''}{value!r:.80} may be any of the branches "
            f"{', '.join(names)} of an Avro union: choose one with a field "
            f"{BRANCH!r}: {names[0]!r}, or with the pair ({names[0]!r}, value)"
        )

    def _fault_in_record(self, value: Any, schema: Any, path: str) -> str | None:
        begin, names = path and f"{path}.", {field["name"] for field in schema["fields"]}
        strangers = [f"{begin}{name}" for name in value if name not in names]
        if strangers:
            return f"the Avro schema has no field {', '.join(strangers)}"
        for field in schema["fields"]:
            name, where = field["name"], f"{begin}{field['name']}"
            if name in value:
                fault = self._fault(value[name], field["type"], where)
            elif "default" in field or self._fault(None, field["type"], where) is None:
                fault = None
            else:
                fault = f"field {where} is missing"
            if fault:
                return fault
        return None

    def _fits(self, value: Any, schema: Any) -> bool:
        """Whether a value without parts can be written as this type."""
        kind, plain = _kind(schema), not (is_mapping(schema) and "logicalType" in schema)
        try:
            if plain and kind in SIMPLE:
                return SIMPLE[kind](value)
            self._write(BytesIO(), schema, value)
        except Exception:  # noqa: BLE001 - any error means that the value cannot be written
            return False
        return True

    def _known(self, value: Any, schema: Any) -> Any:
        if not _has_parts(value):
            return value
        schema = self._resolved(schema)
        if is_list(schema):
            return self._known_in_union(value, schema)
        if not _holds(schema, value):
            return value
        match _kind(schema):
            case "array":
                return [self._known(item, schema["items"]) for item in value]
            case "map":
                may_be_null = self._fault(None, schema["values"], "") is None
                return {
                    key: self._known(item, schema["values"])
                    for key, item in value.items()
                    if item is not None or may_be_null
                }
            case _:
                types = {field["name"]: field["type"] for field in schema["fields"]}
                return {
                    name: self._known(item, types[name]) if name in types else item
                    for name, item in value.items()
                    if item is not None or name in types
                }

    def _known_in_union(self, value: Any, branches: list[Any]) -> Any:
        """Return `known` of a value in a union, as a pair with its branch if need be."""
        named = self._named_branch(value, branches)
        if named is not None:
            branch, inner = named
            return _branch_name(branch), self._known(inner, branch)
        if _is_tuple(value):  # fastavro would take the first item for the name of a branch
            value = list(value)
        holding = [one for one in map(self._resolved, branches) if _holds(one, value)]
        if len(holding) == 1:
            return self._known(value, holding[0])
        fitting = self._fitting(value, holding) if _is_object(value) else []
        return (_branch_name(fitting[0]), value) if len(fitting) == 1 else value


def _is_object(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_items(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _has_parts(value: Any) -> bool:
    return isinstance(value, dict | list | tuple)


def _is_tuple(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def _is_pair(value: Any) -> TypeGuard[tuple[str, Any]]:
    return _is_tuple(value) and len(value) == _PAIR and isinstance(value[0], str)


def _branch_name(schema: Any) -> str:
    """Return fastavro's name for a branch of a union: that of a named type, else the kind."""
    return str(schema["name"]) if _kind(schema) in _NAMED else _kind(schema)


def _kind(schema: Any) -> str:
    return str(schema["type"] if is_mapping(schema) else schema)


def _said(schema: Any) -> tuple[str, tuple[str, ...]]:
    """Return the name of a type for errors, and the symbols of an enum."""
    return said(schema), tuple(schema.get("symbols", ()) if is_mapping(schema) else ())


def _holds(schema: Any, value: Any) -> bool:
    """Whether a value has the shape of a type with parts: an object, or a list for an array.

    False for any type without parts.
    """
    match None if is_list(schema) else _kind(schema):
        case "record" | "error" | "map":
            return is_mapping(value)
        case "array":
            return _is_items(value)
        case _:
            return False


def _definitions(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the definition of each named type within a schema."""
    if is_list(schema):
        for branch in schema:
            yield from _definitions(branch)
    elif is_mapping(schema):
        if schema.get("type") in _NAMED:
            yield schema["name"], schema
        for key in HOLDERS & schema.keys():
            yield from _definitions(schema[key])
