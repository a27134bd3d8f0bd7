"""Compares what came with what a case expects, and says in words where they differ.

An expected mapping is a part of the one that came, at any depth; lists and other values are
compared whole, and floats up to a rounding error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.spelling import did_you_mean

_CLOSE: Final = 1e-9
_SHOWN: Final = 200
_LONG_TEXT: Final = 60
_AROUND: Final = 20
_MOST_CELLS: Final = 100_000
"""Comparisons beyond which entries are paired by position: a failing case need not be slow."""


def differences(expected: Any, came: Any, at: str) -> Iterator[str]:
    """Yield a line for each place where `came` lacks something of `expected`.

    Args:
        expected: Plain data.
        came: Plain data.
        at: Name of the place, such as `value`.
    """
    if is_mapping(expected) and is_mapping(came):
        yield from _of_mappings(expected, came, at)
    elif is_list(expected) and is_list(came):
        yield from _of_lists(expected, came, at)
    elif not _same(expected, came):
        yield f"{at}: {_both(expected, came)}"


def show(value: Any) -> str:
    """Show plain data as JSON on one line, cut where it is long."""
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:  # an integer of more than 64 bits
        text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def pairs(expected: int, came: int, fits: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """Pair expected entries with those that came, in order.

    If the numbers are the same, entries are paired by position. Else as many as possible are paired
    that fit, and in the gaps between them those that do not; some are left without a partner.

    Args:
        expected: Number of expected entries.
        came: Number of entries that came.
        fits: Whether an expected entry fits one that came, by their positions.
    """
    if expected == came:
        return [(i, i) for i in range(expected)]
    least = min(expected, came)
    begin = next((i for i in range(least) if not fits(i, i)), least)
    left = range(least - begin)
    end = next((i for i in left if not fits(expected - 1 - i, came - 1 - i)), len(left))
    rows, columns = range(begin, expected - end), range(begin, came - end)
    anchors = [(i, i) for i in range(begin)]
    if len(rows) * len(columns) <= _MOST_CELLS:
        anchors += _longest(rows, columns, fits)
    anchors += [(expected - i, came - i) for i in range(end, 0, -1)]
    found: list[tuple[int, int]] = []
    row = column = 0
    for anchor in [*anchors, (expected, came)]:
        found += zip(range(row, anchor[0]), range(column, anchor[1]), strict=False)
        found += [anchor] if anchor[0] < expected else []
        row, column = anchor[0] + 1, anchor[1] + 1
    return found


def _longest(
    rows: range, columns: range, fits: Callable[[int, int], bool]
) -> Iterator[tuple[int, int]]:
    """Yield the longest common subsequence of what fits."""
    fitting = [[fits(row, column) for column in columns] for row in rows]
    best = [[0] * (len(columns) + 1) for _ in range(len(rows) + 1)]
    for i in reversed(range(len(rows))):
        for j in reversed(range(len(columns))):
            skipped = max(best[i + 1][j], best[i][j + 1])
            best[i][j] = best[i + 1][j + 1] + 1 if fitting[i][j] else skipped
    i = j = 0
    while i < len(rows) and j < len(columns):
        if fitting[i][j]:
            yield rows[i], columns[j]
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1


def _of_mappings(expected: dict[str, Any], came: dict[str, Any], at: str) -> Iterator[str]:
    for key, value in expected.items():
        if key in came:
            yield from differences(value, came[key], f"{at}.{key}")
            continue
        near = did_you_mean(key, came)
        there = f"; {near}" if near else f"; there: {', '.join(came)}" if came else ""
        yield f"{at}.{key}: expected {show(value)}, but it is missing{there}"


def _of_lists(expected: list[Any], came: list[Any], at: str) -> Iterator[str]:
    if len(expected) != len(came):
        numbers = f"expected {len(expected)} entries, got {len(came)}"
        yield f"{at}: {numbers}: {show(expected)} and {show(came)}"
        return
    for index, (one, other) in enumerate(zip(expected, came, strict=True)):
        yield from differences(one, other, f"{at}[{index}]")


def _same(expected: Any, came: Any) -> bool:
    if isinstance(expected, bool) or isinstance(came, bool):
        return expected is came
    if isinstance(expected, float) or isinstance(came, float):
        numbers = isinstance(expected, int | float) and isinstance(came, int | float)
        return numbers and math.isclose(expected, came, rel_tol=_CLOSE, abs_tol=_CLOSE**2)
    return bool(expected == came)


def _both(expected: Any, came: Any) -> str:
    """Show both values; of long texts the place where they part."""
    texts = isinstance(expected, str) and isinstance(came, str)
    if not texts or max(len(expected), len(came)) <= _LONG_TEXT:
        return f"expected {show(expected)}, got {show(came)}"
    same = next(
        (i for i, (a, b) in enumerate(zip(expected, came, strict=False)) if a != b),
        min(len(expected), len(came)),
    )
    around = slice(max(0, same - _AROUND), same + _AROUND)
    return (
        f"expected …{show(expected[around])}…, got …{show(came[around])}… "
        f"(the texts part at character {same + 1})"
    )
