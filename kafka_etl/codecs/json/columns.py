"""JSON to Arrow tables and back: pyarrow parses lines of JSON, polars writes rows as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import (
    ArrowType,
    arrow_schema,
    far_times,
    frame,
    polars,
    pyarrow,
    rows_of,
    widened,
)
from kafka_etl.codecs.json.broken import explain_broken
from kafka_etl.codecs.json.guards import (
    check_depth,
    check_finite,
    check_long,
    check_numbers,
    check_strangers,
    check_text,
    is_too_wide,
)
from kafka_etl.codecs.json.write import Decimals, writer
from kafka_etl.contracts import TableCodec
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST: Final = itemgetter(slice(None, 1))
_LAST: Final = itemgetter(slice(-1, None))


def table_codec(schema: Mapping[str, ArrowType] | None, decimals: Decimals) -> TableCodec:
    """Return a codec between JSON objects and Arrow tables.

    The decoder keeps the types it has learnt: make one codec per source.

    Args:
        schema: Fields of the tables; None: the fields that appear in the records.
        decimals: JSON form of decimals.
    """
    return TableCodec(decode=_Reader(schema).read, encode=partial(write, decimals=decimals))


class _Reader:
    """Decodes JSON objects into tables; remembers the schema learnt from earlier batches.

    A field keeps the type that it first had. Where the records of the first batch differ, the type
    of most of them counts. There are two exceptions: an integer field becomes floating point when
    a floating point number comes, and a null field takes any type. So each batch has the columns
    of the batch before it, and perhaps further ones, up to a limit; records with fields beyond the
    limit are refused.
    """

    def __init__(self, schema: Mapping[str, ArrowType] | None) -> None:
        self._given = schema
        self._known: pa.Schema | None = None

    def read(self, values: Sequence[bytes]) -> pa.Table:
        check_long(values)
        lines = _lines(values)
        check_text(lines, values)
        if self._given is not None:
            if self._known is None:
                self._known = arrow_schema(self._given)
            table = _parsed(lines, self._known, "ignore")
        else:
            table = self._learn(lines, values)
        if table.num_rows != len(values):  # each value holds an object or more: see `_lines`
            raise ValueError("a value holds more than one JSON object")
        check_numbers(table, values, learnt=self._given is None)
        return table

    def _learn(self, lines: bytes, values: Sequence[bytes]) -> pa.Table:
        try:
            table = _parsed(lines, self._known, "infer")
            learnt = _without_guesses(table.schema)
        except pyarrow().ArrowInvalid:
            if self._known is None:
                self._known = learnt = _of_most(values)
            else:
                learnt = widened(self._known, _inferred(lines))
            table = _parsed(lines, learnt, "infer")
        if learnt != self._known:
            check_depth(learnt)
            if is_too_wide(learnt):
                learnt = self._known = self._known or _of_most(values)
                check_strangers(values, learnt)
        if table.schema != learnt:
            table = _parsed(lines, learnt, "infer")
        self._known = learnt
        return table


def _lines(values: Sequence[bytes]) -> bytes:
    """Join the values with line breaks, having checked that each value is one object or more.

    The parser counts objects, not lines. No object can span two values that begin and end with a
    brace: neither a line break within a string nor `{` right after `}` within an object is JSON.
    So each value holds at least one object, and as many objects as values means one in each.
    """
    if set(map(_FIRST, values)) != {b"{"} or set(map(_LAST, values)) != {b"}"}:
        values = _objects(values)
    return b"\n".join(values)


def _objects(values: Sequence[bytes]) -> list[bytes]:
    stripped = [value.strip(b" \t\r\n") for value in values]
    strangers = {
        row: explain_broken(values[row], TypeError("only a JSON object can be a row of a table"))
        for row, value in enumerate(stripped)
        if not value.startswith(b"{")
    }
    if strangers:
        raise RecordErrors(strangers)
    if not all(value.endswith(b"}") for value in stripped):
        raise ValueError("a value breaks off within its JSON object")
    return stripped


def _parsed(lines: bytes, schema: pa.Schema | None, unexpected: str) -> pa.Table:
    """Parse lines of JSON as a single block, so that pyarrow infers types from all values."""
    from pyarrow import json  # noqa: PLC0415 - an extra

    pa = pyarrow()
    options: Any = {"explicit_schema": schema, "unexpected_field_behavior": unexpected}
    return json.read_json(
        pa.BufferReader(lines),
        read_options=json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=json.ParseOptions(**options),
    )


def _inferred(lines: bytes) -> pa.Schema:
    return _without_guesses(_parsed(lines, None, "infer").schema)


def _of_most(values: Sequence[bytes]) -> pa.Schema:
    """Return the schema of values whose types differ: for each field, the most frequent type."""
    arrow = pyarrow()
    found: Counter[Any] = Counter()
    for value in values:
        with suppress(arrow.ArrowInvalid):  # a later parse reports a value that is no JSON
            found.update(_inferred(value))
    schema: pa.Schema = arrow.schema([])
    for column, _ in found.most_common():
        with suppress(TypeError, ValueError):  # a rarer type of the field, or nested too deep
            both = widened(schema, arrow.schema([column]))
            check_depth(both)
            if is_too_wide(both):
                break
            schema = both
    return schema


def _without_guesses(schema: pa.Schema) -> pa.Schema:
    """Return the schema with text in place of timestamps.

    pyarrow takes text that looks like a timestamp for one; the encoder would then write the text
    in another form.
    """
    arrow = pyarrow()
    fields: Any = schema
    plain: pa.Schema = arrow.schema([(f.name, _as_text(arrow, f.type)) for f in fields])
    return plain


def _as_text(pa: Any, kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_as_text(pa, kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(inner.name, _as_text(pa, inner.type)) for inner in kind])
    return kind


def write(table: pa.Table, decimals: Decimals = "text") -> list[bytes]:
    """Encode each row as a JSON object: polars if it writes all column types right, else orjson.

    Raises:
        RecordErrors: Rows hold NaN or Infinity.
        TypeError: JSON has no form of a value.
    """
    check_finite(table)
    if not table.num_columns or not _polars_can(table):
        return list(map(writer(decimals), rows_of(table)))
    pl, rows = polars(), frame(table)
    if not all(_is_plain(pl, kind, decimals) for kind in rows.dtypes):
        return list(map(writer(decimals), rows_of(table)))
    columns = [_column(pl, name, kind) for name, kind in rows.schema.items()]
    texts = rows.select(pl.struct(columns).struct.json_encode().cast(pl.Binary))
    written: list[bytes] = texts.to_series().to_list()
    return written


def _polars_can(table: pa.Table) -> bool:
    """Whether polars can hold and write a table.

    polars panics at decimals of 256 bits and at times that Python cannot hold.
    """
    is_wide = any("decimal256" in str(kind) for kind in table.schema.types)
    return not is_wide and all(far_times(column) is None for column in table.columns)


def _is_plain(pl: Any, kind: Any, decimals: Decimals) -> bool:
    """Whether polars writes a column's values in the same form as orjson writes single values."""
    if isinstance(kind, pl.Decimal):
        return decimals == "text"
    return _is_plain_within(pl, kind) or isinstance(kind, pl.Date | pl.Datetime | pl.Binary)


def _is_plain_within(pl: Any, kind: Any) -> bool:
    """Whether polars does so for a type within a list or a struct, too."""
    if isinstance(kind, pl.List | pl.Array):
        return _is_plain_within(pl, kind.inner)
    if isinstance(kind, pl.Struct):
        return all(_is_plain_within(pl, field.dtype) for field in kind.fields)
    simple = kind.is_integer() or kind.is_float() or kind in (pl.Boolean, pl.String, pl.Null)
    return simple or isinstance(kind, pl.Categorical | pl.Enum)


def _column(pl: Any, name: str, kind: Any) -> Any:
    if isinstance(kind, pl.Decimal):
        return pl.col(name).cast(pl.String)
    if isinstance(kind, pl.Binary):
        return pl.col(name).bin.encode("base64")
    if not isinstance(kind, pl.Datetime):
        return pl.col(name)
    zone = "%:z" if kind.time_zone else ""
    return pl.col(name).dt.to_string(f"%Y-%m-%dT%H:%M:%S%.f{zone}")
