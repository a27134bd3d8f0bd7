"""Which records an error of a batch or table operator may concern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka_etl.engine.rows.faults import Fault, GroupFault, NamedFaults, condition_of
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.errors import Permanent, RecordErrors
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.invocation import SHARED, Condition


def group_fault(flow: Flow, operator: BoundOperator, error: BaseException) -> GroupFault:
    """Any of the records may be to blame; they can be told apart unless rows are mixed."""
    fault = Fault(error, condition_of(error), operator.name)
    return GroupFault(fault, splittable=not (operator.shape.mixes or flow.mixed))


def named_faults(
    flow: Flow, operator: BoundOperator, entries: Sequence[int], named: RecordErrors
) -> Exception:
    """The operator named positions in what it was given, which are these entries."""
    try:
        errors: dict[int, Any] = dict(named.errors)
    except BaseException as broken:  # noqa: BLE001 - a subclass may have anything there, or nothing
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
    except BaseException as broken:  # noqa: BLE001 - whatever the operator has named as the error
        return broken
