"""The loop over records, in C: one function for decode, operators, encode and produce."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeGuard

from kafka_etl.contracts import Abandoned, Unavailable
from kafka_etl.errors import KafkaEtlError, SchemaMissing
from kafka_etl.record import SourceRecord, offset_of, partition_of


class _Failed:
    """Of a class of its own: results are told apart by their types."""


FAILED: Final = _Failed()
"""Stands in the results where the function raised."""


Mapped = tuple[list[Any], list[tuple[int, BaseException]]]
"""Results with FAILED where the function raised, and (row, error) of those."""

Apply = Callable[[Sequence[int], list[Any]], Mapped]
"""Calls some function for these entries, which have these values."""

Explain = Callable[[Any, BaseException], BaseException]
"""Takes what a function raised for, and what it raised; gives an error that says more."""


class EscapedStopIteration(Exception):
    """The function let a bare StopIteration escape, which would end any loop over it."""

    def __init__(self) -> None:
        super().__init__("the function let a StopIteration escape; did it call next() on its own?")


def escaped(error: BaseException) -> BaseException:
    """What is said of an error that a call let escape."""
    return EscapedStopIteration() if issubclass(type(error), StopIteration) else error


def map_each(function: Callable[..., Any], count: int, *columns: Iterable[Any]) -> Mapped:
    """Apply `function` to the `count` rows of `columns`; one that raises does not stop the others.

    `extend` runs the loop in C and keeps what succeeded when the function raises: its length then
    names the row that failed, and the same `map` goes on behind it. Two traps: a bare
    StopIteration ends `extend` without an exception, so the length is checked; and a `sys.exit()`
    in an operator is that record's error, so every BaseException is caught.
    """
    results: list[Any] = []
    failed: list[tuple[int, BaseException]] = []
    rows = map(function, *columns)
    while len(results) < count:
        try:
            results.extend(rows)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is a record's
            failed.append((len(results), error))
            results.append(FAILED)
        else:
            if len(results) < count:
                failed.append((len(results), EscapedStopIteration()))
                results.append(FAILED)
    return results, failed


def explained(
    explain: Explain | None, values: Sequence[Any], failed: list[tuple[int, BaseException]]
) -> list[tuple[int, BaseException]]:
    """The errors with what else can be said of them, now that there are some."""
    if explain is None:
        return failed
    return [(row, explain(values[row], error)) for row, error in failed]


def one_by_one(function: Callable[[Any], Any], explain: Explain | None = None) -> Apply:
    """Calls the function for one value after the other."""

    def apply(_entries: Sequence[int], values: list[Any]) -> Mapped:
        results, failed = map_each(function, len(values), values)
        return results, explained(explain, values, failed)

    return apply


def exhausted(result: Any) -> Any:
    """A generator runs its body only now."""
    return list(result) if _is_iterator(result) else result


def _is_iterator(value: object) -> TypeGuard[Iterator[Any]]:
    return isinstance(value, Iterator)


class PoolFailed(Exception):
    """The processes of an operator do not start, or its `open` raises there.

    Attributes:
        error: What the pool raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__("the processes of an operator cannot be used")
        self.error = error


_NOBODYS: Final = (Abandoned, KafkaEtlError, PoolFailed, Unavailable)


def is_nobodys(error: BaseException) -> bool:
    """Whether no record is to blame.

    The worker stops, the pipeline cannot go on, or what a codec or an operator needs is away. The
    class itself is asked: `__class__` is user code, too.
    """
    return issubclass(type(error), _NOBODYS)


def with_record(error: BaseException, record: SourceRecord) -> BaseException:
    """Nobody's error, with the record that met it, where what is missing is that record's own."""
    tp, offset = partition_of(record), offset_of(record)
    if isinstance(error, SchemaMissing):
        return error.named_by(tp.topic, tp.number, offset)
    if isinstance(error, Unavailable) and error.of_record:
        return Unavailable(f"{error.reason}; the record at {tp}@{offset} names it")
    return error
