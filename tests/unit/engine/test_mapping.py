from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest

from kafka_etl.engine.rows.mapping import FAILED, EscapedStopIteration, map_each


def failing(bad: set[int], error: Callable[[], BaseException]) -> Callable[[int], int]:
    def double(number: int) -> int:
        if number in bad:
            raise error()
        return number * 2

    return double


def test_without_rows_nothing_is_called() -> None:
    assert map_each(failing({0}, ValueError), 0, []) == ([], [])


def test_every_row_has_its_result() -> None:
    assert map_each(operator.add, 3, [1, 2, 3], [10, 20, 30]) == ([11, 22, 33], [])


@pytest.mark.parametrize("bad", [{0}, {2}, {4}, {0, 1}, {1, 3}, {3, 4}, {0, 1, 2, 3, 4}])
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_row_that_raises_does_not_stop_the_others(
    bad: set[int], error: type[BaseException]
) -> None:
    results, failed = map_each(failing(bad, error), 5, range(5))
    assert results == [FAILED if n in bad else n * 2 for n in range(5)]
    assert [row for row, _ in failed] == sorted(bad)
    assert all(type(raised) is error for _, raised in failed)


@pytest.mark.parametrize("bad", [{0}, {2}, {4}, {0, 1, 2, 3, 4}])
def test_an_escaped_stop_iteration_is_an_error_of_its_row(bad: set[int]) -> None:
    results, failed = map_each(failing(bad, StopIteration), 5, range(5))
    assert results == [FAILED if n in bad else n * 2 for n in range(5)]
    assert [row for row, _ in failed] == sorted(bad)
    assert all(type(raised) is EscapedStopIteration for _, raised in failed)


def test_each_row_is_tried_once() -> None:
    seen: list[int] = []

    def note(number: int) -> None:
        seen.append(number)
        raise ValueError

    map_each(note, 4, range(4))
    assert seen == [0, 1, 2, 3]


def test_what_a_generator_function_gives_is_not_run_here() -> None:
    def numbers(count: int) -> Any:
        yield from range(count)
        raise ValueError

    (first, second), failed = map_each(numbers, 2, [1, 2])
    assert failed == []
    assert next(first) == next(second) == 0
