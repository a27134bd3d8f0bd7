"""Whose fault an error of the server is, told by its SQLSTATE."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """Whose fault an error is, and what follows.

    `ROW`: the row's, which becomes a dead letter. `AGAIN`: nobody's; the transaction is repeated at
    once. `MEND`: the target's, until a user mends it. `SCHEMA`: the table is not as it was.
    `TARGET`: the target's, as is every error that is not known.
    """

    ROW = "row"
    AGAIN = "again"
    MEND = "mend"
    SCHEMA = "schema"
    TARGET = "target"


_CLASSES: Final = {
    "22": Fault.ROW,  # data exceptions
    "23": Fault.ROW,  # violated constraints
    "28": Fault.MEND,  # wrong user or password
    "3D": Fault.MEND,  # no such database
    "3F": Fault.MEND,  # no such schema
}
_STATES: Final = {
    "44000": Fault.ROW,  # a view's check option
    "P0001": Fault.ROW,  # a trigger's RAISE
    "54000": Fault.ROW,  # a row, or an entry of an index, that is too large for a page
    "40001": Fault.AGAIN,
    "40P01": Fault.AGAIN,
    "42P01": Fault.SCHEMA,  # no such table
    "42703": Fault.SCHEMA,  # no such column
    "42804": Fault.SCHEMA,  # a column has another type
    "08P01": Fault.SCHEMA,  # likewise, seen by a binary COPY
    "42501": Fault.MEND,  # no right to do that
    "53100": Fault.MEND,  # disk full
}
NO_COPY: Final = frozenset({"0A000", "42809"})
"""COPY into a table with row-level security, and into a view."""
LOCKED: Final = "55P03"
_ROW_SECURITY: Final = "ExecWithCheckOptions"
"""The server's function that checks a row against a policy; its name is in no language."""


def fault_of(sqlstate: str | None, source_function: str | None = None) -> Fault:
    """Whose fault an error is.

    Args:
        sqlstate: Code of the error; None: the connection was lost.
        source_function: The server's function that reported the error.
    """
    if sqlstate is None:
        return Fault.TARGET
    if sqlstate == "42501" and source_function == _ROW_SECURITY:
        return Fault.ROW
    return _STATES.get(sqlstate) or _CLASSES.get(sqlstate[:2], Fault.TARGET)
