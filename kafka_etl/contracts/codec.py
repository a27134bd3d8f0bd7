"""The shape of codecs: bytes to values and back, or to whole columns and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from kafka_etl.contracts.settings import Settings
from kafka_etl.record import Headers

if TYPE_CHECKING:  # an extra: only those who use columns load it
    import pyarrow as pa


class Unavailable(Exception):
    """A service that a codec needs, such as a schema registry, is away: no record is to blame.

    The engine rewinds the source and runs the records again after a back-off; the pipeline's state
    shows the reason.

    Args:
        reason: For the log and the state.
        of_record: Whether only some records may need the service: the engine then names the record.
    """

    def __init__(self, reason: str, *, of_record: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_record = of_record


@dataclass(frozen=True, slots=True)
class TableCodec:
    """A codec's conversion between bytes and Arrow tables, without a Python object per record.

    Attributes:
        decode: Converts values to a table with a row for each value, in the same order. Raises
            `RecordErrors` to name the bad values; after any other error the engine looks for the
            bad values with `Codec.decode`, and then by halving. The values contain no null.
        encode: Converts a table to the bytes of each row; raises if any row cannot be encoded.
    """

    decode: Callable[[Sequence[bytes]], pa.Table]
    encode: Callable[[pa.Table], list[bytes]]


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec: decodes bytes to values, and encodes values to bytes.

    The engine calls `decode` and `encode` once per record; a C function costs nothing extra. Any
    exception makes the record a dead letter, but for two: after `Unavailable` the engine tries the
    batch again, and a `KafkaEtlError` pauses or stops the pipeline. No function of a codec gets a
    null value, and `encode` gets no `bytes`: the engine passes both on unchanged.

    Attributes:
        name: Name of the codec, for errors.
        decode: Converts bytes to a value.
        encode: Converts a value to bytes.
        of_class: Returns a faster codec for objects of a class with fields
            (`kafka_etl.value_classes`); None: such objects are converted by way of plain data.
        of_container: Returns a codec that accepts only values of a container class (`dict` or
            `list`) and null, if the check is free; None: operators' annotations have no effect.
        explain: Returns a clearer error for a value that `encode` refused and the error raised.
        explain_bytes: Returns a clearer error for bytes that `decode` refused and the error raised.
        table: Conversion for operators that take tables; None: records are converted one by one,
            by way of plain data.
        for_topic: Returns the codec for records that go to a topic other than the sink's default;
            None: the codec is the same for every topic.
        decode_with: Replaces `decode`, and gets the record's headers as well; None: the codec does
            not use headers.
        names_schema: Whether the encoded bytes name their schema. A header that names the schema of
            the source's bytes is dropped from outputs with other bytes.
        headed: Splits encoded bytes into the schema header's value and the payload; None: the
            encoded bytes are all payload.
    """

    name: str
    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]
    of_class: Callable[[type], Codec] | None = None
    of_container: Callable[[type], Codec] | None = None
    explain: Callable[[Any, BaseException], BaseException] | None = None
    explain_bytes: Callable[[bytes, BaseException], BaseException] | None = None
    table: TableCodec | None = None
    for_topic: Callable[[str], Codec] | None = None
    decode_with: Callable[[bytes, Headers], Any] | None = None
    names_schema: bool = False
    headed: Callable[[bytes], tuple[bytes, bytes]] | None = None


@dataclass(frozen=True, slots=True)
class CodecContext:
    """The use for which a codec is built.

    Attributes:
        side: Whether the codec decodes the source's records or encodes the sink's outputs.
        part: The part of a record that the codec converts.
        topic: The sink's default topic; empty at the source, and for a sink without topics.
        folder: Folder of files with relative paths in settings.
        registry: Settings of the schema registry's client, by the client's own names.
    """

    side: Literal["source", "sink"]
    part: Literal["value", "key"]
    topic: str = ""
    folder: Path = Path()
    registry: Mapping[str, str | int | float | bool] = field(
        default_factory=dict[str, str | int | float | bool]
    )


CodecS = TypeVar("CodecS", bound=Settings)


@dataclass(frozen=True, slots=True)
class CodecPlugin(Generic[CodecS]):
    """A codec that a pipeline file can name, with settings: `value: {use: avro, with: {…}}`.

    Attributes:
        settings: Model of the `with:` block.
        build: Builds the codec, which must not connect to a service before its first use.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[CodecS]
    build: Callable[[CodecS, CodecContext], Codec]
    summary: str = ""
