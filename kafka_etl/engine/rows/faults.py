"""Faults: why one record, or a group of records, failed in an attempt."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kafka_etl.errors import OperatorDied, OperatorTimeout, Permanent
from kafka_etl.invocation import Condition, described


class Fault(msgspec.Struct, frozen=True):
    """Why a record failed in this attempt."""

    error: BaseException
    condition: Condition
    operator: str = ""


class GroupFault(Exception):
    """A batch operator failed, or an output without one origin did: any record may be to blame.

    Args:
        fault: What happened.
        splittable: Whether a part of the group may be tried alone; not after an operator that
            mixes rows.
    """

    def __init__(self, fault: Fault, *, splittable: bool) -> None:
        super().__init__(fault)  # not its text: `__str__` of a user's error may raise
        self.fault = fault
        self.splittable = splittable


class NamedFaults(Exception):
    """Some records are known to be bad; the others must be run again without them."""

    def __init__(self, faults: Mapping[int, Fault]) -> None:
        super().__init__(f"{len(faults)} records")
        self.faults = faults


class EngineFailed(Permanent):
    """The engine itself raised where no record could be blamed on the spot."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"the engine failed on this record ({described(error)}): please report the traceback; "
            "what an operator gave for the record is the likely reason"
        )


def condition_of(error: BaseException, usual: Condition = Condition.OPERATOR_ERROR) -> Condition:
    """What an error of a call stands for in a dead letter."""
    if issubclass(type(error), OperatorTimeout):
        return Condition.TIMEOUT
    return Condition.WORKER_CRASHED if issubclass(type(error), OperatorDied) else usual
