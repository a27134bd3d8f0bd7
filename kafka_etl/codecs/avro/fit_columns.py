"""Cast the columns of a table to those of an Avro schema, and name the rows that do not fit.

Arrow's functions in C do the work for whole columns; single values are looked at only on failure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from kafka_etl.codecs.arrow import compute, numbers, pyarrow, where
from kafka_etl.codecs.avro.arrow_types import schema_of
from kafka_etl.codecs.avro.logical import column_form
from kafka_etl.codecs.avro.schema import AvroType, misfit
from kafka_etl.errors import RecordErrors

if TYPE_CHECKING:
    import pyarrow as pa

_Faults = defaultdict[int, list[str]]
"""Row -> the faults found in the row."""

_MAP_PARTS: Final = 2
_UUID: Final = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


@dataclass(frozen=True, slots=True)
class Place:
    """A field of the schema and the column that it needs; made once per schema.

    Attributes:
        path: Path of the field in errors: `lines[].price`.
        kind: Logical type; without one, the Avro kind.
        nullable: Whether the column may hold null.
        arrow: Arrow type of the column.
        parts: Name -> field of a record; `""` -> the items of an array or the values of a map.
        default: Value written in place of null; None: no such value.
    """

    path: str
    kind: str
    nullable: bool
    arrow: Any
    parts: Mapping[str, Place]
    default: str | float | None = None


def place_of(record: AvroType) -> Place:
    """Return the place of the whole record.

    Raises:
        NotForColumns: The type is no record, or a field has a type that no column can hold.
    """
    return _place("", record, pyarrow().struct(list(schema_of(record))))


def _place(path: str, one: AvroType, arrow: Any) -> Place:
    parts: dict[str, Place] = {}
    match one.kind:
        case "record":
            begin = path and f"{path}."
            parts = {
                name: _place(f"{begin}{name}", part, arrow.field(name).type)
                for name, part in one.parts
            }
        case "array":
            parts = {"": _place(f"{path}[]", one.parts[0][1], arrow.value_type)}
        case "map":
            parts = {"": _place(f"{path}{{}}", one.parts[0][1], arrow.item_type)}
        case _:
            pass
    kind = one.kind if parts else one.logical or one.kind
    default = None if one.nullable else one.default
    return Place(path, kind, one.nullable, arrow, parts, default)


def fitted(table: pa.Table, place: Place) -> pa.RecordBatch:
    """Return the table's rows with the columns of the schema, in the schema's order and types.

    Raises:
        RecordErrors: Rows do not fit; the error names each with its faults.
        ValueError: A column is missing, and its field can be neither null nor a plain default.
    """
    faults: _Faults = defaultdict(list)
    given = {name: table.column(name).combine_chunks() for name in table.column_names}
    columns = _fields(given, table.num_rows, place, None, faults)
    if faults:
        raise RecordErrors({row: ValueError("; ".join(said)) for row, said in faults.items()})
    batch: pa.RecordBatch = pyarrow().RecordBatch.from_arrays(columns, list(place.parts))
    return batch


def _fields(
    given: Mapping[str, Any], rows: int, place: Place, present: Any, faults: _Faults
) -> list[Any]:
    """Return the columns of a record's fields.

    Args:
        given: Field name -> column as the table has it.
        rows: Number of rows.
        place: Place of the record.
        present: Mask of the rows where the record is not null; None: all rows.
        faults: Faults by row; new ones are added.
    """
    _refuse_strangers(given, place, faults)
    columns: list[Any] = []
    for name, part in place.parts.items():
        if name in given:
            columns.append(_field(given[name], part, present, faults))
        elif part.nullable or part.default is not None:
            columns.append(_field(pyarrow().nulls(rows), part, present, faults))
        else:  # the engine then encodes row by row, and fastavro knows defaults of any type
            raise ValueError(f"there is no column {part.path}, and the Avro schema has no null")
    return columns


def _refuse_strangers(given: Mapping[str, Any], place: Place, faults: _Faults) -> None:
    """Add a fault for each row with a value in a column that the schema lacks.

    A column of nulls is dropped: no row loses a value.
    """
    lost: dict[int, list[str]] = {}
    begin = place.path and f"{place.path}."
    for name, column in given.items():
        if name not in place.parts and column.null_count < len(column):
            for row in where(column.is_valid()):
                lost.setdefault(row, []).append(f"{begin}{name}")
    for row, names in lost.items():
        faults[row].append(f"the Avro schema has no field {', '.join(names)}")


def _field(column: Any, place: Place, present: Any, faults: _Faults) -> Any:
    """Return a field's column, with the default in place of null if the field has a default."""
    if not column.null_count or place.default is None:
        return _column(column, place, present, faults)
    held = _column(column, replace(place, nullable=True, default=None), present, faults)
    return compute().fill_null(held, pyarrow().scalar(place.default, place.arrow))


def _column(column: Any, place: Place, present: Any, faults: _Faults) -> Any:
    """Return a column of the place's type; add the faults of values that do not fit."""
    if column.null_count and not place.nullable:
        lost = column.is_null()
        for row in where(lost if present is None else compute().and_(lost, present)):
            faults[row].append(misfit(place.path, None, place.kind))
    if column.null_count == len(column) and column.type != place.arrow:
        return pyarrow().nulls(len(column), place.arrow)
    arrow = pyarrow().types
    match place.kind:
        case "record" if arrow.is_struct(column.type):
            return _record(column, place, faults)
        case "array" if _is_list(column.type):
            return _array(column, place, faults)
        case "map" if arrow.is_struct(column.type):
            return _map(_entries_of_fields(column, place, faults), column, place)
        case "map" if arrow.is_map(column.type) or _is_list_of_pairs(column.type):
            return _map(_entries(column, place, faults), column, place)
        case _:
            made = column if column.type == place.arrow else _cast(column, place, faults)
            if place.kind == "uuid":
                _check_uuids(made, place, faults)
            return made


def _record(column: Any, place: Place, faults: _Faults) -> Any:
    kind = column.type
    given = {kind.field(n).name: child for n, child in enumerate(column.flatten())}
    present = column.is_valid() if column.null_count else None
    return pyarrow().StructArray.from_arrays(
        _fields(given, len(column), place, present, faults),
        fields=list(place.arrow),
        mask=column.is_null() if column.null_count else None,
    )


def _is_list(kind: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _array(column: Any, place: Place, faults: _Faults) -> Any:
    within: _Faults = defaultdict(list)
    items = _column(column.flatten(), place.parts[""], None, within)
    _blame_holders(column, within, faults)
    lengths = compute().list_value_length(column)
    return pyarrow().ListArray.from_arrays(
        _offsets(lengths), items, type=place.arrow, mask=column.is_null()
    )


def _blame_holders(column: Any, within: _Faults, faults: _Faults) -> None:
    """Add the faults of items to the rows whose lists hold the items."""
    if within:
        holders = compute().list_parent_indices(column)
        for item, said in within.items():
            faults[holders[item].as_py()] += said


def _offsets(lengths: Any) -> Any:
    """Return the offsets of a list array, from the length of each list."""
    arrow, pc = pyarrow(), compute()
    ends = pc.cumulative_sum(pc.fill_null(lengths, 0).cast(arrow.int32()))
    return arrow.concat_arrays([arrow.array([0], arrow.int32()), ends])


_Entries = tuple[Any, Any, Any]
"""The entries of a column of maps: the number of entries of each map, all keys, all values."""


def _map(entries: _Entries, column: Any, place: Place) -> Any:
    lengths, keys, values = entries
    return pyarrow().MapArray.from_arrays(
        _offsets(lengths), keys, values, type=place.arrow, mask=column.is_null()
    )


def _is_list_of_pairs(kind: Any) -> bool:
    """Whether a type is a list of pairs, the form of a map in libraries without maps."""
    types = pyarrow().types
    return (
        _is_list(kind)
        and types.is_struct(kind.value_type)
        and kind.value_type.num_fields == _MAP_PARTS
    )


def _entries(column: Any, place: Place, faults: _Faults) -> _Entries:
    """Return the entries of a column of maps, or of lists of pairs."""
    arrow, kind = pyarrow(), column.type
    if arrow.types.is_map(kind):  # the functions of lists do not take maps
        pair = arrow.struct([("key", kind.key_type), ("value", kind.item_type)])
        column = column.cast(arrow.list_(pair))
    within: _Faults = defaultdict(list)
    keys, values = column.flatten().flatten()
    values = _column(values, place.parts[""], None, within)
    _blame_holders(column, within, faults)
    return compute().list_value_length(column), keys.cast(arrow.string()), values


def _entries_of_fields(column: Any, place: Place, faults: _Faults) -> _Entries:
    """Return the entries of a column of structs; each field that is not null is an entry.

    In a column of structs each row has the keys of all other rows, too, with null as their values.
    """
    arrow, pc, count = pyarrow(), compute(), column.type.num_fields
    rows: list[Any] = [arrow.array([], arrow.int64())]
    keys: list[Any] = [arrow.array([], arrow.string())]
    values: list[Any] = [arrow.array([], place.arrow.item_type)]
    lengths = arrow.nulls(len(column), arrow.int32()).fill_null(0)
    for number, child in enumerate(column.flatten()):
        held = child.is_valid()
        name = column.type.field(number).name
        lengths = pc.add(lengths, held.cast(arrow.int32()))
        rows.append(pc.add(pc.multiply(numbers(len(column)).filter(held), count), number))
        keys.append(arrow.repeat(name, len(rows[-1])))
        within: _Faults = defaultdict(list)
        values.append(_column(child.drop_null(), place.parts[""], None, within))
        for item, said in within.items():
            faults[rows[-1][item].as_py() // count] += said
    order = arrow.compute.sort_indices(arrow.concat_arrays(rows))
    return (
        lengths,
        arrow.concat_arrays(keys).take(order),
        arrow.concat_arrays(values).take(order),
    )


def _cast(column: Any, place: Place, faults: _Faults) -> Any:
    """Cast a column to the place's type; add a fault for each value that would be changed.

    Only parts of a second may be lost, as with single values. JSON's forms of times, decimals and
    bytes are converted value by value.
    """
    errors, cast = pyarrow().ArrowException, _caster(place.arrow)
    one_by_one = column_form(place.kind, place.arrow)
    if one_by_one is not None and _is_lossy(column.type, place.kind):
        return _by_value(column, place, one_by_one, faults)
    try:
        return cast(column)
    except errors:
        if one_by_one is not None:
            return _by_value(column, place, one_by_one, faults)
        for row in where(column.is_valid()):
            try:
                cast(column.slice(row, 1))
            except errors:
                faults[row].append(misfit(place.path, column[row].as_py(), place.kind))
        return pyarrow().nulls(len(column), place.arrow)


def _is_lossy(given: Any, wanted: str) -> bool:
    """Whether pyarrow's cast between these types silently changes values."""
    types = pyarrow().types
    match wanted:
        case "bytes" | "fixed":
            return bool(types.is_string(given) or types.is_large_string(given))
        case "decimal":
            return bool(types.is_floating(given) or types.is_boolean(given))
        case "date":
            return bool(types.is_timestamp(given))
        case _:
            return False


def _by_value(column: Any, place: Place, form: Callable[[Any], Any], faults: _Faults) -> Any:
    """Convert a column value by value, with the function that single values are written with."""
    made: list[Any] = []
    for row, value in enumerate(column.to_pylist()):
        made.append(None if value is None else form(value))
        if value is not None and made[-1] is None:
            faults[row].append(misfit(place.path, value, place.kind))
    arrow, kind = pyarrow(), place.arrow
    if arrow.types.is_temporal(kind):
        return arrow.array(made, f"int{kind.bit_width}").view(kind)
    return arrow.array(made, kind)


def _check_uuids(texts: Any, place: Place, faults: _Faults) -> None:
    """Add a fault for each text that is no UUID.

    A regular expression accepts the usual form, which nearly all texts have; Python's `UUID`
    decides about the others.
    """
    form = column_form("uuid", place.arrow)
    for row in where(compute().invert(compute().match_substring_regex(texts, _UUID))):
        if form is not None and form(texts[row].as_py()) is None:
            faults[row].append(misfit(place.path, texts[row].as_py(), place.kind))


def _caster(kind: Any) -> Any:
    """Return a function that casts a column, and raises `ArrowException` if a value is lost."""
    arrow, pc = pyarrow(), compute()
    options = pc.CastOptions(target_type=kind, allow_time_truncate=True)

    def cast(column: Any) -> Any:
        made = column.cast(options=options)
        if kind == arrow.float32() and column.type == arrow.float64():
            _refuse_new_infinities(column, made)
        return made

    return cast


def _refuse_new_infinities(column: Any, made: Any) -> None:
    """Raise `ArrowInvalid` if the cast to 32 bits made a finite number infinite.

    pyarrow does not count an infinity as a loss.
    """
    pc = compute()
    if pc.any(pc.is_inf(made)).as_py() and not pc.is_inf(made).equals(pc.is_inf(column)):
        raise pyarrow().ArrowInvalid("too large for 32 bits")
