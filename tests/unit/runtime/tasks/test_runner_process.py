"""A host without room for a runner: nothing is left of the try, and the keeper lives on."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from kafka_etl.runtime.tasks.keeper.crew import allow_descriptors
from kafka_etl.runtime.tasks.keeper.runner_process import RunnerProcess

NOTHING: Any = None


class NoProcess:
    """Starts of a host that allows no other process."""

    def start(self, *_: int) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")


STARTS: Any = NoProcess()


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def almost_full(free: int) -> Iterator[list[int]]:
    """Leave this process so many descriptors; yields those that fill it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    taken = fill()
    for _ in range(free):
        os.close(taken.pop())
    try:
        yield taken
    finally:
        for file in taken:
            os.close(file)


def fill() -> list[int]:
    taken: list[int] = []
    with suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    return taken


def test_a_process_that_cannot_be_started_is_an_error_of_the_system() -> None:
    with pytest.raises(BlockingIOError):
        RunnerProcess(NOTHING, STARTS)


@pytest.mark.parametrize("free", range(12))
def test_a_try_without_descriptors_leaves_none_open(free: int) -> None:
    with almost_full(free) as taken:
        with suppress(OSError):
            RunnerProcess(NOTHING, STARTS)
        left = fill()
        taken.extend(left)
        assert len(left) == free


def test_so_many_runners_as_there_may_be_find_room() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    allow_descriptors(300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)
    allow_descriptors(100)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)
