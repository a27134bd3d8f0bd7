"""Types of Parquet columns: their names in settings, and what they are in Arrow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kafka_etl.contracts import Column, Kind

if TYPE_CHECKING:
    import pyarrow as pa

_KINDS: Final[Mapping[str, tuple[Kind, int]]] = MappingProxyType(
    {
        "bool": (Kind.BOOL, 64),
        "int16": (Kind.INT, 16),
        "int32": (Kind.INT, 32),
        "int64": (Kind.INT, 64),
        "float32": (Kind.FLOAT, 32),
        "float64": (Kind.FLOAT, 64),
        "text": (Kind.TEXT, 64),
        "bytes": (Kind.BYTES, 64),
        "date": (Kind.DATE, 64),
        "time": (Kind.TIME, 64),
        "timestamp": (Kind.TIMESTAMP, 64),
        "timestamptz": (Kind.TIMESTAMP_TZ, 64),
        "uuid": (Kind.UUID, 64),
        "json": (Kind.JSON, 64),
    }
)
_FORM: Final = re.compile(
    r"(?P<kind>[a-z]+\d*)(?:\((?P<precision>\d+),\s*(?P<scale>\d+)\))?(?P<many>\[\])?"
    r"(?P<required> not null)?"
)
_LARGEST_PRECISION: Final = 38


def column_of(name: str, text: str) -> Column:
    """The column that a type's text stands for, such as `decimal(12,2)` or `text[] not null`.

    Raises:
        ValueError: There is no such type.
    """
    match = _FORM.fullmatch(text.strip())
    kinds = [*_KINDS, "decimal(P,S)"]
    unknown = ValueError(f"column {name}: `{text}` should be one of {', '.join(kinds)}")
    if match is None:
        raise unknown
    many, required = match["many"] is not None, match["required"] is not None
    column = Column(
        name, Kind.TEXT, many=many, nullable=not required, optional=not required, type_name=text
    )
    if match["kind"] == "decimal" and match["precision"]:
        precision, scale = int(match["precision"]), int(match["scale"])
        if not scale <= precision <= _LARGEST_PRECISION or not precision:
            raise unknown
        return replace(column, kind=Kind.DECIMAL, precision=precision, scale=scale)
    if match["kind"] not in _KINDS or match["precision"]:
        raise unknown
    kind, bits = _KINDS[match["kind"]]
    return replace(column, kind=kind, bits=bits)


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of a file with these columns. Texts of UUIDs and of JSON are strings."""
    import pyarrow as pa  # noqa: PLC0415 - an extra, imported where rows are written

    plain: dict[Kind, pa.DataType] = {
        Kind.BOOL: pa.bool_(),
        Kind.BYTES: pa.binary(),
        Kind.DATE: pa.date32(),
        Kind.TIME: pa.time64("us"),
        Kind.TIMESTAMP: pa.timestamp("us"),
        Kind.TIMESTAMP_TZ: pa.timestamp("us", "UTC"),
    }
    sized: dict[tuple[Kind, int], pa.DataType] = {
        (Kind.INT, 16): pa.int16(),
        (Kind.INT, 32): pa.int32(),
        (Kind.INT, 64): pa.int64(),
        (Kind.FLOAT, 32): pa.float32(),
        (Kind.FLOAT, 64): pa.float64(),
    }

    def typed(column: Column) -> pa.DataType:
        one: pa.DataType = sized.get((column.kind, column.bits)) or plain.get(
            column.kind, pa.string()
        )
        if column.kind is Kind.DECIMAL:
            one = pa.decimal128(column.precision or 0, column.scale or 0)
        return pa.list_(one) if column.many else one

    return pa.schema([pa.field(c.name, typed(c), nullable=c.nullable) for c in columns])
