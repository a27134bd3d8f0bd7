"""Pickling of arguments, results and errors between a worker and the processes of its operators.

Each argument and each result is pickled by itself, so that an object that cannot be pickled costs
its own record and no other record.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeGuard

from kafka_etl.functions.signature import Shape, Takes
from kafka_etl.invocation import Elsewhere, ErrorInfo
from kafka_etl.record import Record

_PROTOCOL: Final = pickle.HIGHEST_PROTOCOL
_dumps: Final = partial(pickle.dumps, protocol=_PROTOCOL)
_loads: Final = pickle.loads


@dataclass(frozen=True, slots=True)
class Raised:
    """Stands for the result of a call that raised."""

    error: BaseException


class Packing(NamedTuple):
    """How the arguments of an operator cross: the worker packs, the operator's process unpacks."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


def packing_of(shape: Shape) -> Packing:
    """How to pickle arguments; a `Record` is sent without the client's object behind the record."""
    if shape.takes is not Takes.RECORD:
        return Packing(_dumps, _loads)
    if shape.batch:
        return Packing(_pack_records, _unpack_records)
    return Packing(_pack_record, _unpack_record)


# Records


class Carried:
    """A source record in the process of an operator: topic, partition and offset alone.

    On the way back a carried record is pickled as its place in the argument of the call, because
    the worker has the source record itself.
    """

    __slots__ = ("_offset", "_partition", "_topic", "place")

    def __init__(
        self, place: int, topic: str | None, partition: int | None, offset: int | None
    ) -> None:
        self.place = place
        self._topic = topic
        self._partition = partition
        self._offset = offset

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int | None:
        return self._partition

    def offset(self) -> int | None:
        return self._offset

    def key(self) -> bytes | None:
        raise self._elsewhere()

    def value(self) -> bytes | None:
        raise self._elsewhere()

    def headers(self) -> Any:
        raise self._elsewhere()

    def timestamp(self) -> tuple[int, int]:
        raise self._elsewhere()

    @staticmethod
    def _elsewhere() -> NotImplementedError:
        return NotImplementedError("the source's bytes stay in the worker; see the `Record`")

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (self.place,)


def _pack_record(record: Record) -> bytes:
    return _dumps(_parts(record))


def _unpack_record(packed: bytes) -> Record:
    return _record(0, *_loads(packed))


def _pack_records(records: Sequence[Record]) -> bytes:
    return _dumps([_parts(record) for record in records])


def _unpack_records(packed: bytes) -> list[Record]:
    return [_record(number, *parts) for number, parts in enumerate(_loads(packed))]


_Parts = tuple[Any, ...]


def _parts(record: Record) -> tuple[_Parts, _Parts | None, bool]:
    source = record.source
    place = None if source is None else (source.topic(), source.partition(), source.offset())
    return _own_parts(record), place, record.stamped


def _own_parts(record: Record) -> _Parts:
    return (record.value, record.key, record.headers, record.timestamp, record.destination)


def _record(number: int, parts: _Parts, place: _Parts | None, stamped: bool) -> Record:  # noqa: FBT001 - unpacked from a tuple
    value, key, headers, timestamp, destination = parts
    source = None if place is None else Carried(number, *place)
    return Record(value, key, headers, timestamp, destination, source, stamped)


# Results

Packed = bytes | tuple[bytes]
"""A result; in a tuple, the parts of a `Record`, which take a third of the time."""


def pack_result(result: Any) -> Packed:
    """Pickle the result of a call; a result that cannot be pickled becomes an error."""
    try:
        if isinstance(result, Record):
            source: Any = result.source
            place = source.place if isinstance(source, Carried) else None
            return (_dumps((*_own_parts(result), place, result.stamped, result.emptied)),)
        return _dumps(result)
    except BaseException as error:  # noqa: BLE001 - of user code, whatever it is
        said = ErrorInfo.of(error).message  # of user code, whose `__str__` may raise
        return pack_error(TypeError(f"the result cannot be sent to the worker: {said}"))


def unpack_result(packed: Packed, argument: Any) -> Any:
    """The result of a call, or `Raised`; records are given their source records again."""
    if isinstance(packed, tuple):
        record = Record(*_loads(packed[0]))
        _bring_home(record, argument)
        return record
    result = _loads(packed)
    for record in result if _is_list(result) else ():
        if isinstance(record, Record):
            _bring_home(record, argument)
    return result


def _bring_home(record: Record, argument: Any) -> None:
    """Give a record its source record again, of which the process sent only the place.

    An unchanged key becomes the same object again, by which the engine finds the key's bytes.
    """
    place: Any = record.source
    if isinstance(place, int):
        given: Record = argument[place] if _is_list(argument) else argument
        record.source = given.source
        record.key = given.key if record.key == given.key else record.key


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


# Errors

_DEEP: Final = 2
"""Errors within errors within errors are described, not sent: they may go in circles."""


def pack_error(error: BaseException) -> bytes:
    """An error as `Raised`; never fails."""
    return _packed(Raised(error), 0)


def unpack_error(packed: bytes) -> BaseException:
    raised: Raised = _loads(packed)
    return raised.error


def _packed(value: object, depth: int) -> bytes:
    buffer = io.BytesIO()
    _Packer(buffer, depth).dump(value)
    return buffer.getvalue()


class _Packer(pickle.Pickler):
    """Pickles errors, nested errors included, with the description made in this process."""

    def __init__(self, buffer: io.BytesIO, depth: int) -> None:
        super().__init__(buffer, _PROTOCOL)
        self._depth = depth

    def reducer_override(self, value: Any) -> Any:
        return _reduced(value, self._depth) if isinstance(value, BaseException) else NotImplemented


_Reduced = tuple[Callable[[bytes], BaseException], tuple[bytes]]


def _reduced(error: BaseException, depth: int) -> _Reduced:
    """The error in full, if that can be sent; else of the nearest class that can.

    Retry policies look at classes, so the class matters most; the text is in the description.
    """
    info = ErrorInfo.of(error)
    for cls, full in _forms(error, depth):
        with suppress(Exception):  # of user code, whatever it is: then the next form
            args, state = (error.args, dict(vars(error))) if full else ((), {})
            packed = _packed((cls, args, state, info), depth + 1)
            _revived(packed)  # it must be possible there, too
            return _revived, (packed,)
    return _revived, (_dumps((Exception, (), {}, info)),)


def _forms(error: BaseException, depth: int) -> Iterator[tuple[type[BaseException], bool]]:
    for cls in type(error).__mro__:
        if issubclass(cls, BaseException):
            if depth < _DEEP:
                yield cls, True
            yield cls, False


def _revived(packed: bytes) -> BaseException:
    """An error of its class, made without its `__init__`, which may want anything."""
    cls, args, state, info = _loads(packed)
    error: BaseException = cls.__new__(cls, *args)
    vars(error).update(state)
    error.__cause__ = Elsewhere(info)
    return error
