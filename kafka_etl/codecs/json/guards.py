"""Checks for JSON that pyarrow silently reads as something else, or that crashes the process."""

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
"""Below this number, every whole number has an exact floating point form."""

_LONG: Final = 16_384
"""Length in bytes up to which no value can overflow the stack of pyarrow's parser."""

_DEEPEST: Final = 60
"""Largest number of nested levels in a column; Arrow's interface between libraries allows 64."""

_MOST_FIELDS: Final = 1_000
"""Largest number of fields of a schema, nested ones included; more mean objects used as maps."""

_loads: Final = msgspec.json.Decoder().decode


def check_long(values: Sequence[bytes]) -> None:
    """Refuse values that are nested too deep for pyarrow's parser.

    msgspec, which raises an error where pyarrow's parser would overflow the stack, parses the long
    values first.

    Raises:
        RecordErrors: Long values are nested too deep, or are no JSON.
    """
    if max(map(len, values), default=0) > _LONG:
        _check_each(values, (row for row, value in enumerate(values) if len(value) > _LONG), None)


def check_text(lines: bytes, values: Sequence[bytes]) -> None:
    """Refuse values that are not UTF-8, be it in a name or in a field left out of the table.

    pyarrow's JSON parser takes any bytes for text, and polars, which trusts Arrow text to be UTF-8,
    would end the process.

    Args:
        lines: All values, joined with ASCII: checked as one string, without a copy.
        values: The same values one by one, to find those that are not UTF-8.

    Raises:
        RecordErrors: Values are not UTF-8.
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
    """Refuse a schema of more nested levels than columns can have.

    Raises:
        ValueError: A column has too many levels.
    """
    if any(_depth(kind) > _DEEPEST for kind in schema.types):
        raise ValueError(f"nested deeper than the {_DEEPEST} levels that columns can have")


def is_too_wide(schema: pa.Schema) -> bool:
    """Whether a schema has too many fields: each row of a table takes memory for all of them."""
    return sum(map(_width, schema.types)) > _MOST_FIELDS


def check_strangers(values: Sequence[bytes], known: pa.Schema) -> None:
    """Refuse records with unknown fields, once the schema can take in no further ones.

    Raises:
        RecordErrors: Records have fields that are not in `known`.
    """
    fields: Any = known
    names = _names(fields)
    errors: dict[int, BaseException] = {}
    for row, value in enumerate(values):
        with suppress(ValueError):  # a later parse reports a value that is no JSON
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
    """Return field -> the fields within the field, as a tree; lists count as what they hold."""
    found: dict[str, Any] = {}
    for field in fields:
        kind = field.type
        while pyarrow().types.is_list(kind):
            kind = kind.value_type
        found[field.name] = _names(kind) if pyarrow().types.is_struct(kind) else {}
    return found


def _stranger(value: Any, names: dict[str, Any]) -> str:
    """Return the path of the first field that is not in `names`; empty: there is none."""
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
    """Refuse NaN and Infinity, which JSON lacks, and integers rounded by a floating point column.

    Only rows with suspicious numbers are parsed once more, by msgspec.

    Args:
        table: Rows as pyarrow parsed them.
        values: JSON text of the same rows.
        learnt: Whether types were learnt from records. If the pipeline file gives them, an integer
            may be rounded: the author of the pipeline asked for floating point.

    Raises:
        RecordErrors: Rows hold such numbers.
    """
    suspects = sorted(_suspects(table))
    if suspects:
        _check_each(values, suspects, table.schema if learnt else None)


def _check_each(values: Sequence[bytes], rows: Iterable[int], schema: pa.Schema | None) -> None:
    """Parse the values of these rows with msgspec, and compare them with the schema, if any."""
    errors: dict[int, BaseException] = {}
    for row in rows:
        try:
            value = _loads(values[row])
            if schema is not None:
                _check_fields("", value, zip(schema.names, schema.types, strict=True))
        except Exception as error:  # noqa: BLE001 - any error is this record's
            errors[row] = error
    if errors:
        raise RecordErrors(errors)


def check_finite(table: pa.Table) -> None:
    """Refuse NaN and Infinity, which JSON lacks: polars and orjson would write null for them.

    Raises:
        RecordErrors: Rows hold NaN or Infinity.
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
    """Whether a value is, or contains, NaN or Infinity."""
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
    """Return the rows whose numbers may differ from those in the JSON text."""
    rows: set[int] = set()
    for column in table.columns:
        if column.type.num_fields == 0:
            rows.update(_odd(column))
        elif any(_odd(leaf) for leaf in _leaves(column.combine_chunks())):
            rows.update(range(table.num_rows))  # a nested number: parsing tells which row has it
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
    """Return the positions of NaN, of infinities and of numbers too large for exact integers."""
    pc = compute()
    if not pyarrow().types.is_floating(column.type):
        return []
    ends = pc.min_max(column).as_py()
    largest = max(abs(ends["min"] or 0), abs(ends["max"] or 0))
    if largest < _EXACT and not pc.any(pc.is_nan(column)).as_py():
        return []
    return where(pc.or_(pc.is_nan(column), pc.greater_equal(pc.abs(column), _EXACT)))


def _check_fit(name: str, value: Any, kind: Any) -> None:
    """Raise `ValueError` if a floating point column rounds an integer of the value."""
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
