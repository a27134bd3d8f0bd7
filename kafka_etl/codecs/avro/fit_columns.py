"""Columns made those of an Avro schema, over whole columns in C; rows that do not fit are named."""

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
"""Row -> what is wrong with it."""

_MAP_PARTS: Final = 2
_UUID: Final = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a record a column stands, and what it must be: found out once for each schema.

    Attributes:
        path: As errors name it: `lines[].price`.
        kind: Of Avro, or the logical type.
        arrow: The type of the column.
        parts: Of a record by their names; of an array or a map the one that it holds.
        default: What stands for null; None: null itself, where it may.
    """

    path: str
    kind: str
    nullable: bool
    arrow: Any
    parts: Mapping[str, Place]
    default: str | float | None = None


def place_of(record: AvroType) -> Place:
    """The place of whole records.

    Raises:
        NotForColumns: No columns hold them.
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
    """The columns of the schema, in its order and of its types.

    Raises:
        RecordErrors: Rows do not fit.
        ValueError: A column is missing for which the schema has no null.
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
    """The columns of records, which are there in the rows of `present`; None: in all."""
    _refuse_strangers(given, place, faults)
    columns: list[Any] = []
    for name, part in place.parts.items():
        if name in given:
            columns.append(_field(given[name], part, present, faults))
        elif part.nullable or part.default is not None:
            columns.append(_field(pyarrow().nulls(rows), part, present, faults))
        else:  # whose default it has, if any, is known to those who write record by record
            raise ValueError(f"there is no column {part.path}, and the Avro schema has no null")
    return columns


def _refuse_strangers(given: Mapping[str, Any], place: Place, faults: _Faults) -> None:
    """Rows with fields that would be left out; an empty column is no record's fault."""
    lost: dict[int, list[str]] = {}
    begin = place.path and f"{place.path}."
    for name, column in given.items():
        if name not in place.parts and column.null_count < len(column):
            for row in where(column.is_valid()):
                lost.setdefault(row, []).append(f"{begin}{name}")
    for row, names in lost.items():
        faults[row].append(f"the Avro schema has no field {', '.join(names)}")


def _field(column: Any, place: Place, present: Any, faults: _Faults) -> Any:
    """What is null has the default of its field; without one, null is what it is."""
    if not column.null_count or place.default is None:
        return _column(column, place, present, faults)
    held = _column(column, replace(place, nullable=True, default=None), present, faults)
    return compute().fill_null(held, pyarrow().scalar(place.default, place.arrow))


def _column(column: Any, place: Place, present: Any, faults: _Faults) -> Any:
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
    """What is wrong with an item is wrong with the row whose list it is in."""
    if within:
        holders = compute().list_parent_indices(column)
        for item, said in within.items():
            faults[holders[item].as_py()] += said


def _offsets(lengths: Any) -> Any:
    arrow, pc = pyarrow(), compute()
    ends = pc.cumulative_sum(pc.fill_null(lengths, 0).cast(arrow.int32()))
    return arrow.concat_arrays([arrow.array([0], arrow.int32()), ends])


_Entries = tuple[Any, Any, Any]
"""Of maps: how many each has, all keys and all values."""


def _map(entries: _Entries, column: Any, place: Place) -> Any:
    lengths, keys, values = entries
    return pyarrow().MapArray.from_arrays(
        _offsets(lengths), keys, values, type=place.arrow, mask=column.is_null()
    )


def _is_list_of_pairs(kind: Any) -> bool:
    """A map as libraries without maps have it."""
    types = pyarrow().types
    return (
        _is_list(kind)
        and types.is_struct(kind.value_type)
        and kind.value_type.num_fields == _MAP_PARTS
    )


def _entries(column: Any, place: Place, faults: _Faults) -> _Entries:
    arrow, kind = pyarrow(), column.type
    if arrow.types.is_map(kind):  # for which the functions of lists are not
        pair = arrow.struct([("key", kind.key_type), ("value", kind.item_type)])
        column = column.cast(arrow.list_(pair))
    within: _Faults = defaultdict(list)
    keys, values = column.flatten().flatten()
    values = _column(values, place.parts[""], None, within)
    _blame_holders(column, within, faults)
    return compute().list_value_length(column), keys.cast(arrow.string()), values


def _entries_of_fields(column: Any, place: Place, faults: _Faults) -> _Entries:
    """Of objects, which have the keys of all others as well, as null: those are left out."""
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
    """To the type wanted, where no value is lost but parts of a second, as with single values."""
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
    """Whether pyarrow makes another value of it, and says nothing."""
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
    """For the forms that JSON has of times, decimals and bytes, as single values are written."""
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
    """Nearly all have the usual form."""
    form = column_form("uuid", place.arrow)
    for row in where(compute().invert(compute().match_substring_regex(texts, _UUID))):
        if form is not None and form(texts[row].as_py()) is None:
            faults[row].append(misfit(place.path, texts[row].as_py(), place.kind))


def _caster(kind: Any) -> Any:
    arrow, pc = pyarrow(), compute()
    options = pc.CastOptions(target_type=kind, allow_time_truncate=True)

    def cast(column: Any) -> Any:
        made = column.cast(options=options)
        if kind == arrow.float32() and column.type == arrow.float64():
            _refuse_new_infinities(column, made)
        return made

    return cast


def _refuse_new_infinities(column: Any, made: Any) -> None:
    """A number too large for 32 bits becomes one, which pyarrow takes for no loss."""
    pc = compute()
    if pc.any(pc.is_inf(made)).as_py() and not pc.is_inf(made).equals(pc.is_inf(column)):
        raise pyarrow().ArrowInvalid("too large for 32 bits")
