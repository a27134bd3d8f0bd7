"""The first stage: source bytes to the arguments of the first operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kafka_etl.codecs import BYTES, TEXT, of_class
from kafka_etl.contracts import Codec
from kafka_etl.engine.columns import tables
from kafka_etl.engine.rows.faults import NamedFaults
from kafka_etl.engine.rows.flow import NULL, Flow
from kafka_etl.engine.rows.mapping import one_by_one
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.functions.signature import TABLES, Takes
from kafka_etl.invocation import Condition
from kafka_etl.record import Headers


@dataclass(frozen=True, slots=True)
class Decode:
    """The decode stage.

    Attributes:
        value: Codec of values; None: bytes are passed on unchanged.
        key: Codec of keys; None: keys are not decoded.
        table: Whether the first operator takes a table.
        converts_keys: Whether the sink has a codec of its own for keys.
        keeps: Whether a value that no operator replaces is written as its source bytes.
    """

    value: Codec | None
    key: Codec | None = None
    table: bool = False
    converts_keys: bool = False
    keeps: bool = False

    def apply(self, flow: Flow) -> None:
        """Decode the records of a flow; records that cannot be decoded become faults.

        Raises:
            NamedFaults: Some records are bad; the others must be attempted again without them.
            GroupFault: The values cannot be put into one table.
            Unavailable: The codec's schema registry is away.
        """
        read = type(flow.source[0])
        raw = list(map(read.value, flow.source))
        flow.nulls = not all(raw) and None in raw  # b"" is false, too: `in` looks again
        flow.values = [NULL if v is None else v for v in raw] if flow.nulls else raw
        if self.value is not None and self.table:
            tables.decode_table(flow, self.value)
        elif self.value is not None:
            flow.values = _decoded(flow, self.value, flow.values, nulls=False)
            if self.keeps:
                flow.decoded = flow.values
        if self.key is not None:
            flow.converts_keys = self.converts_keys
            flow.keys = _decoded(flow, self.key, flow.read("key"), nulls=True)
            flow.key_again = _key_again(flow, self.key)
            if self.table and flow.faults:
                raise NamedFaults(flow.faults)  # the table has rows for these records
        if flow.faults and flow.sheet is None:
            flow.without_faults()


def decode_for(  # noqa: PLR0913 - what each end of the chain wants
    operators: Sequence[BoundOperator],
    value: Codec,
    key: Codec,
    *,
    converts: bool = False,
    converts_keys: bool = False,
    wants_values: bool = False,
    wants_keys: bool = False,
) -> Decode:
    """The decode stage for these operators.

    A value or key is decoded if an operator asks for it, or if the sink has a codec of its own;
    other bytes are passed on unchanged. Where all operators only read, and the sink has no codec of
    its own for values, a value that no operator replaces is written as its source bytes.

    Args:
        operators: Operators of the pipeline.
        value: The source's codec of values.
        key: The source's codec of keys.
        converts: Whether the sink has a codec of its own for values.
        converts_keys: Whether the sink has a codec of its own for keys.
        wants_values: Whether the last stage looks at decoded values.
        wants_keys: Whether the last stage looks at decoded keys.
    """
    converts_keys = converts_keys and key is not BYTES
    wants_keys = (
        (wants_keys and key is not BYTES)
        or converts_keys
        or (key is not BYTES and any(o.shape.takes is Takes.RECORD for o in operators))
    )
    made = Decode(None, key if wants_keys else None, converts_keys=converts_keys)
    if not operators:
        wanted = (converts or wants_values) and value is not BYTES
        return replace(made, value=value if wanted else None, keeps=wanted and not converts)
    first = operators[0].shape
    if first.takes in TABLES:
        return replace(made, value=value, table=True)
    value = {Takes.BYTES: BYTES, Takes.TEXT: TEXT}.get(first.takes, value)
    if first.cls is not None:
        value = of_class(value, first.cls)
    elif first.container is not None and value.of_container is not None:
        value = value.of_container(first.container)
    keeps = not converts and all(operator.shape.reads_only for operator in operators)
    return replace(made, value=None if value is BYTES else value, keeps=keeps)


def _decoded(flow: Flow, codec: Codec, column: list[Any], *, nulls: bool) -> list[Any]:
    decode: Callable[[Any], Any] = codec.decode
    if codec.decode_with is not None:
        column = list(zip(column, _headers(flow), strict=True))
        decode = _spread(codec.decode_with)
    elif nulls:
        decode = _sparing_none(codec.decode)
    return flow.each(
        one_by_one(decode, None if codec.decode_with else codec.explain_bytes),
        column,
        nulls=nulls,
        condition=Condition.DECODE_ERROR,
        operator=codec.name,
    )


def _headers(flow: Flow) -> list[Headers]:
    return [headers or [] for headers in flow.read("headers")]


def _key_again(flow: Flow, codec: Codec) -> Callable[[int], Any]:
    """A function that decodes the key of an origin anew: operators may change keys in place."""

    def decoded(origin: int) -> Any:
        data: bytes = flow.read("key")[origin]
        if codec.decode_with is None:
            return codec.decode(data)
        return codec.decode_with(data, flow.read("headers")[origin] or [])

    return decoded


def _spread(decode_with: Callable[[bytes, Headers], Any]) -> Callable[[Any], Any]:
    """A function of (bytes, headers) pairs; null is not given to the codec."""
    return lambda pair: None if pair[0] is None else decode_with(*pair)


def _sparing_none(decode: Callable[[bytes], Any]) -> Callable[[Any], Any]:
    return lambda key: None if key is None else decode(key)
