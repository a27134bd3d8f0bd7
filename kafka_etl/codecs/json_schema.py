"""The codec `json_schema`: JSON that is valid against a JSON Schema from a schema registry."""

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
"""A validator of one schema; raises `ValueError` for a value that is not valid."""


class JsonSchemaSettings(SchemaSettings):
    """Settings of the codec `json_schema`.

    Attributes:
        decimal: JSON form of decimals: `text`, or `number` with the same digits.
    """

    decimal: Decimals = "text"


def _require() -> None:
    require("jsonschema_rs")


def _build(settings: JsonSchemaSettings, place: CodecContext) -> Codec:
    registry = registry_for(place, _NAME)
    _require()
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
        look=written.look,
        for_topic=for_topics(
            lambda topic: _codec(registry, settings, replace(place, topic=topic), given)
        ),
    )


def _of_class(decoder: _Decoder, encoder: _Encoder, cls: type, *, in_payload: bool) -> Codec:
    """Return the codec for objects of a class.

    The codec validates the JSON text, not the objects: the schema describes dates and numbers in
    their JSON form.
    """
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
    """Compile a schema into its validator.

    Raises:
        TypeError: The schema is an Avro or a Protobuf schema.
        ConfigError: The schema's text is no JSON.
    """
    import jsonschema_rs  # noqa: PLC0415 - an extra

    document = as_json(of_kind(schema, "JSON", _NAME).text, "the JSON Schema")
    others = [
        (name, as_json(text, f"the JSON Schema {name}")) for name, text in schema.references.items()
    ]
    known = jsonschema_rs.Registry(others) if others else None
    check: Check = jsonschema_rs.validator_for(document, registry=known, offline=True).validate
    return check


def _title(schema: Schema | None) -> str:
    """Return the schema's title, which Confluent's serializers use as the name of a record."""
    document = None if schema is None else as_json(schema.text, "the JSON Schema")
    return str(document.get("title", "")) if is_mapping(document) else ""


class _Decoder:
    """Decodes JSON and validates the value.

    The validator is that of the writer's schema, or of the reader's schema if `read_as` is given.
    """

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
        """Return the validator for a payload with this head.

        Also with a reader's schema the head must be in the wire format; its id is then ignored.
        """
        if self._read_as is None:
            return self._checks[head]
        schema_id_of(head)
        return self._read_as


class _Encoder:
    """Validates and encodes values with the sink's schema.

    The encoder asks the registry for the schema when the first value comes.
    """

    def __init__(self, written: Written, decimals: Decimals) -> None:
        self._written = written
        self._decimals: Decimals = decimals
        self._write = writer(decimals)
        self._ready: tuple[bytes, Check] | None = None

    def encode(self, value: Any) -> bytes:
        """Validate the JSON form of a value and return it behind the head.

        The value itself is validated where it already has its JSON form, which saves a parse. A
        decimal or a UUID, for example, is text in JSON, so its text is what the schema describes.
        """
        head, check = self._ready or self._prepare()
        try:
            text = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
        except TypeError:
            return self.encode_text(self._write(value))
        try:
            check(value)
        except ValueError:  # perhaps only because of a UUID, which the validator does not know
            check(loads(text))
        return head + text

    def encode_object(self, ways: Typed, value: Any) -> bytes:
        by_text = self._decimals == "text"
        return self.encode_text(
            ways.to_json(value) if by_text else self._write(ways.to_plain(value))
        )

    def encode_text(self, text: bytes) -> bytes:
        """Validate a value that is JSON text already and return it behind the head."""
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
    "JSON that conforms to a JSON Schema from a Confluent-compatible registry",
    require=_require,
)
