"""What pyarrow reads of JSON as something else without a word, or does not survive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kafka_etl.codecs.arrow import compute, pyarrow
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT: Final = 2.0**53
"""Below it, each whole number is a floating point one, too."""

_LONG: Final = 16_384
"""Bytes in which levels may be nested so deep that pyarrow's parser exhausts the stack."""

_DEEPEST: Final = 60
"""Levels of a column; 64 is what Arrow hands from one library to another."""

_loads: Final = msgspec.json.Decoder().decode


def check_long(values: Sequence[bytes]) -> None:
    """Refuse what is nested without end, which another parser survives.

    Raises:
        RecordErrors: There is some.
    """
    if max(map(len, values), default=0) > _LONG:
        _check_each(values, (row for row, value in enumerate(values) if len(value) > _LONG), None)


def check_depth(schema: pa.Schema) -> None:
    """Refuse a schema of more levels than columns can have.

    Raises:
        ValueError: It is one.
    """
    if any(_depth(kind) > _DEEPEST for kind in schema.types):
        raise ValueError(f"nested deeper than the {_DEEPEST} levels that columns can have")


def _depth(kind: Any) -> int:
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return 1 + max(map(_depth, inner), default=0)


def check_numbers(table: pa.Table, values: Sequence[bytes], *, learnt: bool) -> None:
    """Refuse NaN and Infinity, which JSON does not have, and whole numbers that became others.

    Where the types are not learnt but given, a whole number may be rounded: the pipeline says so.

    Raises:
        RecordErrors: There are some.
    """
    suspects = sorted(_suspects(table))
    if suspects:
        _check_each(values, suspects, table.schema if learnt else None)


def _check_each(values: Sequence[bytes], rows: Iterable[int], schema: pa.Schema | None) -> None:
    errors: dict[int, BaseException] = {}
    for row in rows:
        try:
            value = _loads(values[row])
            if schema is not None:
                _check_fields("", value, zip(schema.names, schema.types, strict=True))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it
            errors[row] = error
    if errors:
        raise RecordErrors(errors)


def _suspects(table: pa.Table) -> set[int]:
    """Rows with numbers that may be others than those in the text."""
    rows: set[int] = set()
    for column in table.columns:
        if column.type.num_fields == 0:
            rows.update(_odd(column))
        elif any(_odd(leaf) for leaf in _leaves(column.combine_chunks())):
            rows.update(range(table.num_rows))  # any of them: which one, the text tells
    return rows


def _leaves(array: Any) -> Iterator[Any]:
    types = pyarrow().types
    if types.is_struct(array.type):
        for child in array.flatten():
            yield from _leaves(child)
    elif types.is_list(array.type):
        yield from _leaves(array.flatten())
    else:
        yield array


def _odd(column: Any) -> list[int]:
    """Positions of what is no number, and of those too large to be all whole numbers there are."""
    pc = compute()
    if column.type != pyarrow().float64():
        return []
    ends = pc.min_max(column).as_py()
    largest = max(abs(ends["min"] or 0), abs(ends["max"] or 0))
    if largest < _EXACT and not pc.any(pc.is_nan(column)).as_py():
        return []
    odd = pc.or_(pc.is_nan(column), pc.greater_equal(pc.abs(column), _EXACT))
    positions: list[int] = pc.indices_nonzero(odd).to_pylist()
    return positions


def _check_fit(name: str, value: Any, kind: Any) -> None:
    types = pyarrow().types
    if types.is_floating(kind):
        if isinstance(value, int) and int(float(value)) != value:
            raise ValueError(
                f"{name}: {value} does not fit a column of floating point numbers; `schema` "
                "beside the codec says which type it is"
            )
    elif types.is_struct(kind) and value is not None:
        inner = [kind.field(number) for number in range(kind.num_fields)]
        _check_fields(f"{name}.", value, ((field.name, field.type) for field in inner))
    elif types.is_list(kind):
        for item in value or ():
            _check_fit(f"{name}[]", item, kind.value_type)


def _check_fields(prefix: str, value: Any, kinds: Iterable[tuple[str, Any]]) -> None:
    for name, kind in kinds:
        _check_fit(prefix + name, value.get(name), kind)
