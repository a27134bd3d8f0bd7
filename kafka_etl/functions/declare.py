"""Declaring operators: a plain function with annotations, and the optional `@operator`.

Everything follows from the signature. The first parameter's annotation says what the operator
takes, keyword-only parameters are its settings, a `Context` parameter is filled in::

    def to_eur(order: dict, *, rate: float = 0.92) -> dict: ...

`@operator` is optional and returns the function unchanged.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Drop(enum.Enum):
    """The type of `DROP`, for annotations: `-> Record | Drop`."""

    DROP = "DROP"

    def __repr__(self) -> str:
        return "DROP"


DROP: Final = Drop.DROP
"""Returned by an operator: this record ends here on purpose. Counted, never silent."""


META_COLUMNS: Final = ("_key", "_headers", "_timestamp", "_partition", "_offset")
"""What a table can have besides the value's fields, and `_row`, the record a row comes from."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """The additions of `@operator` to a signature."""

    takes: Literal["value", "record", "batch", "table"] | None = None
    mixes: bool = False
    version: str = ""
    columns: Sequence[str] | None = None
    reads_only: bool = False


def operator(
    *,
    takes: Literal["value", "record", "batch", "table"] | None = None,
    mixes: bool = False,
    version: str = "",
    columns: Sequence[str] | None = None,
    reads_only: bool = False,
) -> Callable[[F], F]:
    """Declare properties of an operator; the function is returned unchanged.

    Args:
        takes: Overrules the annotation of the first parameter.
        mixes: The batch operator mixes rows (aggregates, sorts, joins): it is never split, and
            its outputs belong to all records of the slice.
        version: Shown in dead letters; default: of the distribution, or a hash of the source.
        columns: Columns of the table beside the value's fields and `_row`: a choice of `_key`,
            `_headers`, `_timestamp`, `_partition` and `_offset`; default: all. Each column costs
            0.05 us a record.
        reads_only: The operator never changes its argument in place. A value that the operator
            returns unchanged is written as its source bytes, unless the sink names a codec.
    """

    def declare(target: F) -> F:
        target.__kafka_etl__ = Declaration(  # type: ignore[attr-defined]
            takes, mixes, version, columns, reads_only
        )
        return target

    return declare


def declaration_of(target: object) -> Declaration:
    declared = getattr(target, "__kafka_etl__", None)
    return declared if isinstance(declared, Declaration) else Declaration()
