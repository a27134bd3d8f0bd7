"""What crosses between a worker and the processes of its operators: arguments, results, errors.

Each argument and each result is packed by itself, so that one which cannot be packed or unpacked
costs its own record and no other.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, TypeGuard

from kafka_etl.invocation import Elsewhere, ErrorInfo
from kafka_etl.record import Record, RecordView, SourceRecord
from kafka_etl.signature import Shape, Takes

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
    """The client's objects behind a `Record` cannot be sent, but what operators see of them can."""
    if shape.takes is not Takes.RECORD:
        return Packing(_dumps, _loads)
    if shape.batch:
        return Packing(_pack_records, _unpack_records)
    return Packing(_pack_record, _unpack_record)


def sources_of(argument: Any) -> Sequence[SourceRecord | None]:
    """The source records of what a call is given; none where it is given no `Record`."""
    items: Sequence[Any] = argument if _is_list(argument) else (argument,)
    return [item.source if isinstance(item, Record) else None for item in items]


# Records


class Origin(NamedTuple):
    """Stands for a source record on the way back: its place in the argument of the call."""

    number: int


class Carried:
    """A source record in the process of an operator, without the bytes of its value.

    It returns as its `Origin`: the worker has the record itself.
    """

    __slots__ = ("_headers", "_key", "_number", "_offset", "_partition", "_timestamp", "_topic")

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a Kafka record
        self,
        number: int,
        topic: str | None,
        partition: int | None,
        offset: int | None,
        key: bytes | None,
        headers: Any,
        timestamp: tuple[int, int],
    ) -> None:
        self._number = number
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._key = key
        self._headers = headers
        self._timestamp = timestamp

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int | None:
        return self._partition

    def offset(self) -> int | None:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        raise NotImplementedError("the source's bytes stay in the worker; see `Record.value`")

    def headers(self) -> Any:
        """A new list each time, as the Kafka client makes it."""
        return list(self._headers) if self._headers else None

    def timestamp(self) -> tuple[int, int]:
        return self._timestamp

    def __reduce__(self) -> tuple[type[Origin], tuple[int]]:
        return Origin, (self._number,)


def _pack_record(record: Record) -> bytes:
    return _dumps(_parts(record))


def _unpack_record(packed: bytes) -> Record:
    return _record(0, *_loads(packed))


def _pack_records(records: Sequence[Record]) -> bytes:
    return _dumps([_parts(record) for record in records])


def _unpack_records(packed: bytes) -> list[Record]:
    return [_record(number, *parts) for number, parts in enumerate(_loads(packed))]


def _parts(record: Record) -> tuple[Any, ...]:
    source = record.source
    if source is None:
        return record.value, record.changes, None
    return (
        record.value,
        record.changes,
        (
            source.topic(),
            source.partition(),
            source.offset(),
            source.key(),
            source.headers(),
            source.timestamp(),
        ),
    )


def _record(number: int, value: Any, changes: Any, source: tuple[Any, ...] | None) -> Record:
    return RecordView(value, None if source is None else Carried(number, *source), changes)


# Results


def pack_result(result: Any) -> bytes:
    """What a call gave; never fails: what cannot be sent is the record's error."""
    try:
        return _dumps(result)
    except Exception as error:  # noqa: BLE001 - of user code, whatever it is
        return pack_error(TypeError(f"what it returned cannot be sent to its worker: {error}"))


def unpack_result(packed: bytes, argument: Any) -> Any:
    """What a call gave, or `Raised`; records are of their source again."""
    result = _loads(packed)
    if isinstance(result, Record):
        _bring_home(result, sources_of(argument))
    elif _is_list(result):
        records = [item for item in result if isinstance(item, Record)]
        if records:
            sources = sources_of(argument)
            for record in records:
                _bring_home(record, sources)
    return result


def _bring_home(record: Record, sources: Sequence[SourceRecord | None]) -> None:
    origin: Any = record.source
    if isinstance(origin, Origin):
        record.source = sources[origin.number]


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


# Errors


def pack_error(error: BaseException) -> bytes:
    """An error as `Raised`; never fails."""
    buffer = io.BytesIO()
    _Packer(buffer, _PROTOCOL).dump(Raised(error))
    return buffer.getvalue()


def unpack_error(packed: bytes) -> BaseException:
    raised: Raised = _loads(packed)
    return raised.error


class _Packer(pickle.Pickler):
    """Packs errors, also those that other errors hold, with what can be said of them here."""

    def reducer_override(self, value: Any) -> Any:
        return _reduced(value) if isinstance(value, BaseException) else NotImplemented


_Reduced = tuple[
    type[BaseException], tuple[Any, ...], Mapping[str, Any], ErrorInfo
]  # what `_revived` is given


def _reduced(error: BaseException) -> tuple[Callable[..., BaseException], _Reduced]:
    """The error in full, if that can be sent; else of the nearest class that can.

    Retry policies look at classes, so the class matters most; the text is in the description.
    """
    info = ErrorInfo.of(error)
    for cls, full in _forms(error):
        with suppress(Exception):  # of user code, whatever it is: then the next form
            args, state = (error.args, dict(vars(error))) if full else ((), {})
            reduced = (cls, args, state, info)
            buffer = io.BytesIO()
            _Packer(buffer, _PROTOCOL).dump(reduced)
            _revived(*_loads(buffer.getvalue()))
            return _revived, reduced
    return _revived, (Exception, (), {}, info)


def _forms(error: BaseException) -> Iterator[tuple[type[BaseException], bool]]:
    for cls in type(error).__mro__:
        if issubclass(cls, BaseException):
            yield cls, True
            yield cls, False


def _revived(
    cls: type[BaseException], args: tuple[Any, ...], state: Mapping[str, Any], info: ErrorInfo
) -> BaseException:
    """An error of this class, made without its `__init__`, which may want anything."""
    error: BaseException = cls.__new__(cls, *args)
    vars(error).update(state)
    error.__cause__ = Elsewhere(info)
    return error
