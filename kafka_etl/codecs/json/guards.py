"""What pyarrow reads of JSON as something else without a word, or does not survive."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kafka_etl.codecs.arrow import compute, pyarrow, where
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT: Final = 2.0**53
"""Below it, each whole number is a floating point one, too."""

_LONG: Final = 16_384
"""Bytes in which levels may be nested so deep that pyarrow's parser exhausts the stack."""

_DEEPEST: Final = 60
"""Levels of a column; 64 is what Arrow hands from one library to another."""

_MOST_FIELDS: Final = 1_000
"""Fields of a column's types, nested ones too; more are those of objects used as maps."""

_loads: Final = msgspec.json.Decoder().decode


def check_long(values: Sequence[bytes]) -> None:
    """Refuse what is nested without end, which another parser survives.

    Raises:
        RecordErrors: There is some.
    """
    if max(map(len, values), default=0) > _LONG:
        _check_each(values, (row for row, value in enumerate(values) if len(value) > _LONG), None)


def check_text(lines: bytes, values: Sequence[bytes]) -> None:
    """Refuse what is no UTF-8, in names and in fields that are left out as well.

    pyarrow takes any bytes for text, and polars, which relies on it, ends the process. All values
    are looked at in one go, where they are: `lines` has them, with ASCII in between.

    Raises:
        RecordErrors: There is some.
    """
    arrow = pyarrow()
    ends = arrow.array([0, len(lines)], arrow.int64()).buffers()[1]
    whole = arrow.LargeStringArray.from_buffers(1, ends, arrow.py_buffer(lines))
    try:
        whole.validate(full=True)
    except arrow.ArrowInvalid:
        raise RecordErrors(dict(_not_text(values))) from None


def _not_text(values: Sequence[bytes]) -> Iterator[tuple[int, BaseException]]:
    for row, value in enumerate(values):
        try:
            value.decode()
        except UnicodeDecodeError as error:
            yield row, error


def check_depth(schema: pa.Schema) -> None:
    """Refuse a schema of more levels than columns can have.

    Raises:
        ValueError: It is one.
    """
    if any(_depth(kind) > _DEEPEST for kind in schema.types):
        raise ValueError(f"nested deeper than the {_DEEPEST} levels that columns can have")


def is_too_wide(schema: pa.Schema) -> bool:
    """Whether it has more fields than columns can have: each record would have all of them."""
    return sum(map(_width, schema.types)) > _MOST_FIELDS


def check_strangers(values: Sequence[bytes], known: pa.Schema) -> None:
    """Refuse records with fields that the columns do not have, where no more can be taken in.

    Raises:
        RecordErrors: There are some.
    """
    fields: Any = known
    names = _names(fields)
    errors: dict[int, BaseException] = {}
    for row, value in enumerate(values):
        with suppress(ValueError):  # no JSON, which others say
            stranger = _stranger(_loads(value), names)
            if stranger:
                errors[row] = ValueError(
                    f"field {stranger} would be one of more than {_MOST_FIELDS}: an object whose "
                    "keys differ from record to record is no column; `schema` beside the codec "
                    "says which fields are read"
                )
    if errors:
        raise RecordErrors(errors)


def _names(fields: Iterable[Any]) -> dict[str, Any]:
    """The fields within each field; empty for those that have none."""
    found: dict[str, Any] = {}
    for field in fields:
        kind = field.type
        while pyarrow().types.is_list(kind):
            kind = kind.value_type
        found[field.name] = _names(kind) if pyarrow().types.is_struct(kind) else {}
    return found


def _stranger(value: Any, names: dict[str, Any]) -> str:
    match value:
        case {**fields}:
            for name, item in fields.items():
                if name not in names:
                    return str(name)
                within = _stranger(item, names[name])
                if within:
                    return f"{name}.{within}"
        case [*items]:
            return next(filter(None, (_stranger(item, names) for item in items)), "")
        case _:
            pass
    return ""


def _width(kind: Any) -> int:
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return 1 + sum(map(_width, inner))


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


def check_finite(table: pa.Table) -> None:
    """Refuse numbers that JSON does not have: null would be written in their place.

    Raises:
        RecordErrors: There are some.
    """
    errors: dict[int, BaseException] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        leaves = chain.from_iterable(map(_leaves, column.chunks))
        if not all(map(_is_finite, leaves)):
            said = ValueError(f"{name}: JSON has no NaN and no Infinity")
            errors |= {row: said for row, v in enumerate(column.to_pylist()) if _is_odd(v)}
    if errors:
        raise RecordErrors(errors)


def _is_finite(leaf: Any) -> bool:
    pc = compute()
    if not pyarrow().types.is_floating(leaf.type):
        return True
    return bool(pc.all(pc.is_finite(leaf), min_count=0).as_py())


def _is_odd(value: Any) -> bool:
    """Whether it is, or holds, a number that JSON does not have."""
    match value:
        case float():
            return not math.isfinite(value)
        case {**fields}:
            return any(map(_is_odd, fields.values()))
        case [*items]:
            return any(map(_is_odd, items))
        case _:
            return False


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
    types, kind = pyarrow().types, array.type
    if types.is_struct(kind):
        for child in array.flatten():
            yield from _leaves(child)
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        yield from _leaves(array.flatten())
    else:
        yield array


def _odd(column: Any) -> list[int]:
    """Positions of what is no number, and of those too large to be all whole numbers there are."""
    pc = compute()
    if not pyarrow().types.is_floating(column.type):
        return []
    ends = pc.min_max(column).as_py()
    largest = max(abs(ends["min"] or 0), abs(ends["max"] or 0))
    if largest < _EXACT and not pc.any(pc.is_nan(column)).as_py():
        return []
    return where(pc.or_(pc.is_nan(column), pc.greater_equal(pc.abs(column), _EXACT)))


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
