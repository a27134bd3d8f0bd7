"""Settings to begin with: the examples of a plug-in, and placeholders for what it requires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydantic.errors import PydanticUserError

from kafka_etl.config.parse import is_mapping
from kafka_etl.config.schema import Schema, settings_schema
from kafka_etl.contracts import Settings

_DEFS: Final = "#/$defs/"
_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class Sample(NamedTuple):
    """Settings to begin with.

    Attributes:
        settings: Name -> value.
        has_placeholders: Whether some of the values are no examples of the plug-in's author.
    """

    settings: dict[str, Any]
    has_placeholders: bool


def sample_of(model: type[Settings]) -> Sample:
    """Make settings for a model: its examples, and placeholders for other required settings."""
    try:
        schema = settings_schema(model)
    except PydanticUserError:  # a stranger's type, of which nothing is known
        schema = {}
    parts, defs = schema.get("properties", {}), schema.get("$defs", {})
    made: dict[str, Any] = {}
    lacking = False
    for field, info in model.model_fields.items():
        name = info.alias or field
        if info.examples:
            made[name] = info.examples[0]
        elif info.is_required():
            made[name] = _placeholder(parts.get(name, {}), defs, name)
            lacking = True
    return Sample(made, lacking)


def _placeholder(part: Mapping[str, Any], defs: Mapping[str, Schema], name: str) -> Any:
    """A value that fits a schema; of text without further rules, the setting's name."""
    match part:
        case {"examples": [given, *_]} | {"default": given} | {"const": given}:
            made = given
        case {"enum": [choice, *_]}:
            made = choice
        case {"title": "expression"}:
            made = "value"
        case {"$ref": "#/$defs/UseSettings"}:
            made = "json"
        case {"$ref": str(reference)}:
            made = _placeholder(defs[reference.removeprefix(_DEFS)], defs, name)
        case {"anyOf": [option, *_]} | {"oneOf": [option, *_]}:
            made = _placeholder(option, defs, name)
        case {"type": "array"}:
            entries = part.get("prefixItems") or [part.get("items", {})]
            made = [_placeholder(entry, defs, name) for entry in entries]
        case {"type": "object"}:
            made = _mapping(part, defs)
        case _:
            made = _scalar(part, name)
    return made


def _scalar(part: Mapping[str, Any], name: str) -> Any:
    match part.get("type"):
        case "integer" | "number":
            return _number(part)
        case "boolean":
            return True
        case _:
            return _FORMATS.get(part.get("format", ""), name.upper())


def _number(part: Mapping[str, Any]) -> float:
    """A number within the limits of a schema: 1 where that is possible."""
    least, above = part.get("minimum"), part.get("exclusiveMinimum")
    most, below = part.get("maximum"), part.get("exclusiveMaximum")
    found: float = 1
    if least is not None:
        found = max(found, least)
    if above is not None and found <= above:
        found = above + 1
    if most is not None:
        found = min(found, most)
    if below is not None and found >= below:
        found = below - 1 if above is None else (above + below) / 2
    return found


def _mapping(part: Mapping[str, Any], defs: Mapping[str, Schema]) -> dict[str, Any]:
    inner, required = part.get("properties", {}), part.get("required", ())
    if inner:
        return {name: _placeholder(inner[name], defs, name) for name in required}
    values = part.get("additionalProperties")
    return {"NAME": _placeholder(values if is_mapping(values) else {}, defs, "value")}
