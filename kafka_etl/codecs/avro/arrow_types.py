"""The Arrow types of Avro types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import pyarrow
from kafka_etl.codecs.avro.schema import AvroType, NotForColumns

if TYPE_CHECKING:
    import pyarrow as pa

_PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "null": lambda pa: pa.null(),
    "boolean": lambda pa: pa.bool_(),
    "int": lambda pa: pa.int32(),
    "long": lambda pa: pa.int64(),
    "float": lambda pa: pa.float32(),
    "double": lambda pa: pa.float64(),
    "bytes": lambda pa: pa.binary(),
    "string": lambda pa: pa.string(),
    "enum": lambda pa: pa.string(),
}
_LOGICAL: Final[Mapping[tuple[str, str], Callable[[Any], Any]]] = {
    ("int", "date"): lambda pa: pa.date32(),
    ("int", "time-millis"): lambda pa: pa.time32("ms"),
    ("long", "time-micros"): lambda pa: pa.time64("us"),
    ("long", "timestamp-millis"): lambda pa: pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): lambda pa: pa.timestamp("us", "UTC"),
    ("long", "local-timestamp-millis"): lambda pa: pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): lambda pa: pa.timestamp("us"),
}
_PRECISION_128: Final = 38


def schema_of(record: AvroType) -> pa.Schema:
    """Return the Arrow schema for an Avro record type: one nullable column per field.

    Raises:
        NotForColumns: The type is no record, or a field has a type that no column can hold.
    """
    if record.kind != "record":
        raise NotForColumns(f"only an Avro record can be a row of a table, not a {record.kind}")
    arrow = pyarrow()
    schema: pa.Schema = arrow.schema([(name, _type(arrow, name, t)) for name, t in record.parts])
    return schema


def _type(pa: Any, name: str, one: AvroType) -> Any:
    match one.kind:
        case "record":
            return pa.struct([(inner, _type(pa, inner, t)) for inner, t in one.parts])
        case "array":
            return pa.list_(_type(pa, name, one.parts[0][1]))
        case "map":
            return pa.map_(pa.string(), _type(pa, name, one.parts[0][1]))
        case "union":
            raise NotForColumns(
                f"field {name} of the Avro schema is a union of several types, as no column can be"
            )
        case "bytes" | "fixed" if one.logical == "decimal":
            wide = one.precision > _PRECISION_128
            return (pa.decimal256 if wide else pa.decimal128)(one.precision, one.scale)
        case "fixed":
            return pa.binary(one.size)
        case _:
            return _LOGICAL.get((one.kind, one.logical), _PLAIN[one.kind])(pa)
