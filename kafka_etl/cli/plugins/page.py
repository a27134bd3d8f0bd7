"""One plug-in as text: what it does and promises, an example, and its settings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson
from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from kafka_etl.cli.plugins.sample_settings import Sample, sample_of
from kafka_etl.config.parse import is_mapping
from kafka_etl.config.schema import Schema, settings_schema
from kafka_etl.contracts import Settings, SinkSettings
from kafka_etl.docstrings import summary_of
from kafka_etl.errors import BrokenPlugin
from kafka_etl.plugins import Plugin, PluginRegistry
from kafka_etl.terminal import wrapped

_WIDEST: Final = 100
_DEFS: Final = "#/$defs/"
_PLAIN: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
    "null": "null",
}
_PLACES: Final = {
    "sources": "source:\n  use: {}",
    "sinks": "sink:\n  use: {}",
    "operators": "operators:\n  - use: {}",
    "codecs": "value:\n  use: {}",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a plug-in.

    Attributes:
        name: Name of the setting; with dots where it is a part of another.
        type: Its type, in words.
        default: Its default as JSON; None: the setting may simply be left out, or is required.
        required: Whether the setting has to be given.
        told: What the setting means.
    """

    name: str
    type: str
    default: str | None
    required: bool
    told: str

    @property
    def line(self) -> str:
        """Name, type and default."""
        default = None if self.default is None else f"default {self.default}"
        parts = (self.type, "required" if self.required else default)
        return f"{self.name}  {', '.join(filter(None, parts))}"


def page(plugin: Plugin, registry: PluginRegistry, width: int) -> Iterator[str]:
    """Yield the lines that describe a plug-in, for a terminal of this width.

    Raises:
        BrokenPlugin: The plug-in is not what its kind must be.
        OperatorSignatureError: Its settings cannot be told from its signature.
    """
    model = registry.settings(plugin)
    yield f"{plugin.kind[:-1]} {plugin.name}, of {plugin.distribution} {plugin.version}".rstrip()
    width = min(width, _WIDEST)
    for paragraph in _summary(plugin, registry).split("\n\n"):
        yield from wrapped(paragraph, width, "  ")
    sample = sample_of(model)
    if plugin.kind == "sinks" and (promise := _promise(plugin, registry, model, sample)):
        yield from wrapped(f"guarantee: {promise}", width, "  ")
    if (missing := registry.lacks(plugin)) is not None:
        yield from wrapped(f"{missing.what}. {missing.next_step}", width, "  ")
    yield ""
    yield from _use(plugin, sample.settings).splitlines()
    yield ""
    listed = list(settings_of(model))
    yield "Settings, under `with`:" if listed else "There are no settings."
    for setting in listed:
        yield f"  {setting.line}"
        yield from wrapped(setting.told, width, "      ")


def settings_of(model: type[Settings]) -> Iterator[Setting]:
    """Yield the settings of a model, and those within its settings."""
    try:
        schema = settings_schema(model)
    except PydanticUserError:  # a stranger's type, of which only the name can be said
        for name, info in model.model_fields.items():
            yield Setting(info.alias or name, str(info.annotation), None, info.is_required(), "")
        return
    yield from _settings(schema, schema.get("$defs", {}), "")


def _settings(schema: Schema, defs: Mapping[str, Schema], before: str) -> Iterator[Setting]:
    for name, part in schema.get("properties", {}).items():
        default = orjson.dumps(part["default"]).decode() if "default" in part else None
        is_required = name in schema.get("required", ())
        told = part.get("description", "")
        reference = part.get("$ref", "").removeprefix(_DEFS)
        choices = defs.get(reference, {}).get("enum")
        words = in_words({"enum": choices} if choices and "title" not in part else part)
        yield Setting(f"{before}{name}", words, default, is_required, told)
        if reference and reference != "UseSettings" and "enum" not in defs[reference]:
            yield from _settings(defs[reference], defs, f"{before}{name}.")


def in_words(schema: Mapping[str, Any]) -> str:
    """Return the type of a setting in words: `list of text`, `duration`, `one of a, b`."""
    match schema:
        case {"title": str(title)}:
            words = title
        case {"$ref": str(reference)}:
            words = "codec" if reference.endswith("/UseSettings") else "mapping"
        case {"anyOf": options}:
            kinds = (in_words(option) for option in options if option != {"type": "null"})
            words = " or ".join(dict.fromkeys(kinds))
        case {"enum": choices}:
            words = f"one of {', '.join(map(str, choices))}"
        case {"const": only}:
            words = str(only).lower() if isinstance(only, bool) else str(only)
        case {"type": str(kind)}:
            words = f"{_PLAIN[kind]}{_limits(schema)}{_inside(schema)}"
        case _:
            words = "anything"
    return words


def _inside(schema: Mapping[str, Any]) -> str:
    """Return ` of …` for a list or a mapping whose values have a type."""
    inner = schema.get("items") or schema.get("additionalProperties")
    return f" of {in_words(inner)}" if is_mapping(inner) else ""


def _limits(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    if above is not None:
        return f" above {above:,}" + (f", at most {most:,}" if most is not None else "")
    if least is not None and most is not None:
        return f" from {least:,} to {most:,}"
    if least is not None:
        return f", at least {least:,}"
    return "" if most is None else f", at most {most:,}"


def _summary(plugin: Plugin, registry: PluginRegistry) -> str:
    if plugin.kind != "operators":
        return registry.summary(plugin)
    return summary_of(inspect.getdoc(registry.operator(plugin.name)[0]) or "")


def _use(plugin: Plugin, given: Mapping[str, Any]) -> str:
    lines = [_PLACES[plugin.kind].format(plugin.name)]
    indent = "    " if plugin.kind == "operators" else "  "
    if given:
        lines.append(f"{indent}with:")
    for name, value in given.items():
        text = orjson.dumps(value).decode()
        lines.append(f"{indent}  {name}: {text}")
    return "\n".join(lines)


def _promise(
    plugin: Plugin, registry: PluginRegistry, model: type[Settings], sample: Sample
) -> str:
    """The guarantee of a sink with these settings; empty: they are not good enough."""
    try:
        settings = model.model_validate(sample.settings)
        return str(registry.label(plugin.name, cast("SinkSettings", settings)))
    except ValidationError:
        return ""
    except BrokenPlugin:
        if not sample.has_placeholders:
            raise
        return ""
