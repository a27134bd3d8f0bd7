"""Faults: why one record, or a group of records, failed in an attempt."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kafka_etl.errors import OperatorDied, OperatorTimeout, Permanent
from kafka_etl.invocation import Condition, described


class Fault(msgspec.Struct, frozen=True):
    """Why a record failed in one attempt.

    Attributes:
        error: The exception.
        condition: Condition of the dead letter that the record may become.
        operator: Name of the operator or codec that failed; empty where there is none.
    """

    error: BaseException
    condition: Condition
    operator: str = ""


class GroupFault(Exception):
    """A call on several records failed, or an output of all records: any record may be to blame.

    Args:
        fault: The fault, for whichever records are blamed in the end.
        splittable: Whether half of the group may be tried alone; False after an operator that mixes
            rows.
    """

    def __init__(self, fault: Fault, *, splittable: bool) -> None:
        super().__init__(fault)  # not the text of the error: its `__str__` is user code
        self.fault = fault
        self.splittable = splittable


class NamedFaults(Exception):
    """Some records are known to be bad; the other records must be attempted again without them.

    Args:
        faults: Position of a record in the attempt -> the fault of the record.
    """

    def __init__(self, faults: Mapping[int, Fault]) -> None:
        super().__init__(f"{len(faults)} records")
        self.faults = faults


class EngineFailed(Permanent):
    """An unexpected exception in the engine: the record to blame must be found by halving."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"the engine failed on this record ({described(error)}): please report the traceback; "
            "what an operator gave for the record is the likely reason"
        )


def condition_of(error: BaseException, usual: Condition = Condition.OPERATOR_ERROR) -> Condition:
    """The condition of a dead letter for this error; `usual` for an ordinary exception."""
    if issubclass(type(error), OperatorTimeout):
        return Condition.TIMEOUT
    return Condition.WORKER_CRASHED if issubclass(type(error), OperatorDied) else usual
