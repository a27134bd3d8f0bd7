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
    """What a codec needs is away for now, a schema registry, say: no record is to blame.

    The batch is tried again from its source bytes, after a while; the pipeline's state says why.

    Args:
        reason: For the log and the state.
        of_record: Whether one record asks for it and others may not: the engine then names it.
    """

    def __init__(self, reason: str, *, of_record: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.of_record = of_record


@dataclass(frozen=True, slots=True)
class TableCodec:
    """A codec's way between bytes and Arrow tables, without a Python object per record.

    Attributes:
        decode: Values to a table of as many rows, in their order. When any is bad it raises:
            `RecordErrors` names the bad ones; after anything else they are looked for with
            `Codec.decode`, and then by halving. It never sees a null value.
        encode: A table to the bytes of each row; raises when any row cannot be encoded.
    """

    decode: Callable[[Sequence[bytes]], pa.Table]
    encode: Callable[[pa.Table], list[bytes]]


@dataclass(frozen=True, slots=True)
class Codec:
    """Bytes to values and back.

    Both functions are called once per record: a C function given as it is costs nothing extra.
    They raise any exception for what they cannot do; the record then becomes a dead letter.
    `Unavailable` is no record's fault, and a `KafkaEtlError` stops the pipeline.
    Bytes stay bytes: a codec never sees a null value, and `encode` never sees `bytes`.

    Attributes:
        of_class: The same codec for objects of a class with fields
            (`kafka_etl.value_classes`), where there is a shorter way than by plain data.
        of_container: The same codec for values that are a `dict`, or a `list`, or null: it refuses
            others, where that costs nothing. None: an operator's annotation decides nothing.
        explain: Takes a value that `encode` refused, and why; gives an error that says more.
        explain_bytes: Takes bytes that `decode` refused, and why; likewise.
        table: For operators that take tables; None: by way of plain data, record by record.
        for_topic: The same codec for records that go to another topic than the sink's own, where
            that makes a difference.
        decode_with: Called instead of `decode`, with the record's headers, for a codec that looks
            at them; None, as with nearly all: it does not.
        names_schema: Whether what it writes says which schema describes it. A header that says
            so of the bytes that came does not travel on with others.
        headed: Takes what `encode` gave apart into such a header and the payload; None: all of it
            is payload.
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
    """What a codec is made for.

    Attributes:
        side: Whether it reads what the source has or writes what the sink gets.
        part: Of the record.
        topic: The sink's; empty where there is none, and at the source.
        folder: Where files that settings name are looked for.
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
    """A codec to be named in YAML, with settings: `value: {use: avro, with: {…}}`.

    Attributes:
        settings: Model of the `with:` block.
        build: Makes the codec; it connects to nothing before it is used.
        summary: One line for `kafka-etl plugins`.
    """

    settings: type[CodecS]
    build: Callable[[CodecS, CodecContext], Codec]
    summary: str = ""
