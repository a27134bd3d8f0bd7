"""Values between a loop that never waits and a process that does."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl.runtime.mailbox import Mailbox

LARGE = bytes(3 * 1024 * 1024)
"""Far more than the buffer of a socket holds."""


def pair() -> tuple[Mailbox, Connection[Any, Any]]:
    ours, theirs = socket.socketpair()
    return Mailbox(ours), Connection(theirs.detach())


@pytest.fixture
def ends() -> Iterator[tuple[Mailbox, Connection[Any, Any]]]:
    mailbox, connection = pair()
    yield mailbox, connection
    mailbox.close()
    if not connection.closed:
        connection.close()


@given(st.lists(st.binary(max_size=2000) | st.integers() | st.text(), max_size=10))
@settings(max_examples=30)
def test_values_cross_both_ways(values: list[object]) -> None:
    mailbox, connection = pair()
    for value in values:
        connection.send(value)
        mailbox.send(value)
    assert mailbox.received() == values
    assert [connection.recv() for _ in values] == values
    mailbox.close()
    connection.close()


def test_a_value_that_does_not_fit_is_sent_bit_by_bit(
    ends: tuple[Mailbox, Connection[Any, Any]],
) -> None:
    mailbox, connection = ends
    heard: list[object] = []
    mailbox.send(LARGE)
    mailbox.send("after it")
    assert mailbox.has_unsent, "it has returned, though nobody reads"
    reader = Thread(target=lambda: heard.extend([connection.recv(), connection.recv()]))
    reader.start()
    while mailbox.has_unsent:
        mailbox.flush()
    reader.join()
    assert heard == [LARGE, "after it"]


def test_a_value_that_has_arrived_in_part_is_not_waited_for() -> None:
    ours, theirs = socket.socketpair()
    source, sink = socket.socketpair()
    Connection(source.detach()).send(["whole", 1])
    frame = sink.recv(1000)
    mailbox = Mailbox(ours)
    for byte in frame[:-1]:
        theirs.send(bytes([byte]))
        assert mailbox.received() == []
    theirs.send(frame[-1:] + frame)
    assert mailbox.received() == [["whole", 1], ["whole", 1]]
    for end in (mailbox, theirs, sink):
        end.close()


def test_the_long_length_of_a_huge_value_is_understood() -> None:
    ours, theirs = socket.socketpair()
    mailbox = Mailbox(ours)
    body = pickle.dumps("huge")
    frame = b"\xff\xff\xff\xff" + len(body).to_bytes(8, "big") + body
    theirs.send(frame[:7])
    assert mailbox.received() == []
    theirs.send(frame[7:])
    assert mailbox.received() == ["huge"]
    mailbox.close()
    theirs.close()


def test_what_was_said_before_the_end_is_heard(
    ends: tuple[Mailbox, Connection[Any, Any]],
) -> None:
    mailbox, connection = ends
    connection.send("last words")
    connection.close()
    assert mailbox.received() == ["last words"]
    assert mailbox.received() == []
    assert mailbox.is_closed
    mailbox.send(LARGE)
    assert not mailbox.has_unsent


@pytest.mark.parametrize(
    "garbage", [b"\x00\x00\x00\x05hello", b"\xff\xff\xff\xff" + b"\xff" * 8, b"\xff" * 4096]
)
def test_bytes_that_are_no_value_break_it_and_nothing_else(garbage: bytes) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        mailbox = Mailbox(ours)
        theirs.sendall(garbage)
        assert mailbox.received() == []
        assert mailbox.is_broken
        theirs.sendall(garbage)
        assert mailbox.received() == []
        mailbox.close()
