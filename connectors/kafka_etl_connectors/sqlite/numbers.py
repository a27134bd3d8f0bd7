"""Text that SQLite would keep as another one: as a number, where the column's type prefers numbers.

`007` in a column declared STRING becomes 7, and `1234567890123456789.25` in one declared DECIMAL
loses its last digits, without an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from kafka_etl.contracts import Column, Kind, Refused

_TEXTS: Final = frozenset({Kind.TEXT, Kind.TEXT_FORM, Kind.JSON})
_KEEPING_TEXT: Final = ("CHAR", "CLOB", "TEXT", "BLOB")
"""Parts of declared types with which SQLite keeps text as it is; likewise ANY, and none."""
_OF_NUMBERS: Final = ("DEC", "NUM", "JSON")
"""Parts of declared types in which 12.50 and 12.5 are the same."""
_NUMBER: Final = re.compile(r"[ \t-\r]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t-\r]*", re.ASCII)
_LARGEST: Final = 2**63


def of_numbers(columns: Sequence[Column]) -> dict[int, Column]:
    """Position -> column in which SQLite makes a number of text that looks like one."""
    return {
        at: column
        for at, column in enumerate(columns)
        if column.kind in _TEXTS and _prefers_numbers(column.type_name.upper())
    }


def changed(row: Sequence[Any], columns: Mapping[int, Column]) -> Refused | None:
    """The verdict on a row of which SQLite would change a text; None: the row is kept as it is.

    Args:
        row: Values.
        columns: As of `of_numbers`.
    """
    for at, column in columns.items():
        text = row[at]
        if isinstance(text, str) and _NUMBER.fullmatch(text) and not _is_kept(text, column):
            return Refused(
                "NumberLike",
                f"column {column.name} ({column.type_name}) would keep the text {text!r:.100} as "
                "another number; a column declared TEXT keeps it as it is",
            )
    return None


def _prefers_numbers(declared: str) -> bool:
    return declared not in ("", "ANY") and not any(part in declared for part in _KEEPING_TEXT)


def _is_kept(text: str, column: Column) -> bool:
    number = str(_made_of(text))
    if not any(part in column.type_name.upper() for part in _OF_NUMBERS):
        return text == number
    try:
        return Decimal(text.strip()) == Decimal(number)
    except InvalidOperation:  # an exponent that no library has
        return False


def _made_of(text: str) -> int | float:
    """The number that SQLite makes of a text."""
    try:
        whole = int(text)
    except ValueError:  # no whole number, or one with thousands of digits
        whole = _LARGEST
    if -_LARGEST <= whole < _LARGEST:
        return whole
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _LARGEST else number
