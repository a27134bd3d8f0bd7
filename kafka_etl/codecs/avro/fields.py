"""Fields of the values that an Avro schema describes, and the types in which they are decoded."""

from __future__ import annotations

from typing import Any, Final

from kafka_etl.contracts import Fields
from kafka_etl.schema_registry.codec_settings import is_list, is_mapping

_TYPES: Final[dict[str, type]] = {
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "string": str,
    "enum": str,
    "bytes": bytes,
    "fixed": bytes,
    "array": list,
    "map": dict,
    "record": dict,
    "error": dict,
}


def fields_of(document: Any) -> Fields | None:
    """Name of each field -> types of its values; None: the values are no records.

    Args:
        document: The schema as plain data.
    """
    if not is_mapping(document) or document.get("type") not in {"record", "error"}:
        return None
    return {field["name"]: _types(field["type"]) for field in document["fields"]}


def _types(schema: Any) -> frozenset[type] | None:
    """The types of decoded values, without None; None: unknown."""
    if is_list(schema):
        found: set[type] = set()
        for option in schema:
            types = _types(option)
            if types is None:
                return None
            found |= types
        return frozenset(found)
    if is_mapping(schema):
        return None if "logicalType" in schema else _types(schema["type"])
    if schema == "null":
        return frozenset()
    return frozenset((_TYPES[schema],)) if schema in _TYPES else None  # else the name of a type
