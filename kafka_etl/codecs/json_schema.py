"""The codec `json_schema`: JSON that holds to a schema from a registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from kafka_etl.codecs.json.codec import loads
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
from kafka_etl.schema_registry.wire_format import HEAD, ByHead, head_in, headed
from kafka_etl.value_classes import typed

_NAME: Final = "json_schema"

Check = Callable[[Any], None]
"""Raises for a value that does not hold to a schema."""


def _build(settings: SchemaSettings, place: CodecContext) -> Codec:
    registry = registry_for(place, _NAME)
    require("jsonschema_rs")
    text = settings.text(place.folder)
    return _codec(registry, settings, place, None if text is None else _given(text))


def _given(text: str) -> Schema:
    return sound(Schema("JSON", text), _check_by, "JSON Schema")


def _codec(
    registry: SchemaRegistry, settings: SchemaSettings, place: CodecContext, given: Schema | None
) -> Codec:
    written = Written(registry, settings, place, given, _title(given))
    checks = ByHead(lambda schema_id: _check_by(registry.schema(schema_id)))
    read_as = _check_by(given) if given is not None and place.side == "source" else None
    decoder, encoder = _Decoder(checks, read_as, place.part), _Encoder(written)
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
        encode=lambda value: encoder.encode_text(ways.to_json(value)),
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
        check = self._read_as or self._checks[data[:HEAD]]
        value = loads(memoryview(data)[HEAD:])
        check(value)
        return value

    def decode_with(self, data: bytes, headers: Headers) -> Any:
        head = head_in(headers, self.part)
        if head is None:
            return self.decode(data)
        value = loads(data)
        check = self._read_as or self._checks[head]
        check(value)
        return value


class _Encoder:
    """Checks values by the sink's schema, which it asks for when the first one comes."""

    def __init__(self, written: Written) -> None:
        self._written = written
        self._ready: tuple[bytes, Check] | None = None

    def encode(self, value: Any) -> bytes:
        return self.encode_text(orjson.dumps(value), value)

    def encode_text(self, text: bytes, value: Any = None) -> bytes:
        """What is JSON already; `value` is what it says, where that is at hand."""
        head, check = self._ready or self._prepare()
        check(loads(text) if value is None else value)
        return head + text

    def _prepare(self) -> tuple[bytes, Check]:
        head, schema = self._written.find()
        self._ready = head, _check_by(schema)
        return self._ready


PLUGIN: Final = CodecPlugin(
    SchemaSettings, _build, "JSON that holds to a JSON Schema from a Confluent-compatible registry"
)
