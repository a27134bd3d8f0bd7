"""Headers that name the schema of a record's bytes: they go with those bytes and no others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from kafka_etl.codecs.wire import KEY_HEADER, VALUE_HEADER
from kafka_etl.contracts import Codec
from kafka_etl.record import Headers

HeaderColumn = list[Headers | None] | None
"""Headers of each output; None: there are none."""

_NAME: Final = itemgetter(0)


def of_new_keys(headers: HeaderColumn, given: list[Any], keys: list[Any]) -> HeaderColumn:
    """Without the schema ids of keys that are no longer there."""
    if not _has(headers, KEY_HEADER):
        return headers
    return _without(headers, KEY_HEADER, [a is not b for a, b in zip(given, keys, strict=True)])


def of_new_values(
    codec: Codec, headers: HeaderColumn, values: list[Any], new: Sequence[bool]
) -> tuple[HeaderColumn, list[Any]]:
    """With those of new values, which the codec has written, where it names schemas there.

    Returns:
        Headers, and values from which the codec's header is taken away.
    """
    if _has(headers, VALUE_HEADER):
        headers = _without(headers, VALUE_HEADER, new)
    if codec.headed is None or not any(new):
        return headers, values
    column: list[Headers | None] = [None] * len(values) if headers is None else headers.copy()
    values = values.copy()
    for row, is_new in enumerate(new):
        if is_new:
            head, values[row] = codec.headed(values[row])
            column[row] = [*(column[row] or ()), (VALUE_HEADER, head)]
    return column, values


def _has(headers: HeaderColumn, name: str) -> bool:
    if headers is None:
        return False
    return name in set(map(_NAME, chain.from_iterable(filter(None, headers))))


def _without(headers: HeaderColumn, name: str, where: Sequence[bool]) -> HeaderColumn:
    return [
        [header for header in own or () if header[0] != name] if is_gone else own
        for own, is_gone in zip(headers or (), where, strict=True)
    ]
