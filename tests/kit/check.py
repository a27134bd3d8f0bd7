"""The checker of exactly-once runs: reads everything back and states what must hold.

`problems` returns what is wrong in words; an empty list means exactly once. It is itself tested
against wrong runs in tests/unit/test_check.py.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tests.kit.kafka import Stored

_TOLD = 5


def problems(
    inputs: Sequence[Stored],
    outputs: Sequence[Stored],
    letters: Sequence[Stored],
    *,
    is_bad: Any = lambda _value: False,
) -> list[str]:
    """What is wrong with a run whose records are JSON objects with a unique `id`.

    Args:
        inputs: Of the source topic.
        outputs: Of the sink topics, read committed.
        letters: Of the dead-letter topic, read committed.
        is_bad: Whether the pipeline must refuse an input's bytes.
    """
    found: list[str] = []
    good = {_id(r): r for r in inputs if not is_bad(r.value)}
    bad = [r for r in inputs if is_bad(r.value)]
    counts = Counter(_id(r) for r in outputs)
    found += _some(f"id {i} comes out {n} times" for i, n in counts.items() if n > 1)
    found += _some(f"id {i} is lost" for i in good.keys() - counts.keys())
    found += _some(f"id {i} was never put in" for i in counts.keys() - good.keys())
    found += _some(
        f"id {_id(r)} comes out under key {r.key!r}"
        for r in outputs
        if _id(r) in good and r.key != good[_id(r)].key
    )
    found += _letters(bad, letters)
    found += _order(inputs, outputs)
    return found


def _letters(bad: Sequence[Stored], letters: Sequence[Stored]) -> list[str]:
    expected = Counter((r.key, r.value, r.partition, r.offset) for r in bad)
    actual = Counter(
        (
            r.key,
            r.value,
            int(r.header("kafka_etl.partition")),
            int(r.header("kafka_etl.offset")),
        )
        for r in letters
    )
    missing, extra = expected - actual, actual - expected
    found = _some(f"no dead letter for {place}" for place in missing)
    return found + _some(f"a dead letter too many: {place}" for place in extra)


def _order(inputs: Iterable[Stored], outputs: Iterable[Stored]) -> list[str]:
    """Outputs of one key stand in the order of their inputs."""
    place = {_id(r): (r.partition, r.offset) for r in inputs if r.value and r.value[:1] == b"{"}
    by_key: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    for record in outputs:
        by_key[record.key, record.topic].append(place.get(_id(record), (-1, -1)))
    return _some(
        f"key {key!r} is out of order" for key, places in by_key.items() if places != sorted(places)
    )


def _some(found: Iterable[str]) -> list[str]:
    """The first of them, and how many there are besides."""
    told = list(found)
    rest = len(told) - _TOLD
    return told if rest <= 0 else [*told[:_TOLD], f"… and {rest} more like that"]


def _id(record: Stored) -> Any:
    try:
        return json.loads(record.value or b"null")["id"]
    except (ValueError, TypeError, KeyError):
        return None
