"""The codec `avro`: fastavro for single records, with schemas from a schema registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any, Final

from kafka_etl.codecs.avro.columns import table_codec
from kafka_etl.codecs.avro.fields import fields_of
from kafka_etl.codecs.avro.read import value_reader
from kafka_etl.codecs.avro.schema import document_of, full_name, parsed
from kafka_etl.codecs.avro.write import value_writer
from kafka_etl.contracts import Codec, CodecContext, CodecPlugin, Fields
from kafka_etl.record import Headers
from kafka_etl.schema_registry.client import Schema, SchemaRegistry, registry_for, require
from kafka_etl.schema_registry.codec_settings import (
    SchemaSettings,
    Written,
    for_topics,
    of_kind,
    sound,
)
from kafka_etl.schema_registry.wire_format import HEAD, ByHead, SchemaId, head_in, headed

_NAME: Final = "avro"


def _require() -> None:
    require("fastavro")


def _build(settings: SchemaSettings, place: CodecContext) -> Codec:
    registry = registry_for(place, _NAME)
    _require()
    text = settings.text(place.folder)
    return _codec(registry, settings, place, None if text is None else _given(text))


def _given(text: str) -> Schema:
    return sound(Schema("AVRO", text), lambda it: parsed(document_of(it)), "Avro schema")


def _codec(
    registry: SchemaRegistry, settings: SchemaSettings, place: CodecContext, given: Schema | None
) -> Codec:
    def document(schema_id: SchemaId) -> Any:
        return document_of(of_kind(registry.schema(schema_id), "AVRO", _NAME))

    def described(topic: str) -> Fields | None:
        if own is not None:
            return fields_of(own)
        _, schema = registry.latest(f"{topic}-{place.part}")
        return fields_of(document_of(of_kind(schema, "AVRO", _NAME)))

    own = None if given is None else document_of(given)
    written = Written(registry, settings, place, given, full_name(own))
    read_as = own if place.side == "source" else None
    decode, decode_with = _decoders(document, read_as, place.part)
    in_payload = settings.schema_id == "payload"
    table = table_codec(document, read_as, lambda: _with_document(written))
    return Codec(
        _NAME,
        decode=decode,
        encode=_Encoder(written).encode,
        table=table if in_payload else None,
        decode_with=None if in_payload else decode_with,
        names_schema=True,
        headed=None if in_payload else headed,
        look=written.look,
        fields_of=described,
        for_topic=for_topics(
            lambda topic: _codec(registry, settings, replace(place, topic=topic), given)
        ),
    )


def _with_document(written: Written) -> tuple[bytes, Any]:
    head, schema = written.find()
    return head, document_of(of_kind(schema, "AVRO", _NAME))


def _decoders(
    document: Callable[[SchemaId], Any], read_as: Any | None, part: str
) -> tuple[Callable[[bytes], Any], Callable[[bytes, Headers], Any]]:
    """Return `Codec.decode` and `Codec.decode_with`.

    Args:
        document: Id of a writer's schema -> the schema as plain data.
        read_as: Reader's schema as plain data; None: each record's own schema.
        part: Part of the record: `key` or `value`.
    """
    schemas = ByHead(lambda schema_id: parsed(document(schema_id)))
    reader = None if read_as is None else parsed(read_as)
    read = value_reader(whole=True)

    def decode(data: bytes) -> Any:
        stream = BytesIO(data)
        return read(stream, HEAD, schemas[stream.read(HEAD)], reader)

    def decode_with(data: bytes, headers: Headers) -> Any:
        head = head_in(headers, part)
        return decode(data) if head is None else read(BytesIO(data), 0, schemas[head], reader)

    return decode, decode_with


class _Encoder:
    """Encodes values with the sink's schema.

    The encoder asks the registry for the schema when the first value comes.
    """

    def __init__(self, written: Written) -> None:
        self._written = written
        self._write: Callable[[Any], bytes] | None = None

    def encode(self, value: Any) -> bytes:
        return (self._write or self._prepare())(value)

    def _prepare(self) -> Callable[[Any], bytes]:
        head, document = _with_document(self._written)
        self._write = value_writer(document, head)
        return self._write


PLUGIN: Final = CodecPlugin(
    SchemaSettings,
    _build,
    "Avro, with schemas from a Confluent-compatible registry",
    require=_require,
)
