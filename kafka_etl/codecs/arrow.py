"""Arrow types by name, Arrow schemas that grow with the records, and tables as plain data.

pyarrow and polars are an extra: this module imports them when the first table is made.
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
"""A field's type in a pipeline file: `int64`, `[string]`, `{city: string, zip: string}`."""


def arrow_schema(fields: Mapping[str, ArrowType]) -> pa.Schema:
    """Return the Arrow schema with these fields, all of them nullable.

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
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
    """Return the module `pyarrow`.

    Raises:
        ExtraMissing: pyarrow is not installed; the error says how to install it.
    """
    _import("pyarrow.compute")  # makes `pyarrow.compute` an attribute of `pyarrow`
    return _import("pyarrow")


def compute() -> Any:
    """Return the module `pyarrow.compute`, which `import pyarrow` alone does not load.

    Raises:
        ExtraMissing: pyarrow is not installed.
    """
    return _import("pyarrow.compute")


def polars() -> Any:
    """Return the module `polars`.

    Raises:
        ExtraMissing: polars is not installed; the error says how to install it.
    """
    return _import("polars")


def where(mask: Any) -> list[int]:
    """Return the numbers of the rows in which a boolean mask is true."""
    rows: list[int] = compute().indices_nonzero(mask).to_pylist()
    return rows


def rows_of(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Return each row as a dict of plain data; a map becomes a dict with the last of equal keys.

    A date or timestamp outside the years 1 to 9999, which Python cannot hold, becomes the number
    that the column stores. The time 24:00:00, which pyarrow would turn into 00:00:00, becomes its
    number, too.

    Raises:
        OverflowError: Such a date or timestamp is nested in a list, a map or a struct.
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
    """Return a mask of the rows whose time Python cannot hold; None: the column has no such row."""
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
    """Return the smallest and the largest number of a type that Python has a time for.

    None: the type is neither date32 nor timestamp nor time.
    """
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
    """Return the table as a `polars.DataFrame` with the same column names.

    The names are set again because polars renames a column whose name is empty.
    """
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
    """Return a schema with the fields of both schemas and, for each field, a type that holds both.

    An integer and a floating point type become the floating point type.

    Args:
        known: Schema so far; None: there is none, and the result is `found`.
        found: Schema of the new records.

    Raises:
        TypeError: No Arrow type holds both types of a field, for example text and a number.
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
    """Return an Arrow array of 0 to `count` - 1.

    polars makes the array, because pyarrow takes 0.1 us per number of a Python range.
    """
    return polars().int_range(count, eager=True).to_arrow()


def of_values(values: Sequence[Any]) -> pa.Table:
    """Return a table with one row per decoded value; each value is a dict of fields.

    Raises:
        RecordErrors: Some values are not dicts; the error names their rows.
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
