"""The codec `json_schema`: JSON that holds to a schema from a registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from kafka_etl.codecs.json.codec import loads
from kafka_etl.codecs.json.write import Decimals, writer
from kafka_etl.contracts import Codec, CodecContext, CodecPlugin
from kafka_etl.record import Headers
from kafka_etl.schema_registry.client import Schema, SchemaRegistry, registry_for, require
from kafka_etl.schema_registry.codec_settings import (
    SchemaSettings,
    Written,
    as_json,
    for_topics,
    is_mapping,
    of_kind,
    sound,
)
from kafka_etl.schema_registry.wire_format import HEAD, ByHead, head_in, headed, schema_id_of
from kafka_etl.value_classes import Typed, typed

_NAME: Final = "json_schema"

Check = Callable[[Any], None]
"""Raises for a value that does not hold to a schema."""


class JsonSchemaSettings(SchemaSettings):
    """What `json_schema` can be told.

    Attributes:
        decimal: How decimals are written: as `text`, or as a `number` with the same digits.
    """

    decimal: Decimals = "text"


def _build(settings: JsonSchemaSettings, place: CodecContext) -> Codec:
    registry = registry_for(place, _NAME)
    require("jsonschema_rs")
    text = settings.text(place.folder)
    return _codec(registry, settings, place, None if text is None else _given(text))


def _given(text: str) -> Schema:
    return sound(Schema("JSON", text), _check_by, "JSON Schema")


def _codec(
    registry: SchemaRegistry,
    settings: JsonSchemaSettings,
    place: CodecContext,
    given: Schema | None,
) -> Codec:
    written = Written(registry, settings, place, given, _title(given))
    checks = ByHead(lambda schema_id: _check_by(registry.schema(schema_id)))
    read_as = _check_by(given) if given is not None and place.side == "source" else None
    decoder, encoder = _Decoder(checks, read_as, place.part), _Encoder(written, settings.decimal)
    in_payload = settings.schema_id == "payload"
    return Codec(
        _NAME,
        decode=decoder.decode,
        encode=encoder.encode,
        of_class=lambda cls: _of_class(decoder, encoder, cls, in_payload=in_payload),
        decode_with=None if in_payload else decoder.decode_with,
        names_schema=True,
        headed=None if in_payload else headed,
        for_topic=for_topics(
            lambda topic: _codec(registry, settings, replace(place, topic=topic), given)
        ),
    )


def _of_class(decoder: _Decoder, encoder: _Encoder, cls: type, *, in_payload: bool) -> Codec:
    """Objects by way of JSON, in which dates and numbers are what the schema speaks of."""
    ways = typed(cls)

    def decode(data: bytes) -> Any:
        decoder.decode(data)
        return ways.from_json(data[HEAD:])

    def decode_with(data: bytes, headers: Headers) -> Any:
        decoder.decode_with(data, headers)
        return ways.from_json(data if head_in(headers, decoder.part) else data[HEAD:])

    return Codec(
        _NAME,
        decode=decode,
        encode=lambda value: encoder.encode_object(ways, value),
        decode_with=None if in_payload else decode_with,
    )


def _check_by(schema: Schema) -> Check:
    """The check of a schema, compiled."""
    import jsonschema_rs  # noqa: PLC0415 - an extra

    document = as_json(of_kind(schema, "JSON", _NAME).text, "the JSON Schema")
    others = [
        (name, as_json(text, f"the JSON Schema {name}")) for name, text in schema.references.items()
    ]
    known = jsonschema_rs.Registry(others) if others else None
    check: Check = jsonschema_rs.validator_for(document, registry=known, offline=True).validate
    return check


def _title(schema: Schema | None) -> str:
    """What Confluent's serializers take for the name of a record."""
    document = None if schema is None else as_json(schema.text, "the JSON Schema")
    return str(document.get("title", "")) if is_mapping(document) else ""


class _Decoder:
    """Reads JSON and checks it: by the schema it was written with, or by the one given."""

    def __init__(self, checks: ByHead[Check], read_as: Check | None, part: str) -> None:
        self._checks = checks
        self._read_as = read_as
        self.part = part

    def decode(self, data: bytes) -> Any:
        check = self._check(data[:HEAD])
        value = loads(memoryview(data)[HEAD:])
        check(value)
        return value

    def decode_with(self, data: bytes, headers: Headers) -> Any:
        head = head_in(headers, self.part)
        if head is None:
            return self.decode(data)
        value = loads(data)
        self._check(head)(value)
        return value

    def _check(self, head: bytes) -> Check:
        """By the schema that was given, of what has the id of any."""
        if self._read_as is None:
            return self._checks[head]
        schema_id_of(head)
        return self._read_as


class _Encoder:
    """Checks values by the sink's schema, which it asks for when the first one comes."""

    def __init__(self, written: Written, decimals: Decimals) -> None:
        self._written = written
        self._decimals: Decimals = decimals
        self._write = writer(decimals)
        self._ready: tuple[bytes, Check] | None = None

    def encode(self, value: Any) -> bytes:
        """The check is of what is written: a decimal, say, may be text there."""
        head, check = self._ready or self._prepare()
        try:
            text = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
        except TypeError:
            return self.encode_text(self._write(value))
        try:
            check(value)
        except ValueError:  # also of a UUID, which it does not know
            check(loads(text))
        return head + text

    def encode_object(self, ways: Typed, value: Any) -> bytes:
        by_text = self._decimals == "text"
        return self.encode_text(
            ways.to_json(value) if by_text else self._write(ways.to_plain(value))
        )

    def encode_text(self, text: bytes) -> bytes:
        """What is JSON already."""
        head, check = self._ready or self._prepare()
        check(loads(text))
        return head + text

    def _prepare(self) -> tuple[bytes, Check]:
        head, schema = self._written.find()
        self._ready = head, _check_by(schema)
        return self._ready


PLUGIN: Final = CodecPlugin(
    JsonSchemaSettings,
    _build,
    "JSON that holds to a JSON Schema from a Confluent-compatible registry",
)
