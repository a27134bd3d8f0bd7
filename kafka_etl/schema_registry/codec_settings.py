"""Common parts of the codecs with a schema registry: their settings, and the sink's schema."""

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
    """Settings of a codec with a schema registry.

    Attributes:
        schema_: At the source, the reader's schema; None: each record is read with the schema that
            the record was written with. At the sink, the schema to write with; None: the latest
            version of the subject when the first record is written.
        schema_file: File with the schema, in place of `schema`; relative to the folder of the
            pipeline file.
        register_: Whether the sink registers the given schema under its subject.
        subject: Form of the sink's subject: for `topic` the topic and the part of the record
            (`orders-value`), for `record` the full name of the schema's type, for `topic_record`
            the topic and the full name.
        schema_id: Place of the schema's id: `payload`, or `header` for the record's header
            `__value_schema_id`. With `header`, the source accepts ids in the payload, too.
    """

    schema_: dict[str, Any] | list[Any] | str | None = Field(default=None, alias="schema")
    schema_file: Path | None = None
    register_: bool = Field(default=False, alias="register")
    subject: Literal["topic", "record", "topic_record"] = "topic"
    schema_id: Literal["payload", "header"] = "payload"

    def text(self, folder: Path) -> str | None:
        """Return the text of the given schema; None: the settings give no schema.

        Args:
            folder: Folder of the pipeline file.

        Raises:
            ConfigError: Both `schema` and `schema_file` are given, or the file cannot be read.
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
    """Return a schema from the pipeline file, having checked it.

    Args:
        schema: Schema to check.
        check: Function that parses the schema, and raises for a bad one.
        what: Kind of schema, for errors.

    Raises:
        ConfigError: The schema is bad.
    """
    try:
        check(schema)
    except KafkaEtlError:
        raise
    except Exception as error:
        raise ConfigError(f"what is given is no {what}: {_said(error)}") from error
    return schema


def _said(error: Exception) -> str:
    """Return a parser's error on one line; a bare name in an error becomes a sentence."""
    unknown: Any = getattr(error, "name", None)  # fastavro's errors for an unknown type have it
    if is_mapping(unknown):
        unknown = unknown.get("type")
    if isinstance(unknown, str):
        return f"there is no type `{unknown}`"
    if isinstance(error, KeyError):
        return f"`{error.args[0]}` is missing"
    return " ".join(str(error).split())


class Written:
    """The schema that a sink writes with; the codec looks it up when the first value comes.

    Args:
        registry: Registry to ask.
        settings: Settings of the codec.
        place: Context of the codec: topic, side and part of the record.
        given: Schema from the settings; None: the latest version of the subject.
        name: Full name of the schema's type; empty: the type has no name.

    Raises:
        ConfigError: The settings contradict each other, or the subject's name lacks a part.
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
        """Return the head of the sink's values, and the schema of the payload.

        Raises:
            Unavailable: The registry gives no answer now.
            KafkaEtlError: The registry gives no answer that waiting could change.
        """
        if self._given is None:
            schema_id, schema = self._registry.latest(self._subject, by_guid=self._by_guid)
        else:
            schema = self._given
            schema_id = self._registry.schema_id(
                self._subject, schema, register=self._settings.register_, by_guid=self._by_guid
            )
        return head_of(schema_id), schema

    def look(self) -> None:
        """Ask whether the schema is there, without registering it.

        Raises: as `find`.
        """
        if self._given is None:
            self._registry.latest(self._subject, by_guid=self._by_guid)
        elif not self._settings.register_:
            self._registry.schema_id(
                self._subject, self._given, register=False, by_guid=self._by_guid
            )


def _subject(settings: SchemaSettings, place: CodecContext, name: str) -> str:
    """Return the sink's subject, in the form that Confluent's serializers use."""
    if settings.subject != "topic" and not name:
        raise ConfigError(
            f"`subject: {settings.subject}` needs the full name of a record",
            "Give its schema as `schema` or `schema_file`, with a name in it.",
        )
    if settings.subject != "record" and not place.topic and place.side == "sink":
        raise ConfigError(
            f"`subject: {settings.subject}` needs a topic, and this sink has none",
            "Name another codec for the sink, such as `value: json`; or give `subject: record` and "
            "a schema.",
        )
    match settings.subject:
        case "record":
            return name
        case "topic_record":
            return f"{place.topic}-{name}"
        case "topic":
            return f"{place.topic}-{place.part}"


def for_topics(make: Callable[[str], Codec]) -> Callable[[str], Codec]:
    """Return a function from a topic to its codec, which makes each codec once."""
    made: dict[str, Codec] = {}

    def for_topic(topic: str) -> Codec:
        if topic not in made:
            made[topic] = make(topic)
        return made[topic]

    return for_topic


def of_kind(schema: Schema, kind: Kind, codec: str) -> Schema:
    """Return the schema, having checked that the codec supports its kind.

    Args:
        schema: Schema from the registry.
        kind: Kind that the codec supports.
        codec: Name of the codec, for errors.

    Raises:
        TypeError: The schema is of another kind.
    """
    if schema.kind != kind:
        raise TypeError(
            f"written with a schema of type {schema.kind}, which codec {codec} is not for"
        )
    return schema


def as_json(text: str, what: str) -> Any:
    """Return a schema's JSON text as plain data.

    Args:
        text: Text of the schema.
        what: Name of the schema, for errors.

    Raises:
        ConfigError: The text is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{what} is no JSON: {error}") from error


def is_mapping(document: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(document, dict)


def is_list(document: Any) -> TypeGuard[list[Any]]:
    return isinstance(document, list)
