"""Arrow types by name, and schemas that are learnt from what comes.

pyarrow and polars are an extra: they are imported when the first table is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeGuard

from pydantic import AfterValidator

from kafka_etl.errors import ExtraMissing, RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

_BY_NAME: Final[Mapping[str, Callable[[Any], Any]]] = {
    "bool": lambda pa: pa.bool_(),
    "int8": lambda pa: pa.int8(),
    "int16": lambda pa: pa.int16(),
    "int32": lambda pa: pa.int32(),
    "int64": lambda pa: pa.int64(),
    "uint8": lambda pa: pa.uint8(),
    "uint16": lambda pa: pa.uint16(),
    "uint32": lambda pa: pa.uint32(),
    "uint64": lambda pa: pa.uint64(),
    "float32": lambda pa: pa.float32(),
    "float64": lambda pa: pa.float64(),
    "string": lambda pa: pa.string(),
    "date": lambda pa: pa.date32(),
    "timestamp": lambda pa: pa.timestamp("us", "UTC"),
}


_FIRST_DAY: Final = (date.min - date(1970, 1, 1)).days
_LAST_DAY: Final = (date.max - date(1970, 1, 1)).days
_DAY_S: Final = 86_400
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def _check_type(wanted: Any) -> Any:
    match wanted:
        case str() if wanted in _BY_NAME:
            return wanted
        case [element]:
            return [_check_type(element)]
        case _ if _is_mapping(wanted) and wanted:
            return {str(name): _check_type(inner) for name, inner in wanted.items()}
        case _:
            raise ValueError(
                f"should be one of {', '.join(_BY_NAME)}, a list of one such type, or a mapping "
                "of fields"
            )


ArrowType = Annotated[Any, AfterValidator(_check_type)]
"""A type in a pipeline file: `int64`, `[string]`, `{city: string, zip: string}`."""


def arrow_schema(fields: Mapping[str, ArrowType]) -> pa.Schema:
    """The schema with these fields, all of which may be null."""
    arrow = pyarrow()
    schema: pa.Schema = arrow.schema([(name, _type(arrow, t)) for name, t in fields.items()])
    return schema


def _type(pa: Any, wanted: ArrowType) -> Any:
    if isinstance(wanted, list):
        return pa.list_(_type(pa, wanted[0]))
    if _is_mapping(wanted):
        return pa.struct([(name, _type(pa, inner)) for name, inner in wanted.items()])
    return _BY_NAME[wanted](pa)


def _is_mapping(wanted: object) -> TypeGuard[dict[str, ArrowType]]:
    return isinstance(wanted, dict)


def pyarrow() -> Any:
    """The module, or the error that says how to get it."""
    _import("pyarrow.compute")  # is then there as an attribute, too
    return _import("pyarrow")


def compute() -> Any:
    """Pyarrow's module of functions, which does not come with it by itself."""
    return _import("pyarrow.compute")


def polars() -> Any:
    """The module, or the error that says how to get it."""
    return _import("polars")


def where(mask: Any) -> list[int]:
    """The rows for which it is true."""
    rows: list[int] = compute().indices_nonzero(mask).to_pylist()
    return rows


def rows_of(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Each row as plain data. A map is a dict there; of keys that repeat the last one counts.

    A time that Python does not have, beyond the years 1 to 9999, is its number; so is 24:00:00,
    of which pyarrow would make 00:00:00.
    """
    try:
        if not any(map(pyarrow().types.is_time, table.schema.types)):
            return _plain_rows(table)
        return _rows_with_far_times(table)
    except (OverflowError, ValueError):
        return _rows_with_far_times(table)


def _plain_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.to_pylist(maps_as_pydicts="lossy")
    return rows


def _rows_with_far_times(table: Any) -> list[dict[str, Any]]:
    arrow, near, far = pyarrow(), table, dict[str, Any]()
    for at, name in enumerate(table.schema.names):
        column = table.column(at)
        mask = far_times(column)
        if mask is not None:
            nothing = arrow.scalar(None, column.type)
            near = near.set_column(at, name, compute().if_else(mask, nothing, column))
            far[name] = mask, column.cast(_number_of(column.type))
    rows = _plain_rows(near)
    for name, (mask, found) in far.items():
        for row in where(mask):
            rows[row][name] = found[row].as_py()
    return rows


def far_times(column: Any) -> Any | None:
    """A mask of the rows with times that Python does not have; None: there are none."""
    limits = _limits(column.type)
    if limits is None or not len(column):
        return None
    pc, (first, last) = compute(), limits
    found = column.cast(_number_of(column.type))
    ends = pc.min_max(found).as_py()
    if ends["min"] is None or (first <= ends["min"] and ends["max"] <= last):
        return None
    return pc.fill_null(pc.or_(pc.less(found, first), pc.greater(found, last)), fill_value=False)


def _number_of(kind: Any) -> str:
    return f"int{kind.bit_width}"


def _limits(kind: Any) -> tuple[int, int] | None:
    """The first and the last number of a type that stand for a time of Python's."""
    types = pyarrow().types
    if types.is_date32(kind):
        return _FIRST_DAY, _LAST_DAY
    if types.is_timestamp(kind):
        unit = _PER_SECOND[kind.unit]
        return _FIRST_DAY * _DAY_S * unit, (_LAST_DAY + 1) * _DAY_S * unit - 1
    if types.is_time(kind):
        return 0, _DAY_S * _PER_SECOND[kind.unit] - 1
    return None


def frame(table: pa.Table) -> Any:
    """The table as a polars.DataFrame, which would give a field without a name one."""
    made = polars().from_arrow(table)
    if "" in table.column_names:
        made.columns = table.column_names
    return made


@cache
def _import(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ExtraMissing(
            f"operators on columns need pyarrow and polars: {error}",
            "Install them: pip install 'kafka-etl[columnar]'",
        ) from error


def widened(known: pa.Schema | None, found: pa.Schema) -> pa.Schema:
    """A schema for what both describe: further fields, and numbers where one has whole numbers.

    Raises:
        TypeError: A field has types that no other holds both of, text and a number, say.
    """
    if known is None:
        return found
    arrow = pyarrow()
    try:
        both: pa.Schema = arrow.unify_schemas([known, found], promote_options="permissive")
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
        raise TypeError(f"{error}; `schema` beside the codec says which it is") from error
    return both


@lru_cache(maxsize=8)
def numbers(count: int) -> Any:
    """An array of 0, 1, 2, …; made of a Python range it would cost 0.1 us each."""
    return polars().int_range(count, eager=True).to_arrow()


def of_values(values: Sequence[Any]) -> pa.Table:
    """A table of decoded values: objects with fields.

    Raises:
        RecordErrors: Some are no objects.
        Exception: pyarrow finds no type for a field.
    """
    strangers = {
        row: TypeError(f"a row of a table is an object with fields, not {type(v).__name__}")
        for row, v in enumerate(values)
        if not isinstance(v, dict)
    }
    if strangers:
        raise RecordErrors(strangers)
    # Not `Table.from_pylist`, which has the fields of the first row alone.
    rows: Any = pyarrow().array(list(values), pyarrow().struct([]) if not any(values) else None)
    table: pa.Table = pyarrow().Table.from_struct_array(rows)
    return table
