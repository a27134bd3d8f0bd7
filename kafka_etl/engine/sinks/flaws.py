"""What is wrong with the attributes of a door: mistakes of its author that nothing else reports."""

from __future__ import annotations

from collections.abc import Iterator

from kafka_etl.contracts import Limits, RowOrder, Sender, Store, Writer


def flaws_of(door: object) -> list[str]:
    """Return one clause for each attribute of a wrong type or size; empty: all are right."""
    if isinstance(door, Sender):
        own = [
            *_count("concurrency", door.concurrency),
            *_truth("ordered", door.ordered),
            *_truth("repeatable", door.repeatable),
        ]
    elif isinstance(door, Writer):
        own = [*_order(door.order), *_truth("repeatable", door.repeatable)]
    elif isinstance(door, Store):
        own = [*_kind(door.kind)]
    else:
        return ["the class must derive from Sender, Writer or Store"]
    return [*own, *_limits(door.limits)]


def _order(value: object) -> Iterator[str]:
    if not isinstance(value, RowOrder):  # "key" is none, though it is equal to one
        yield f"`order` must be a RowOrder, such as RowOrder.KEY, not {value!r}"


def _kind(value: object) -> Iterator[str]:
    if not isinstance(value, str) or not value:
        yield f"`kind` must be the target's name, not {value!r}"


def _limits(value: object) -> Iterator[str]:
    if not isinstance(value, Limits):
        yield f"`limits` must be Limits, not {value!r}"
        return
    yield from _count("limits.rows", value.rows)
    yield from _count("limits.bytes", value.bytes)
    if value.row_bytes is not None:
        yield from _count("limits.row_bytes", value.row_bytes)


def _count(name: str, value: object) -> Iterator[str]:
    if type(value) is not int or value < 1:  # True is an int, too
        yield f"`{name}` must be a whole number of at least 1, not {value!r}"


def _truth(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"`{name}` must be True or False, not {value!r}"
