"""The JSON Schema of pipeline files, with which an editor completes and checks them.

The schema is made of the settings models, so that it knows everything that is installed. What only
`validate` can check is left out: settings that contradict each other, and names of modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from kafka_etl.config.model import DeadLetterSpec, OperatorUseSpec, PipelineSpec
from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.config.task_model import FailureSpec, SuccessSpec, TaskOperatorSpec, TaskSpec
from kafka_etl.contracts import Settings, UseSettings
from kafka_etl.docstrings import settings_described, summary_of
from kafka_etl.errors import KafkaEtlError
from kafka_etl.kafka.client.allowed_settings import ALLOWED, CHOICES, SECTIONS
from kafka_etl.plugins import KINDS, Kind, PluginRegistry
from kafka_etl.schema_registry import client_settings as registry_settings
from kafka_etl.units import show_duration, show_size

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_INTERNAL: Final = frozenset(["dead_letters", "task_deliveries", "task_inbox"])
"""Sources of pipelines that kafka-etl itself makes; no file names them."""

_FUNCTION: Final[Schema] = {
    "pattern": r"^[^:\s]+:[^:\s]+$",
    "description": "`module:name` of a function or class of your own, beside the pipeline file.",
}
_VARIABLE: Final = r"\$\{"
"""A text with a variable may stand for any scalar."""

_SCALARS: Final = frozenset(["integer", "number", "boolean"])
_USES: Final[Mapping[type[Settings], Kind]] = {
    OperatorUseSpec: "operators",
    TaskOperatorSpec: "operators",
    SuccessSpec: "sinks",
    DeadLetterSpec: "sinks",
    FailureSpec: "sinks",
}
"""Models of uses that have more keys than `use` and `with`."""

_NOTES: Final[Schema] = {"^x-": {"description": "Parts that YAML aliases refer to."}}


@dataclass(frozen=True, slots=True)
class _Known:
    """An installed plug-in, as far as the schema needs it.

    Attributes:
        name: Name of the plug-in.
        summary: One line about it.
        model: Model of its settings; None: they are not known, since the plug-in is broken.
    """

    name: str
    summary: str
    model: type[Settings] | None

    @property
    def has_required(self) -> bool:
        """Whether there are settings without a default."""
        fields = self.model.model_fields.values() if self.model else ()
        return any(info.is_required() for info in fields)


Plugins = Mapping[Kind, list[_Known]]


def settings_schema(model: type[Settings]) -> Schema:
    """Make the JSON Schema of a plug-in's settings, with references into its own `$defs`.

    Raises:
        PydanticUserError: A setting has a type that JSON Schema cannot describe.
    """
    return model.model_json_schema(schema_generator=_Generator)


def pipeline_schema(registry: PluginRegistry) -> Schema:
    """Make the JSON Schema of pipeline files; imports all installed plug-ins."""
    plugins: Plugins = {kind: list(_known(registry, kind)) for kind in KINDS}
    own: list[type[Settings]] = [PipelineSpec, TaskSpec, UseSettings, *_USES]
    settings = [each.model for known in plugins.values() for each in known if each.model]
    references, made = models_json_schema(
        [(model, "validation") for model in dict.fromkeys([*own, *settings])],
        schema_generator=_Generator,
    )
    defs: dict[str, Schema] = made["$defs"]
    for definition in defs.values():
        _take_variables(definition)
    named = {model: reference for (model, _), reference in references.items()}
    _Uses(defs, named, plugins).put()
    return {
        "$schema": DIALECT,
        "title": "A pipeline file of kafka-etl",
        "type": "object",
        "if": {"properties": {"mode": {"const": "task"}}, "required": ["mode"]},
        "then": named[TaskSpec],
        "else": named[PipelineSpec],
        "$defs": dict(sorted(defs.items())),
    }


class _Generator(GenerateJsonSchema):
    """Makes schemas whose descriptions come from docstrings, with defaults as files have them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        return _without(super().enum_schema(schema), "title", "description")

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        values = schema.get("values_schema")
        if values and is_mapping(made.get("additionalProperties")):  # whose title is lost
            made["additionalProperties"] = self.generate_inner(values)
        return made

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = _without(super().model_schema(schema), "title", "description")
        cls = schema["cls"]
        if cls.__doc__:
            made["description"] = summary_of(cls.__doc__)
        told = _told(cls)
        for name, info in cls.model_fields.items():
            key = info.alias or name
            described = told.get(name) or told.get(key)
            made["properties"][key] = _without_null(made["properties"][key])
            if described:
                made["properties"][key]["description"] = described
            _set_default(made["properties"][key], info)
        return made


def _told(cls: type[BaseModel]) -> dict[str, str]:
    """Descriptions of a model's fields, from its own docstring and those of its bases."""
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        told |= settings_described(vars(base).get("__doc__") or "")
    return told


def _without_null(schema: Schema) -> Schema:
    """Refuse null for a section: it is left out instead, and errors in it keep their place."""
    match schema:
        case {"anyOf": [{"$ref": reference}, {"type": "null"}], **others}:
            return {**others, "$ref": reference}
        case _:
            return schema


def _set_default(schema: Schema, info: FieldInfo) -> None:
    """Show a default as a file would have it; no default where the setting is simply left out."""
    if "default" not in schema:
        return
    default = info.get_default(call_default_factory=True, validated_data={})
    match default:
        case UseSettings():
            schema["default"] = default.use
        case None | BaseModel() | () | {}:
            del schema["default"]
        case float() if "duration" in titles_of(schema):
            schema["default"] = show_duration(default)
        case int() if "size" in titles_of(schema):
            schema["default"] = show_size(default)
        case _:
            pass


def titles_of(schema: Mapping[str, Any]) -> set[str]:
    """Names of the types that a schema allows, as far as they have one: `duration`, `size`."""
    return {part["title"] for part in (schema, *schema.get("anyOf", ())) if "title" in part}


def _known(registry: PluginRegistry, kind: Kind) -> Iterator[_Known]:
    for plugin in registry:
        if plugin.kind != kind or (kind == "sources" and plugin.name in _INTERNAL):
            continue
        try:
            summary, model = registry.summary(plugin), registry.settings(plugin)
            settings_schema(model)
        except (KafkaEtlError, PydanticUserError) as error:
            yield _Known(plugin.name, f"Broken: {error}", None)
        else:
            yield _Known(plugin.name, summary, model)


def _take_variables(schema: Schema) -> None:
    """Let a text with a variable stand for each number, truth value, choice and formed text."""
    for part in _parts(schema):
        _take_variables(part)
    schema.pop("format", None)  # editors check it, and know other forms than ours
    given = schema.get("type", [])
    types: list[str] = given if is_list(given) else [given]
    if "enum" in schema or "const" in schema:
        choice = {key: schema.pop(key) for key in ("enum", "const", "type") if key in schema}
        schema["anyOf"] = [choice, {"type": "string", "pattern": _VARIABLE}]
    elif "string" not in types and _SCALARS & set(types):
        schema |= {"type": [*types, "string"], "pattern": _VARIABLE}
    elif "pattern" in schema:
        schema["pattern"] = f"({schema['pattern']})|{_VARIABLE}"


def _parts(schema: Schema) -> Iterator[Schema]:
    yield from schema.get("properties", {}).values()
    yield from schema.get("anyOf", [])
    yield from schema.get("prefixItems", [])
    for key in ("items", "additionalProperties"):
        if is_mapping(part := schema.get(key)):
            yield part


class _Uses:
    """Puts the plug-ins into the schema, wherever a file may use one.

    Args:
        defs: The definitions, which are changed.
        references: Model -> reference to its definition.
        plugins: The installed plug-ins.
    """

    def __init__(
        self,
        defs: dict[str, Schema],
        references: Mapping[Any, Schema],
        plugins: Plugins,
    ) -> None:
        self._defs = defs
        self._references = references
        self._plugins = plugins

    def put(self) -> None:
        plain = self._references[UseSettings]
        use = self._defs.pop(_name(plain))
        self._defs["source"] = self._use(use, "sources")
        self._defs["sink"] = self._use(use, "sinks")
        self._defs["codec"] = self._use(use, "codecs")
        for model, kind in _USES.items():
            name = _name(self._references[model])
            self._defs[name] = self._use(self._defs[name], kind)
        self._defs["client_value"] = {"type": ["string", "number", "boolean"]}
        codec = {"$ref": "#/$defs/codec"}
        for definition in self._defs.values():
            _replace(definition, plain, codec)
        for model in (PipelineSpec, TaskSpec):
            self._finish(self._defs[_name(self._references[model])])

    def _finish(self, pipeline: Schema) -> None:
        """Complete the definition of a pipeline or of a task pipeline."""
        properties = pipeline["properties"]
        for key in ("source", "sink"):
            if key in properties:
                properties[key]["$ref"] = f"#/$defs/{key}"
        for section in SECTIONS:
            properties[section] |= _clients(ALLOWED[section])
        properties["registry"] |= _clients(registry_settings.ALLOWED)
        for key, model in (("on_success", SuccessSpec), ("on_failure", FailureSpec)):
            if key in properties:
                properties[key] = _one_or_many(properties[key], self._references[model])
        pipeline["patternProperties"] = _NOTES

    def _use(self, use: Schema, kind: Kind) -> Schema:
        """The definition of one use of a plug-in, with the settings of the plug-in that it names.

        A name alone is short for `use: NAME`, but not where `use` is a choice among others.
        """
        plugins = self._plugins[kind]
        rules = [self._rule(plugin) for plugin in plugins]
        told = use["properties"]["use"]["description"]
        properties = {**use["properties"], "use": {**_names(plugins, kind), "description": told}}
        made = {**use, "properties": properties, "allOf": rules}
        short = [plugin for plugin in plugins if not plugin.has_required]
        if short and "use" in use.get("required", ()):
            made["type"] = ["object", "string"]
            made["anyOf"] = [{"type": "object"}, _names(short, kind)]
        return made

    def _rule(self, plugin: _Known) -> Schema:
        """The rule that one plug-in has these settings."""
        named = {"properties": {"use": {"const": plugin.name}}, "required": ["use"]}
        settings = {} if plugin.model is None else self._references[plugin.model]
        then: Schema = {"properties": {"with": settings}}
        if plugin.has_required:
            then["required"] = ["with"]
        return {"if": {"type": "object", **named}, "then": then}


def _name(reference: Schema) -> str:
    name: str = reference["$ref"].removeprefix("#/$defs/")
    return name


def _replace(schema: Schema, old: Schema, new: Schema) -> None:
    if schema.get("$ref") == old["$ref"]:
        schema["$ref"] = new["$ref"]
    for part in _parts(schema):
        _replace(part, old, new)


def _names(plugins: Iterable[_Known], kind: Kind) -> Schema:
    """The names of plug-ins, each with its summary, which editors show beside it."""
    names: list[Schema] = [{"const": each.name, "description": each.summary} for each in plugins]
    return {"anyOf": [*names, _FUNCTION] if kind == "operators" else names}


def _clients(names: Iterable[str]) -> Schema:
    """A section of clients' settings."""
    known = {
        name: {"$ref": "#/$defs/client_value"}
        | ({"examples": list(CHOICES[name])} if name in CHOICES else {})
        for name in sorted(names)
    }
    return {"type": "object", "properties": known, "additionalProperties": False}


def _one_or_many(given: Schema, one: Schema) -> Schema:
    return {
        "description": given.get("description", ""),
        "if": {"type": "array"},
        "then": {"type": "array", "items": one, "minItems": 1},
        "else": one,
    }


def _without(schema: Schema, *keys: str) -> Schema:
    return {key: value for key, value in schema.items() if key not in keys}
