"""The codec `protobuf`: values as dicts, with schemas from a registry or generated classes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from pydantic import Field

from kafka_etl.codecs.protobuf.schema import (
    class_at,
    class_named,
    compiled,
    indexes_of,
    plain_form,
    protoc,
    read_indexes,
    written_indexes,
)
from kafka_etl.codecs.protobuf.write import value_writer
from kafka_etl.contracts import Codec, CodecContext, CodecPlugin
from kafka_etl.errors import ConfigError, KafkaEtlError
from kafka_etl.record import Headers
from kafka_etl.schema_registry.client import Schema, SchemaRegistry, registry_for, require
from kafka_etl.schema_registry.codec_settings import SchemaSettings, Written, for_topics, of_kind
from kafka_etl.schema_registry.wire_format import (
    GUID_HEAD,
    HEAD,
    ByHead,
    NotInWireFormat,
    head_in,
    head_length,
    schema_id_of,
)

_NAME: Final = "protobuf"
_FIRST: Final = b"\0"
"""The encoded indexes of a file's first type, by far the most frequent ones."""


class ProtobufSettings(SchemaSettings):
    """Settings of the codec `protobuf`.

    Attributes:
        message: Type of the values: the type's full name in the schema, or `module:Class` for a
            generated class. Empty: at the source the type that each record names, at the sink the
            first type of the schema.
    """

    message: str = Field(default="", pattern=r"^[\w.:]*$", examples=["shop.Order"])


def _require() -> None:
    require("google.protobuf")


def _build(settings: ProtobufSettings, place: CodecContext) -> Codec:
    registry = registry_for(place, _NAME)
    _require()
    text = settings.text(place.folder)
    given = None if text is None else Schema("PROTOBUF", text)
    own = _own_class(settings.message, given)
    if own is None:
        protoc()
    return _codec(registry, settings, place, given, own)


def _own_class(name: str, given: Schema | None) -> Any | None:
    """Return the class that the settings name.

    None: only the registry knows the type, so the codec finds the class with the first record.

    Raises:
        ConfigError: The class cannot be imported, or the given schema does not define the type.
    """
    try:
        if ":" in name:
            module, _, attribute = name.partition(":")
            return getattr(importlib.import_module(module), attribute)
        return None if given is None else class_named(compiled(given), name)
    except KafkaEtlError:
        raise
    except Exception as error:
        raise ConfigError(f"no Protobuf type can be made of the settings: {error}") from error


def _codec(
    registry: SchemaRegistry,
    settings: ProtobufSettings,
    place: CodecContext,
    given: Schema | None,
    own: Any | None,
) -> Codec:
    name = "" if own is None else own.DESCRIPTOR.full_name
    written = Written(registry, settings, place, given, name)
    decode, decode_with = _decoders(registry, own if place.side == "source" else None, place.part)
    in_payload = settings.schema_id == "payload"
    return Codec(
        _NAME,
        decode=decode,
        decode_with=None if in_payload else decode_with,
        names_schema=True,
        headed=None if in_payload else _headed,
        look=written.look,
        encode=_Encoder(written, settings.message, own).encode,
        for_topic=for_topics(
            lambda topic: _codec(registry, settings, replace(place, topic=topic), given, own)
        ),
    )


def _decoders(
    registry: SchemaRegistry, own: Any | None, part: str
) -> tuple[Callable[[bytes], Any], Callable[[bytes, Headers], Any]]:
    """Return `Codec.decode` and `Codec.decode_with`.

    Args:
        registry: Registry of the writers' schemas.
        own: Class that all payloads are read as; None: the type that each record names.
        part: Part of the record: `key` or `value`.
    """
    files = ByHead(
        lambda schema_id: compiled(of_kind(registry.schema(schema_id), "PROTOBUF", _NAME))
    )
    readers = _Readers(files, None if own is None else _reader(own))

    def decode(data: bytes) -> Any:
        end = HEAD + 1 if data[HEAD : HEAD + 1] == _FIRST else _end_of_indexes(data)
        return readers[data[:end]](data[end:])

    def decode_with(data: bytes, headers: Headers) -> Any:
        begin = head_in(headers, part)
        return decode(data) if begin is None else readers[begin](data)

    return decode, decode_with


def _end_of_indexes(data: bytes) -> int:
    try:
        return read_indexes(data)[1]
    except NotInWireFormat:
        schema_id_of(data[:HEAD])  # gives a clearer error if the bytes have no schema id at all
        raise


def _headed(data: bytes) -> tuple[bytes, bytes]:
    """Split an encoded value into the header's value and the payload.

    The header's value is the GUID of the schema and the indexes of the type.
    """
    _, end = read_indexes(data, GUID_HEAD)
    return data[:end], data[end:]


class _Readers(dict[bytes, Callable[[bytes], Any]]):
    """The bytes before a payload (head and indexes) -> function from payload to plain data."""

    def __init__(self, files: ByHead[Any], own: Callable[[bytes], Any] | None) -> None:
        super().__init__()
        self._files = files
        self._own = own

    def __missing__(self, begin: bytes) -> Callable[[bytes], Any]:
        end = head_length(begin)
        schema_id_of(begin[:end])
        if self._own is not None:
            return self._own
        indexes, _ = read_indexes(begin, end)
        usual = begin[:end] + written_indexes(indexes) if min(indexes) >= 0 else begin
        if usual != begin:  # a longer form of the same numbers, of which there are endlessly many
            return self[usual]
        made = self[begin] = _reader(class_at(self._files[begin[:end]], indexes))
        return made


def _reader(cls: Any) -> Callable[[bytes], Any]:
    from google.protobuf.message import DecodeError  # noqa: PLC0415 - an extra

    parse, plain, name = cls.FromString, plain_form(cls.DESCRIPTOR), cls.DESCRIPTOR.full_name

    def read(data: bytes) -> Any:
        try:
            return plain(parse(data))
        except DecodeError as error:  # no ValueError: the engine would retry the record
            raise ValueError(f"the payload is no Protobuf message {name}: {error}") from error

    return read


class _Encoder:
    """Encodes values as the sink's type.

    The encoder asks the registry for the schema when the first value comes.
    """

    def __init__(self, written: Written, name: str, own: Any | None) -> None:
        self._written = written
        self._name = name
        self._own = own
        self._write: Callable[[Any], bytes] | None = None

    def encode(self, value: Any) -> bytes:
        return (self._write or self._prepare())(value)

    def _prepare(self) -> Callable[[Any], bytes]:
        head, schema = self._written.find()
        cls = self._own
        if cls is None:
            cls = class_named(compiled(of_kind(schema, "PROTOBUF", _NAME)), self._name)
        self._write = value_writer(cls, head + written_indexes(indexes_of(cls.DESCRIPTOR)))
        return self._write


PLUGIN: Final = CodecPlugin(
    ProtobufSettings,
    _build,
    "Protobuf, with schemas from a Confluent-compatible registry",
    require=_require,
)
