"""The contract of codecs: bytes to values and back, or to whole columns and back."""

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
    """Raised when a system that a codec or an operator needs is away: no record is to blame.

    The batch is read again after a back-off; the pipeline's state shows the reason.

    Args:
        reason: For the log and the pipeline's state.
        of_record: Whether one record needs the system and others may not; the engine then names
            that record.
    """

    def __init__(self, reason: str, *, of_record: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_record = of_record


Fields = Mapping[str, frozenset[type] | None]
"""Name of a field -> types of its values without None; None: unknown."""


@dataclass(frozen=True, slots=True)
class TableCodec:
    """A codec's conversion between bytes and Arrow tables, without a Python object per record.

    Attributes:
        decode: Values to a table of as many rows, in the same order. `decode` never sees a null
            value. An exception means that some value is bad: `RecordErrors` names the bad values;
            after any other error `Codec.decode`, and then halving, finds them.
        encode: A table to the bytes of each row. An exception means that some row cannot be
            encoded: `RecordErrors` names the rows; after any other error `Codec.encode` finds them.
    """

    decode: Callable[[Sequence[bytes]], pa.Table]
    encode: Callable[[pa.Table], list[bytes]]


@dataclass(frozen=True, slots=True)
class Codec:
    """Decodes bytes to values and encodes values to bytes.

    `decode` and `encode` are called once per record, on the worker's main thread; a C function
    costs nothing extra. Either may raise any exception: the record becomes a dead letter, after
    retries if the retry policy retries the exception's class. `Unavailable` blames no record, and a
    `KafkaEtlError` stops the pipeline, or pauses the pipeline where `pauses` is set. The daemon
    kills a worker that decodes or encodes one slice for longer than the longest `timeout` of an
    operator, within 1 to 5 minutes. A codec never sees a null value,
    and `encode` never sees `bytes`: bytes are written as they are.

    Attributes:
        name: The name in the pipeline file.
        decode: Bytes to a value.
        encode: A value to bytes.
        of_class: Gives the codec for objects of a class with fields (`kafka_etl.value_classes`);
            None: objects are made from plain data, and become plain data.
        of_container: Gives the codec for values that must be a `dict`, or a `list`, or null, and
            refuses other values; None: the annotation of an operator makes no difference.
        explain: Takes a value that `encode` refused, and the error; gives an error that says more.
        explain_bytes: Takes bytes that `decode` refused, and the error; likewise.
        table: The codec's own way to Arrow tables; None: tables are made from plain data.
        for_topic: Gives the codec for another topic than the sink's own; None: the topic makes no
            difference.
        decode_with: Called instead of `decode`, with the record's headers; None: the codec does
            not look at headers.
        names_schema: Whether records of this codec name the schema of their bytes. If any codec of
            a pipeline has this set, a header that names the schema of the source's bytes is dropped
            from outputs with other bytes.
        look: Asks other systems for what the codec needs of them, and changes nothing there; raises
            `Unavailable` or a `KafkaEtlError`. None: the codec needs no other system.
        fields_of: Topic of the source -> fields of its values, by their latest schema; asks and
            raises likewise. Gives None for values without fields.
        headed: Splits encoded bytes into such a header and a payload; None: no header.
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
    look: Callable[[], object] | None = None
    fields_of: Callable[[str], Fields | None] | None = None


@dataclass(frozen=True, slots=True)
class CodecContext:
    """The purpose a codec is made for.

    Attributes:
        side: Whether the codec decodes for the source or encodes for the sink.
        part: The part of the record.
        topic: The sink's topic; empty at the source, and for sinks without topics.
        folder: Folder of files that settings name.
        registry: Settings of the schema registry's client, by its own names.
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
        build: Makes the codec, which connects to no system before its first use.
        summary: One line for `kafka-etl plugins`.
        require: Raises `ExtraMissing` if a package that the codec needs is not installed.
    """

    settings: type[CodecS]
    build: Callable[[CodecS, CodecContext], Codec]
    summary: str = ""
    require: Callable[[], None] = lambda: None
