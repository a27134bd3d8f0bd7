"""Who is heard, and at what cost."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import pytest

from kafka_etl.runtime.daemon.child_selector import ChildSelector
from kafka_etl.runtime.mailbox import Mailbox


class FakeChild:
    """A child without a process; what it says comes through a real socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.mailbox = Mailbox(ours)
        self.speaks: Connection[Any, Any] = Connection(theirs.detach())
        self.heard: list[object] = []
        self.calls = 0

    def hear(self) -> bool:
        self.calls += 1
        new = self.mailbox.received()
        self.heard += new
        return "changed" in new

    def close(self) -> None:
        self.mailbox.close()
        self.speaks.close()


@pytest.fixture
def selector() -> Iterator[ChildSelector]:
    selector = ChildSelector()
    yield selector
    selector.close()


@pytest.fixture
def make() -> Iterator[Callable[[int], list[FakeChild]]]:
    made: list[FakeChild] = []

    def make_them(count: int) -> list[FakeChild]:
        made.extend(FakeChild() for _ in range(count))
        return made[-count:]

    yield make_them
    for child in made:
        child.close()


Make = Callable[[int], list[FakeChild]]


def soon() -> float:
    return time.monotonic() + 30


def listeners(children: list[FakeChild]) -> Any:
    return {child: child.hear for child in children}


def test_a_word_of_one_child_costs_one_call(selector: ChildSelector, make: Make) -> None:
    """With a look at each of 64 workers at each word of one, a daemon took a fourth of a core."""
    children = make(64)
    words = iter(range(256))

    def clock() -> float:
        """Each turn of the loop, another child says something; after 256 of them time is up."""
        word = next(words, None)
        if word is None:
            return 1.0
        children[word % 64].speaks.send("figures")
        return 0.0

    assert not selector.listen(listeners(children), 0.5, clock)
    assert [child.calls for child in children] == [4] * 64


def test_a_change_is_told_at_once_and_nobody_is_passed_over(
    selector: ChildSelector, make: Make
) -> None:
    silent, changed, other = children = make(3)
    changed.speaks.send("changed")
    other.speaks.send("figures")
    assert selector.listen(listeners(children), soon())
    assert (silent.heard, changed.heard, other.heard) == ([], ["changed"], ["figures"])


def test_a_child_that_comes_may_have_the_number_of_one_that_went(
    selector: ChildSelector, make: Make
) -> None:
    (first,) = make(1)
    assert not selector.listen(listeners([first]), 0)
    number = first.mailbox.fileno()
    first.close()
    second = next(child for child in make(3) if child.mailbox.fileno() == number)
    second.speaks.send("changed")
    assert selector.listen(listeners([second]), soon())


def test_one_that_has_hung_up_is_heard_once(selector: ChildSelector, make: Make) -> None:
    gone, other = children = make(2)
    gone.speaks.close()
    other.speaks.send("changed")
    assert selector.listen(listeners(children), soon())
    assert gone.mailbox.is_closed
    other.speaks.send("changed")
    assert selector.listen(listeners(children), soon())
    assert gone.calls == 1


def test_a_large_task_is_sent_while_others_are_heard(selector: ChildSelector, make: Make) -> None:
    reading, other = children = make(2)
    task = bytes(5_000_000)
    reading.mailbox.send(task)
    assert reading.mailbox.has_unsent

    def read() -> None:
        assert reading.speaks.recv() == task
        other.speaks.send("changed")

    reader = Thread(target=read)
    reader.start()
    assert selector.listen(listeners(children), soon())
    reader.join()
    assert not reading.mailbox.has_unsent
    before = time.thread_time()
    assert not selector.listen(listeners(children), time.monotonic() + 0.2)
    assert time.thread_time() - before < 0.1, "it waits, though it could write"
