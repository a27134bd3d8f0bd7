"""Headers that name the schema of a record's bytes: an output with other bytes must lose them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Final

from kafka_etl.record import Headers
from kafka_etl.schema_registry.wire_format import VALUE_HEADER

HeaderColumn = list[Headers | None] | None
"""Headers of each output, None for an output without headers; None: no output has headers."""

_NAME: Final = itemgetter(0)


def names_in(headers: HeaderColumn) -> set[str]:
    """The names of all headers in a column."""
    return set(map(_NAME, chain.from_iterable(filter(None, headers or ()))))


def without(headers: HeaderColumn, name: str, where: Sequence[bool]) -> HeaderColumn:
    """The column, with the headers called `name` removed from some outputs.

    Args:
        headers: Headers of all outputs.
        name: Name of the header.
        where: True for each output that must lose the header.
    """
    return headers and [
        [header for header in own or () if header[0] != name] if is_gone else own
        for own, is_gone in zip(headers, where, strict=True)
    ]


def moved_to_headers(
    headers: HeaderColumn,
    values: list[bytes],
    split: Callable[[bytes], tuple[bytes, bytes]],
    where: Sequence[bool],
) -> tuple[HeaderColumn, list[bytes]]:
    """Move the schema id from the start of values into a header.

    Args:
        headers: Headers of all outputs.
        values: Encoded values.
        split: Splits an encoded value into the header's value and the payload.
        where: True for each output whose value was encoded just now.

    Returns:
        The new headers and the new values.
    """
    column: list[Headers | None] = headers.copy() if headers else [None] * len(values)
    values = values.copy()
    for row, is_new in enumerate(where):
        if is_new:
            head, values[row] = split(values[row])
            column[row] = [*(column[row] or ()), (VALUE_HEADER, head)]
    return column, values
