"""The loop over rows, in C: `map_each`, which decode, operators and encode share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeGuard

from kafka_etl.contracts import Abandoned, Unavailable
from kafka_etl.errors import KafkaEtlError, SchemaMissing
from kafka_etl.record import SourceRecord, offset_of, partition_of


class _Failed:
    """The class of FAILED: results are told apart by their types."""


FAILED: Final = _Failed()
"""Takes the place of a result where the function raised."""


Mapped = tuple[list[Any], list[tuple[int, BaseException]]]
"""Results, with FAILED for each row whose call raised, and (row, error) of these rows."""

Apply = Callable[[Sequence[int], list[Any]], Mapped]
"""Calls a function once per entry: takes entries and their values, of equal length."""

Explain = Callable[[Any, BaseException], BaseException]
"""Takes a value and the error a function raised for the value; gives a more detailed error."""


class EscapedStopIteration(Exception):
    """The function let a bare StopIteration escape, which would end a loop over results early."""

    def __init__(self) -> None:
        super().__init__("the function let a StopIteration escape; did it call next() on its own?")


def escaped(error: BaseException) -> BaseException:
    """The error to report for an exception of a call: a StopIteration is replaced."""
    return EscapedStopIteration() if issubclass(type(error), StopIteration) else error


def map_each(function: Callable[..., Any], count: int, *columns: Iterable[Any]) -> Mapped:
    """Apply `function` to the `count` rows of `columns`; a row that raises does not stop the rest.

    `list.extend` runs the loop in C and keeps the results so far when the function raises: the
    length of the list is then the row that failed, and the same `map` goes on after that row. Two
    traps: a bare StopIteration ends `extend` without an exception, so the length is checked; and a
    `sys.exit()` in an operator is an error of the record in hand, so every BaseException is caught.
    """
    results: list[Any] = []
    failed: list[tuple[int, BaseException]] = []
    rows = map(function, *columns)
    while len(results) < count:
        try:
            results.extend(rows)
        except BaseException as error:  # noqa: BLE001 - user code: the error of one record
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
    """The failed rows with more detailed errors, where there is a function to explain errors.

    Args:
        explain: Function that explains an error; None: the errors are returned unchanged.
        values: Values of all rows.
        failed: (row, error) of the failed rows.
    """
    if explain is None:
        return failed
    return [(row, explain(values[row], error)) for row, error in failed]


def one_by_one(function: Callable[[Any], Any], explain: Explain | None = None) -> Apply:
    """A function of type `Apply` that calls `function` for one value after the other."""

    def apply(_entries: Sequence[int], values: list[Any]) -> Mapped:
        results, failed = map_each(function, len(values), values)
        return results, explained(explain, values, failed)

    return apply


def exhausted(result: Any) -> Any:
    """The result of a call, with an iterator read into a list: a generator runs only when read."""
    return list(result) if _is_iterator(result) else result


def _is_iterator(value: object) -> TypeGuard[Iterator[Any]]:
    return isinstance(value, Iterator)


class PoolFailed(Exception):
    """The processes of an operator do not start, or the operator's `open` raises in a process.

    Attributes:
        error: The exception that the pool raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__("the processes of an operator cannot be used")
        self.error = error


_NOBODYS: Final = (Abandoned, KafkaEtlError, PoolFailed, Unavailable)


def is_nobodys(error: BaseException) -> bool:
    """Whether no record is to blame for the error.

    The worker is stopping, the pipeline cannot go on, or a system that a codec or an operator needs
    is away. `type` is asked and not `isinstance`, because an error's `__class__` may be user code.
    """
    return issubclass(type(error), _NOBODYS)


_NOT_THE_OPERATORS: Final = (PoolFailed, Unavailable)


def is_not_the_operators(error: BaseException) -> bool:
    """Whether an error that came out of a call of an operator is nevertheless no record's fault.

    An operator may raise `Unavailable`, when a system that the operator needs is away. The other
    errors that `is_nobodys` names are the engine's own; raised by user code they cost the record.
    """
    return issubclass(type(error), _NOT_THE_OPERATORS)


def with_record(error: BaseException, record: SourceRecord) -> BaseException:
    """An error for which no record is to blame, with the record in its text where that helps.

    A missing schema is one that this record names, so users need the offset of the record.
    """
    tp, offset = partition_of(record), offset_of(record)
    if isinstance(error, SchemaMissing):
        return error.named_by(tp.topic, tp.number, offset)
    if isinstance(error, Unavailable) and error.of_record:
        return Unavailable(f"{error.reason}; the record at {tp}@{offset} names it")
    return error
