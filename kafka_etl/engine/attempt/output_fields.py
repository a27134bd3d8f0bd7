"""Checks of headers, timestamps and topics that operators have set: can a sink write them?

Each check first looks at the types of a whole column, in C; only a column with an unusual type or
value is checked entry by entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from types import NoneType
from typing import Any, Final, TypeGuard

from kafka_etl.engine.rows.mapping import map_each
from kafka_etl.record import KEEP, Headers

_LATEST: Final = 2**63 - 1
_SHOWN: Final = 100
"""Characters, or bits of a number, that an error shows."""
_NO_TIMESTAMP: Final = -1

Checked = tuple[list[Any], Mapping[int, BaseException]]
"""The checked column, with None for each entry that cannot be written, and entry -> error."""

LookUp = Callable[[Collection[str]], Mapping[str, str]]
"""Takes topics that are not listed; gives topic -> the reason why no record may go there."""


def checked_headers(column: Sequence[Any]) -> Checked:
    """Check headers: each entry is a list of (str, bytes or None) tuples, or None."""
    if _are_all_headers(column):
        return list(column), {}
    return _each(column, _as_headers)


def checked_timestamps(column: Sequence[Any]) -> Checked:
    """Check timestamps: milliseconds since the epoch, -1 or KEEP.

    Returns:
        The timestamps, with 0 for -1: the sink sets its own timestamp. KEEP stays.
    """
    if set(map(type, column)) == {int} and min(column) > 0 and max(column) <= _LATEST:
        return list(column), {}
    return _each(column, _as_timestamp)


def checked_topics(
    column: Sequence[Any], own: str, routes: frozenset[str], look_up: LookUp | None = None
) -> Checked:
    """Check topics: each entry is a topic that the sink may write, or None: the sink's topic.

    Args:
        column: One topic per entry.
        own: The sink's topic.
        routes: Further topics that the sink may write.
        look_up: Tells of topics that are not among these; None: no such topic may be written.

    Raises:
        Unavailable, KafkaEtlError: by `look_up`.
    """
    allowed = {None, own, *routes}
    is_plain = set(map(type, column)) <= {str, NoneType}
    others: set[Any] = set(column if is_plain else map(_as_text, column)) - allowed
    if is_plain and not others:
        return list(column), {}
    listed = ", ".join(sorted(routes)) or "it has none"
    unknown = f"not the sink's topic nor one of its routes ({listed})"
    refused = dict.fromkeys(others, unknown) if look_up is None else look_up(others)
    if is_plain and not refused:
        return list(column), {}

    def as_topic(topic: Any) -> str | None:
        if topic is None:
            return None
        plain = _as_text(topic)
        if plain is None or plain in refused:
            shown = _start(repr(topic if plain is None else plain))
            raise ValueError(f"`to({shown})`: {unknown if plain is None else refused[plain]}")
        return plain

    return _each(column, as_topic)


def checked_places(column: Sequence[Any], places: Collection[str] | None) -> Checked:
    """Check where rows are sent: each entry is one of the sink's places, or None: its own.

    Args:
        column: One place per entry.
        places: Names of the places; None: any text, which the sink judges.
    """

    def as_place(place: Any) -> str | None:
        if place is None:
            return None
        plain = _as_text(place)
        if plain is None:
            raise TypeError(f"a row is sent to a place by its name, not to {_start(repr(place))}")
        plain.encode()  # half of a surrogate pair is no name anywhere
        if places is not None and plain not in places:
            known = f"one of {', '.join(places)}" if places else "the sink has one place for rows"
            raise ValueError(f"a row cannot go to {_start(repr(plain))}: {known}")
        return plain

    is_plain = set(map(type, column)) <= {str, NoneType}
    if is_plain and not _each(list(set(column)), as_place)[1]:
        return list(column), {}
    return _each(column, as_place)


def _as_text(topic: Any) -> str | None:
    return str.__str__(topic) if issubclass(type(topic), str) else None


def _start(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _each(column: Sequence[Any], check: Callable[[Any], Any]) -> Checked:
    found, failed = map_each(check, len(column), column)
    for entry, _ in failed:
        found[entry] = None
    return found, dict(failed)


def _are_all_headers(column: Sequence[Any]) -> bool:
    kinds = set(map(type, column))
    if not kinds <= {list, NoneType}:
        return False
    pairs = list(chain.from_iterable(filter(None, column) if NoneType in kinds else column))
    if not pairs:
        return True
    if set(map(type, pairs)) != {tuple}:
        return False
    try:
        names, values = zip(*pairs, strict=True)
        distinct = set(names)
    except (ValueError, TypeError):  # not pairs, or names that cannot be hashed
        return False
    if set(map(type, distinct)) != {str} or not set(map(type, values)) <= _VALUES:
        return False
    all_names = "".join(distinct)
    return all_names.isascii() and "\0" not in all_names


_VALUES: Final[set[type]] = {bytes, NoneType}


def _as_headers(headers: Any) -> Headers | None:
    if headers is None:
        return None
    if not _is_sequence(headers):
        kind = type(headers).__name__
        raise TypeError(f"headers are a list of (str, bytes or None), not {kind}")
    return list(map(_as_header, headers))


def _is_sequence(headers: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(headers, Sequence) and not isinstance(headers, str | bytes)


def _as_header(header: Any) -> tuple[str, bytes | None]:
    match header:
        case (str() as name, bytes() | None as value):
            name = str.__str__(name)
            # The client cuts a name at a NUL, and a name that is not UTF-8 crashes the process.
            if "\0" in name:
                raise ValueError(f"the name of a header has a NUL in it: {_start(ascii(name))}")
            try:
                name.encode()
            except UnicodeEncodeError:
                raise ValueError(
                    f"the name of a header is no UTF-8: {_start(ascii(name))}"
                ) from None
            return name, None if value is None else bytes(value)
        case _:
            raise TypeError("headers are a list of (str, bytes or None)")


def _as_timestamp(stamp: Any) -> Any:
    """Check one timestamp.

    0 is refused, because the client would write the present time; so is a negative number, because
    not all consumers can read one. The only exception is -1, "no timestamp", which becomes 0.
    """
    if stamp is KEEP:
        return stamp
    if not isinstance(stamp, int) or isinstance(stamp, bool):
        kind = type(stamp).__name__
        raise TypeError(f"a timestamp is a number of milliseconds, an int, not {kind}")
    exact = int(stamp)
    if exact == _NO_TIMESTAMP:
        return 0
    if not 0 < exact <= _LATEST:
        bits = exact.bit_length()
        shown = str(exact) if bits <= _SHOWN else f"of {bits} bits"
        raise ValueError(
            f"timestamp {shown} cannot be written: it is a number of milliseconds from 1 to "
            f"{_LATEST}, or -1 for the sink's own"
        )
    return exact
