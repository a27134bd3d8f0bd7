"""Columns of a target's table: what a sink's author tells the framework about them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column holds: a closed list. A target maps its own types onto these.

    `TEXT_FORM` is a type that the target parses from text itself, such as an enum, a domain or a
    geometry: text is passed as it is; times, decimals and UUIDs are passed as their text.
    """

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    DECIMAL = "decimal"
    TEXT = "text"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMP_TZ = "timestamp with time zone"
    UUID = "uuid"
    JSON = "json"
    TEXT_FORM = "text form"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a target's table.

    Attributes:
        name: Name, as it is in the target.
        kind: What the column holds.
        bits: Width of `INT` (16, 32, 64) and `FLOAT` (32, 64); 0: any, for integers.
        precision: Digits of `DECIMAL`, before and after the point together; None: any.
        scale: Digits of `DECIMAL` after the point; None: any.
        length: Characters of `TEXT`; None: any.
        many: Whether the column holds a list of the kind.
        nullable: Whether the column takes null.
        optional: Whether a row may leave the column out: it has a default, or takes null.
        writable: Whether rows may set the column at all: it is no generated one.
        nul: Whether text may hold NUL.
        type_name: The target's own name of the type, for messages and casts.
    """

    name: str
    kind: Kind
    bits: int = 64
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    many: bool = False
    nullable: bool = True
    optional: bool = True
    writable: bool = True
    nul: bool = True
    type_name: str = ""
