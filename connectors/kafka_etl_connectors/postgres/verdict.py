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


_ROW_CLASSES: Final = frozenset({"22", "23"})
"""Data exceptions, and violated constraints."""
_ROW_STATES: Final = frozenset({"44000", "P0001", "54000"})
"""A view's check option, a trigger's RAISE, and a row or an index entry too large for a page."""
_AGAIN: Final = frozenset({"40001", "40P01"})
_SCHEMA: Final = frozenset({"42P01", "42703"})
_MEND_CLASSES: Final = frozenset({"28", "3D", "3F"})
_MEND_STATES: Final = frozenset({"42501", "53100"})
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
    if sqlstate[:2] in _ROW_CLASSES or sqlstate in _ROW_STATES:
        return Fault.ROW
    if sqlstate == "42501" and source_function == _ROW_SECURITY:
        return Fault.ROW
    if sqlstate in _AGAIN:
        return Fault.AGAIN
    if sqlstate in _SCHEMA:
        return Fault.SCHEMA
    if sqlstate[:2] in _MEND_CLASSES or sqlstate in _MEND_STATES:
        return Fault.MEND
    return Fault.TARGET
