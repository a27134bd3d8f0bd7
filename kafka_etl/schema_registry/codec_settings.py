"""What codecs with a schema registry have in common: settings, and the schema that is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeGuard

import orjson
from pydantic import Field

from kafka_etl.contracts import Codec, CodecContext, Settings
from kafka_etl.errors import ConfigError, KafkaEtlError
from kafka_etl.schema_registry.client import Kind, Schema, SchemaRegistry
from kafka_etl.schema_registry.wire_format import head_of


class SchemaSettings(Settings):
    """What a codec with a schema registry can be told.

    Attributes:
        schema_: At the source, what records are read as, whatever they were written with; default:
            what they were written with. At the sink, what is written; default: the latest version
            of the subject when the pipeline starts.
        schema_file: A file with that schema, looked for in the pipeline's folder.
        register_: Whether the sink may register the schema under its subject.
        subject: The sink's subject: `orders-value` for `topic`, the record's full name for
            `record`, both for `topic_record`.
        schema_id: Where the id of a record's schema is: in the payload, or, for `header`, in the
            record's header `__value_schema_id`. The source then looks in both.
    """

    schema_: dict[str, Any] | list[Any] | str | None = Field(default=None, alias="schema")
    schema_file: Path | None = None
    register_: bool = Field(default=False, alias="register")
    subject: Literal["topic", "record", "topic_record"] = "topic"
    schema_id: Literal["payload", "header"] = "payload"

    def text(self, folder: Path) -> str | None:
        """The schema that was given.

        Raises:
            ConfigError: Twice, or in a file that cannot be read.
        """
        if self.schema_file is None:
            given = self.schema_
            return (
                given if given is None or isinstance(given, str) else orjson.dumps(given).decode()
            )
        if self.schema_ is not None:
            raise ConfigError("both `schema` and `schema_file` are given", "Leave one out.")
        try:
            return (folder / self.schema_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"`schema_file` {folder / self.schema_file} cannot be read: {error}",
                "Its path is relative to the pipeline file.",
            ) from error


def sound(schema: Schema, check: Callable[[Schema], object], what: str) -> Schema:
    """The schema a pipeline gives, once `check` has made something of it.

    Raises:
        ConfigError: Nothing can be made of it.
    """
    try:
        check(schema)
    except KafkaEtlError:
        raise
    except Exception as error:
        raise ConfigError(f"what is given is no {what}: {_said(error)}") from error
    return schema


def _said(error: Exception) -> str:
    """What libraries say of a schema, on one line; some give nothing but the thing they miss."""
    unknown: Any = getattr(error, "name", None)  # fastavro's, of a type
    if is_mapping(unknown):
        unknown = unknown.get("type")
    if isinstance(unknown, str):
        return f"there is no type `{unknown}`"
    if isinstance(error, KeyError):
        return f"`{error.args[0]}` is missing"
    return " ".join(str(error).split())


class Written:
    """The schema a sink writes, which is looked up when the first value comes.

    Args:
        given: From the settings; None: the latest of the subject.
        name: The full name of what the schema describes; empty where it has none.
    """

    def __init__(
        self,
        registry: SchemaRegistry,
        settings: SchemaSettings,
        place: CodecContext,
        given: Schema | None,
        name: str,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._given = given
        self._subject = _subject(settings, place, name)
        self._by_guid = settings.schema_id == "header"
        if self._by_guid and place.part == "key" and place.side == "sink":
            raise ConfigError(
                "`schema_id: header` is for values; keys are written with the id in them",
                "Leave it out.",
            )
        if settings.register_ and given is None:
            raise ConfigError(
                "`register: true` needs a schema", "Give it as `schema`, or as `schema_file`."
            )

    def find(self) -> tuple[bytes, Schema]:
        """What payloads begin with, and what describes the rest."""
        if self._given is None:
            schema_id, schema = self._registry.latest(self._subject, by_guid=self._by_guid)
        else:
            schema = self._given
            schema_id = self._registry.schema_id(
                self._subject, schema, register=self._settings.register_, by_guid=self._by_guid
            )
        return head_of(schema_id), schema


def _subject(settings: SchemaSettings, place: CodecContext, name: str) -> str:
    """As Confluent's serializers name it."""
    if settings.subject != "topic" and not name:
        raise ConfigError(
            f"`subject: {settings.subject}` needs the full name of a record",
            "Give its schema as `schema` or `schema_file`, with a name in it.",
        )
    if settings.subject != "record" and not place.topic and place.side == "sink":
        raise ConfigError(
            f"`subject: {settings.subject}` needs a topic, and this sink has none",
            "Give `subject: record` and a schema.",
        )
    match settings.subject:
        case "record":
            return name
        case "topic_record":
            return f"{place.topic}-{name}"
        case "topic":
            return f"{place.topic}-{place.part}"


def for_topics(make: Callable[[str], Codec]) -> Callable[[str], Codec]:
    """One codec per topic, however often it is asked for."""
    made: dict[str, Codec] = {}

    def for_topic(topic: str) -> Codec:
        if topic not in made:
            made[topic] = make(topic)
        return made[topic]

    return for_topic


def of_kind(schema: Schema, kind: Kind, codec: str) -> Schema:
    """The schema, when the codec can do something with it."""
    if schema.kind != kind:
        raise TypeError(
            f"written with a schema of type {schema.kind}, which codec {codec} is not for"
        )
    return schema


def as_json(text: str, what: str) -> Any:
    """A schema that is JSON.

    Raises:
        ConfigError: It is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{what} is no JSON: {error}") from error


def is_mapping(document: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(document, dict)


def is_list(document: Any) -> TypeGuard[list[Any]]:
    return isinstance(document, list)
