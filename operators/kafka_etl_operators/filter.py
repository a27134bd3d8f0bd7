"""The operator `filter`: keeps the records for which an expression is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from kafka_etl import Record, operator
from kafka_etl.expression import Expression


def filter_records(
    *, where: Annotated[Expression, Field(examples=["value.amount > 10"])]
) -> Callable[[Any], Any]:
    """Keep the records for which `where` is true; the others are dropped and counted.

    A tombstone (a record whose value is null) has no fields, and passes. But `where` decides about
    tombstones, too, if `where` does not use the value, or compares the value itself with null
    (`value != null`).

    Args:
        where: An expression over the record; a true result keeps the record.
    """
    if where.value_only and not where.nullable:
        return operator(reads_only=True)(where.value_filter())
    keep = where.record_filter()
    if where.nullable:
        keep.__annotations__["record"] = Record | None
    return operator(reads_only=True)(keep)
