"""Which records are to blame for an error of a batch operator or a table operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka_etl.engine.rows.faults import Fault, GroupFault, NamedFaults, condition_of
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.errors import Permanent, RecordErrors
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.invocation import SHARED, Condition


def group_fault(flow: Flow, operator: BoundOperator, error: BaseException) -> GroupFault:
    """The fault of a call for which any of its records may be to blame.

    The group may be split to find the record, unless an operator has mixed rows.
    """
    fault = Fault(error, condition_of(error), operator.name)
    return GroupFault(fault, splittable=not (operator.shape.mixes or flow.mixed))


def named_faults(
    flow: Flow, operator: BoundOperator, entries: Sequence[int], named: RecordErrors
) -> Exception:
    """The exception for a `RecordErrors` that an operator raised.

    Args:
        flow: The attempt.
        operator: The operator that raised the error.
        entries: The flow's entries, in the order in which the operator was given them.
        named: The error; its positions are positions in `entries`.

    Returns:
        `NamedFaults` for the records behind the named positions; a `GroupFault` where the positions
        make no sense, or where an entry belongs to all records.
    """
    try:
        errors: dict[int, Any] = dict(named.errors)
    except BaseException as broken:  # noqa: BLE001 - a subclass may have replaced `errors`
        return group_fault(flow, operator, broken)
    strangers = [row for row in errors if type(row) is not int or not 0 <= row < len(entries)]
    if strangers or not errors:
        wrong = f"RecordErrors names rows {_shown(strangers)} of {len(entries)} records"
        return group_fault(flow, operator, ValueError(wrong))
    faults = {
        _origin(flow, entries[row]): Fault(
            _as_error(error), Condition.OPERATOR_ERROR, operator.name
        )
        for row, error in errors.items()
    }
    return group_fault(flow, operator, named) if SHARED in faults else NamedFaults(faults)


def _shown(rows: list[Any]) -> str:
    return ", ".join(str(row) if type(row) is int else type(row).__name__ for row in rows[:10])


def _origin(flow: Flow, entry: int) -> int:
    return SHARED if entry == SHARED else flow.origin(entry)


def _as_error(error: Any) -> BaseException:
    if issubclass(type(error), BaseException):
        return error  # type: ignore[no-any-return]
    try:
        return Permanent(str(error))
    except BaseException as broken:  # noqa: BLE001 - `__str__` is user code
        return broken
