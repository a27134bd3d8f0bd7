"""What a case expects, and what came: where they differ, in words."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl.trial.matching import differences, pairs


@pytest.mark.parametrize(
    ("expected", "came"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": {"b": [1, {"c": None}]}}, {"a": {"b": [1, {"c": None, "d": 0}], "e": 0}}),
        ({}, {"a": 1}),
        (9.2, 10.0 * 0.92),
        (1, 1.0),
        ("x", "x"),
        (None, None),
    ],
)
def test_what_came_may_have_more(expected: Any, came: Any) -> None:
    assert list(differences(expected, came, "value")) == []


@pytest.mark.parametrize(
    ("expected", "came", "said"),
    [
        ({"a": 1}, {"a": 2}, "value.a: expected 1, got 2"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "value.a[0].b: expected 1, got 2"),
        (True, 1, "value: expected true, got 1"),
        (2**70, 1, f"value: expected {2**70}, got 1"),
        (0, False, "value: expected 0, got false"),
        ("1", 1, 'value: expected "1", got 1'),
        (1.0, "1.0", 'value: expected 1.0, got "1.0"'),
        (None, {}, "value: expected null, got {}"),
        ({"a": None}, {}, "value.a: expected null, but it is missing"),
        (
            {"amount_eu": 1},
            {"amount_eur": 1, "id": 1},
            "value.amount_eu: expected 1, but it is missing; did you mean `amount_eur`?",
        ),
        (
            {"x": 1},
            {"amount_eur": 1, "id": 1},
            "value.x: expected 1, but it is missing; there: amount_eur, id",
        ),
        ([1], [1, 2], "value: expected 1 entries, got 2: [1] and [1,2]"),
        (
            "a" * 70 + "b" + "c" * 70,
            "a" * 70 + "d" + "c" * 70,
            (
                f'value: expected …"{"a" * 20}b{"c" * 19}"…, got …"{"a" * 20}d{"c" * 19}"… '
                "(the texts part at character 71)"
            ),
        ),
    ],
)
def test_a_difference_names_its_place(expected: Any, came: Any, said: str) -> None:
    assert list(differences(expected, came, "value")) == [said]


@pytest.mark.parametrize(
    ("expected", "came", "paired"),
    [
        ("ab", "ab", [(0, 0), (1, 1)]),
        ("ab", "ba", [(0, 0), (1, 1)]),  # as many: by position
        ("abc", "abxc", [(0, 0), (1, 1), (2, 3)]),
        ("abc", "ac", [(0, 0), (2, 1)]),
        ("abc", "xbcd", [(0, 0), (1, 1), (2, 2)]),
        ("ab", "xyabz", [(0, 2), (1, 3)]),
        ("ac", "xyz", [(0, 0), (1, 1)]),
        ("", "ab", []),
        ("ab", "", []),
        ("aab", "ab", [(0, 0), (2, 1)]),
    ],
)
def test_what_fits_is_paired_and_the_rest_in_its_gaps(
    expected: str, came: str, paired: list[tuple[int, int]]
) -> None:
    found = pairs(len(expected), len(came), lambda row, column: expected[row] == came[column])
    assert found == paired


def test_many_that_do_not_fit_are_paired_at_once() -> None:
    asked = 0

    def fits(_row: int, _column: int) -> bool:
        nonlocal asked
        asked += 1
        return False

    assert len(pairs(2000, 3000, fits)) == 2000
    assert asked < 10
