"""Arrow tables of columnar operators, handed over to a table sink as they are.

A table is handed over only if all of it fits: otherwise the caller goes by values, where the rows
to blame are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kafka_etl.contracts import Column, Kind
from kafka_etl.engine.columns.reading import ROW, values_only


def table_of(table: Any, columns: Sequence[Column], extra: str) -> tuple[Any, Sequence[int]] | None:
    """The columns of a target from a flow's table, and the entry of each row.

    Returns:
        None: a column is missing, of another type, or does not fit.
    """
    import pyarrow as pa  # noqa: PLC0415 - an extra, which has made the table

    plain: Any = values_only(table)
    names = [column.name for column in columns]
    if not set(names) <= set(plain.column_names):
        return None
    if extra != "ignore" and set(plain.column_names) != set(names):
        return None
    chosen: list[Any] = [plain.column(name) for name in names]
    if not all(map(_fits, columns, chosen)):
        return None
    entries: Sequence[int] = range(plain.num_rows)
    if ROW in table.column_names:
        rows = table.column(ROW).to_pylist()
        if rows != list(entries):
            return None
    arrow: Any = pa  # the stubs leave the columns open
    made = arrow.table(dict(zip(names, chosen, strict=True)))
    return made, entries


def _fits(column: Column, values: Any) -> bool:
    if column.many or (values.null_count and not column.nullable):
        return False
    check = _CHECKS.get(column.kind)
    return check is not None and bool(check(column, values))


def _is_int(column: Column, values: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute  # noqa: PLC0415

    pc: Any = pyarrow.compute
    if not pa.types.is_integer(values.type):
        return False
    if not column.bits or values.type.bit_width < column.bits:
        return True
    if values.type == pa.int64() and column.bits == 64:  # noqa: PLR2004 - bits
        return True
    limits: Any = pc.min_max(values)
    least, most = limits["min"].as_py(), limits["max"].as_py()
    limit = 1 << (column.bits - 1)
    return least is None or (-limit <= least and most < limit)


def _is_float(column: Column, values: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute  # noqa: PLC0415

    pc: Any = pyarrow.compute
    if not pa.types.is_floating(values.type) or values.type.bit_width > column.bits:
        return False
    finite: Any = pc.all(pc.is_finite(values))
    return finite.as_py() is not False


def _is_text(column: Column, values: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute  # noqa: PLC0415

    pc: Any = pyarrow.compute
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return False
    if column.length is not None:
        longest: Any = pc.max(pc.utf8_length(values))
        if (longest.as_py() or 0) > column.length:
            return False
    if column.nul:
        return True
    has_nul: Any = pc.any(pc.match_substring(values, "\0"))
    return not has_nul.as_py()


def _is_bool(_column: Column, values: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return pa.types.is_boolean(values.type)


def _is_date(_column: Column, values: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return pa.types.is_date32(values.type)


def _is_timestamp(column: Column, values: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    if not pa.types.is_timestamp(values.type) or values.type.unit == "ns":
        return False
    has_zone = values.type.tz is not None
    return has_zone == (column.kind is Kind.TIMESTAMP_TZ)


_CHECKS: Final[Mapping[Kind, Callable[[Column, Any], bool]]] = {
    Kind.INT: _is_int,
    Kind.FLOAT: _is_float,
    Kind.TEXT: _is_text,
    Kind.BOOL: _is_bool,
    Kind.DATE: _is_date,
    Kind.TIMESTAMP: _is_timestamp,
    Kind.TIMESTAMP_TZ: _is_timestamp,
}
