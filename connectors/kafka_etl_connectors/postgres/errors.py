"""Whose fault an error of the server is: the row's, or the target's."""

from __future__ import annotations

from typing import Final

import psycopg

from kafka_etl.contracts import Refused, Unreachable

_OF_A_ROW: Final = ("22", "23")
"""Classes of SQLSTATE: data exceptions, and integrity constraints."""
_STATES_OF_A_ROW: Final = frozenset({"44000", "P0001"})
"""The check option of a view, and `RAISE EXCEPTION` in a trigger."""
_TO_MEND: Final = ("28", "3D", "3F", "42", "53", "0A")
"""Login, database, schema, objects and rights, resources: a user has to do something."""
_READ_ONLY: Final = "25006"
_DENIED: Final = "42501"
_AGAIN: Final = frozenset({"40001", "40P01"})
"""Serialisation failure and deadlock: the same transaction may succeed at once."""


def is_of_a_row(error: psycopg.Error) -> bool:
    """Whether the server refuses a row; anything else, and all that is unknown, is the target's."""
    state = error.sqlstate or ""
    if state == _DENIED:  # row-level security refuses a row; the texts are translated
        return error.diag.source_function == "ExecWithCheckOptions"
    return state[:2] in _OF_A_ROW or state in _STATES_OF_A_ROW


def passes(error: psycopg.Error) -> bool:
    """Whether the same transaction may succeed at once."""
    return error.sqlstate in _AGAIN


def refused(error: psycopg.Error) -> Refused:
    """The verdict on the row that the server refuses. The message goes into its dead letter."""
    diag = error.diag
    parts = [diag.message_primary or str(error), diag.message_detail]
    return Refused(error.sqlstate or "?", "; ".join(part for part in parts if part))


def target(error: psycopg.Error, doing: str = "") -> Unreachable:
    """The target's fault, in words without the data of rows."""
    state = error.sqlstate or ""
    said = error.diag.message_primary or str(error).strip().splitlines()[0]
    mend = state[:2] in _TO_MEND or state == _READ_ONLY or _denied(error)
    where = f"{doing}: " if doing else ""
    return Unreachable(f"PostgreSQL: {where}{said}{f' ({state})' if state else ''}", mend=mend)


def _denied(error: psycopg.Error) -> bool:
    """Whether a login was refused; libpq gives no SQLSTATE for a failed connection."""
    text = str(error)
    return not error.sqlstate and ("authentication failed" in text or "does not exist" in text)
