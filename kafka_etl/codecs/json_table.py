"""JSON to Arrow tables and back: pyarrow reads lines, polars writes rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import orjson

from kafka_etl.codecs.arrow import ArrowType, arrow_schema, polars, pyarrow, widened
from kafka_etl.contracts import TableCodec
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

_BRACE: Final = ord("{")
_FIRST: Final = itemgetter(0)


def table_codec(schema: Mapping[str, ArrowType] | None) -> TableCodec:
    """With these fields, or with whichever turn up."""
    return TableCodec(decode=_Reader(schema).read, encode=write)


class _Reader:
    """Reads values of one topic; remembers what it has learnt of their schema.

    A field keeps the type it first had, but for whole numbers, which become floating point ones
    when such a number comes, and for null, which becomes anything. So the columns of one batch are
    those of the batch before it, and perhaps some more.
    """

    def __init__(self, schema: Mapping[str, ArrowType] | None) -> None:
        self._given = schema
        self._known: pa.Schema | None = None

    def read(self, values: Sequence[bytes]) -> pa.Table:
        lines = _lines(values)
        table = self._parse(lines)
        if table.num_rows != len(values):  # as long as each line begins an object: more, not less
            raise ValueError("a value holds more than one JSON object")
        return table

    def _parse(self, lines: bytes) -> pa.Table:
        if self._given is not None:
            if self._known is None:
                self._known = arrow_schema(self._given)
            return _parsed(lines, self._known, "ignore")
        try:
            table = _parsed(lines, self._known, "infer")
            learnt = _without_guesses(table.schema)
        except pyarrow().ArrowInvalid:
            if self._known is None:
                raise
            learnt = widened(self._known, _without_guesses(_parsed(lines, None, "infer").schema))
            table = _parsed(lines, learnt, "infer")
        if table.schema != learnt:
            table = _parsed(lines, learnt, "infer")
        self._known = learnt
        return table


def _lines(values: Sequence[bytes]) -> bytes:
    """Each value on a line of its own, and each of them an object.

    The parser counts objects, not lines: two on one line and an empty line would pass for two
    records.
    """
    lines = b"\n".join(values)
    if (
        lines.count(b"\n") != len(values) - 1
        or not all(values)
        or set(map(_FIRST, values)) != {_BRACE}
    ):
        lines = b"\n".join(map(_compact, _objects(values)))
    return lines


def _objects(values: Sequence[bytes]) -> list[bytes]:
    stripped = [value.strip(b" \t\r\n") for value in values]
    strangers = {
        row: TypeError("only a JSON object can be a row of a table")
        for row, value in enumerate(stripped)
        if not value.startswith(b"{")
    }
    if strangers:
        raise RecordErrors(strangers)
    return stripped


def _compact(value: bytes) -> bytes:
    return orjson.dumps(orjson.loads(value)) if b"\n" in value else value


def _parsed(lines: bytes, schema: pa.Schema | None, unexpected: str) -> pa.Table:
    """One block, so that all values have their part in the types that are inferred."""
    from pyarrow import json  # noqa: PLC0415 - an extra

    pa = pyarrow()
    options: Any = {"explicit_schema": schema, "unexpected_field_behavior": unexpected}
    return json.read_json(
        pa.BufferReader(lines),
        read_options=json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=json.ParseOptions(**options),
    )


def _without_guesses(schema: pa.Schema) -> pa.Schema:
    """Text that looks like a time stays text: it would be written in another form."""
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


def write(table: pa.Table) -> list[bytes]:
    """The rows as JSON objects."""
    pl = polars()
    frame = pl.from_arrow(table)
    if not frame.width or not all(_is_plain(pl, kind) for kind in frame.dtypes):
        return list(map(orjson.dumps, table.to_pylist()))
    columns = [_column(pl, name, kind) for name, kind in frame.schema.items()]
    rows = frame.select(pl.struct(columns).struct.json_encode().cast(pl.Binary))
    written: list[bytes] = rows.to_series().to_list()
    return written


def _is_plain(pl: Any, kind: Any) -> bool:
    """Whether polars writes it as orjson would."""
    if isinstance(kind, pl.List | pl.Array):
        return _is_plain(pl, kind.inner) and not kind.inner.is_temporal()
    if isinstance(kind, pl.Struct):
        return all(_is_plain(pl, f.dtype) and not f.dtype.is_temporal() for f in kind.fields)
    simple = kind.is_integer() or kind.is_float() or kind in (pl.Boolean, pl.String, pl.Null)
    return simple or isinstance(kind, pl.Date | pl.Datetime | pl.Categorical | pl.Enum)


def _column(pl: Any, name: str, kind: Any) -> Any:
    if not isinstance(kind, pl.Datetime):
        return pl.col(name)
    zone = "%:z" if kind.time_zone else ""
    return pl.col(name).dt.to_string(f"%Y-%m-%dT%H:%M:%S%.f{zone}")
