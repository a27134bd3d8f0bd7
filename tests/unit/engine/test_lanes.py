"""`Lanes`: a sender driven as a writer, with order per key and at most `concurrency` at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict

import pytest

from kafka_etl.contracts import TAKEN, Again, Refused, RowOrder, Sender, Unreachable
from kafka_etl.engine.sinks import lanes as module
from kafka_etl.engine.sinks.lanes import Lanes
from tests.kit.rows import rows_of


def rows(*keys):
    return rows_of(keys)


class Scripted(Sender):
    """Answers each row, by its position, as the script says; anything else is taken."""

    def __init__(self, script=None, *, concurrency=16, ordered=True, delay=0.0):
        self.script = script or {}
        self.concurrency, self.ordered, self.delay = concurrency, ordered, delay
        self.begun, self.done, self.most, self.loops = [], [], 0, set()
        self.on_its_way = 0
        self.connected, self.closed = 0, 0
        self.per_key = defaultdict(int)

    async def connect_async(self):
        self.connected += 1
        self.loops.add(id(asyncio.get_running_loop()))

    async def close_async(self):
        self.closed += 1
        self.loops.add(id(asyncio.get_running_loop()))

    async def send(self, row):
        self.loops.add(id(asyncio.get_running_loop()))
        self.begun.append(row.position)
        self.on_its_way += 1
        self.most = max(self.most, self.on_its_way)
        if row.key is not None:
            self.per_key[row.key] += 1
            assert self.per_key[row.key] == 1 or not self.ordered, "two rows of a key at once"
        try:
            await asyncio.sleep(self.delay)
            answer = self.script.get(row.position, TAKEN)
            answer = await answer(row) if callable(answer) else answer
        finally:
            self.on_its_way -= 1
            if row.key is not None:
                self.per_key[row.key] -= 1
        if isinstance(answer, BaseException):
            raise answer
        self.done.append(row.position)
        return answer


async def never(_row):
    await asyncio.sleep(60)


@pytest.fixture
def open_lanes():
    opened = []

    def make(sender):
        lanes = Lanes(sender)
        lanes.connect()
        opened.append(lanes)
        return lanes

    yield make
    for lanes in opened:
        lanes.close()


def test_a_set_that_is_taken_is_acknowledged_as_a_whole(open_lanes):
    sender = Scripted()
    assert open_lanes(sender).write(rows(b"a", None, b"b")) is TAKEN
    assert sorted(sender.done) == [0, 1, 2]


def test_an_empty_set_is_taken(open_lanes):
    assert open_lanes(Scripted()).write(rows()) is TAKEN


def test_rows_of_one_key_are_sent_one_after_the_other(open_lanes):
    sender = Scripted(concurrency=64, delay=0.001)
    keys = [b"k%d" % (i * 7 % 5) for i in range(60)]
    assert open_lanes(sender).write(rows(*keys)) is TAKEN
    for key in set(keys):
        of_key = [i for i in sender.done if keys[i] == key]
        assert of_key == sorted(of_key)
    assert sender.most == 5


def test_no_more_rows_are_on_their_way_than_concurrency_says(open_lanes):
    sender = Scripted(concurrency=3, delay=0.001)
    open_lanes(sender).write(rows(*[None] * 20))
    assert sender.most == 3


def test_rows_without_a_key_do_not_wait_for_each_other(open_lanes):
    sender = Scripted(concurrency=8, delay=0.01)
    open_lanes(sender).write(rows(*[None] * 8))
    assert sender.most == 8


def test_an_unordered_sender_sends_rows_of_a_key_at_once(open_lanes):
    sender = Scripted(concurrency=4, ordered=False, delay=0.01)
    lanes = open_lanes(sender)
    lanes.write(rows(*[b"k"] * 4))
    assert (sender.most, lanes.order) == (4, RowOrder.NONE)


def test_after_again_the_later_rows_of_the_key_wait_unsent(open_lanes):
    busy = Again("busy")
    sender = Scripted({1: busy})
    answer = open_lanes(sender).write(rows(b"a", b"a", b"b", b"a", b"a", b"b"))
    assert sorted(answer) == [1, 3, 4]
    assert answer[1] is busy
    # They were not tried: no try of theirs may be counted.
    assert answer[3] == answer[4] == Again("busy", patient=True)
    assert sorted(sender.begun) == [0, 1, 2, 5]


def test_after_a_refusal_the_later_rows_of_the_key_are_sent(open_lanes):
    refused = Refused("400", "no")
    sender = Scripted({0: refused})
    assert open_lanes(sender).write(rows(b"a", b"a")) == {0: refused}
    assert sender.done == [0, 1]


def test_a_target_that_asks_to_be_left_alone_is_sent_no_further_row(open_lanes):
    sender = Scripted({2: Again("429", after=7, patient=True)}, concurrency=1)
    answer = open_lanes(sender).write(rows(*[None] * 6))
    assert sorted(answer) == [2, 3, 4, 5]
    assert set(answer.values()) == {Again("429", after=7, patient=True)}
    assert sender.begun == [0, 1, 2]


def test_an_unreachable_target_is_raised_where_no_row_was_answered(open_lanes):
    sender = Scripted({0: Unreachable("away", mend=True)}, concurrency=1)
    with pytest.raises(Unreachable, match="away") as raised:
        open_lanes(sender).write(rows(None, None, None))
    assert raised.value.mend
    assert sender.begun == [0]


def test_rows_acknowledged_before_the_target_left_are_not_sent_again(open_lanes):
    sender = Scripted({1: Unreachable("away")}, concurrency=1)
    answer = open_lanes(sender).write(rows(None, None, None))
    assert answer == {1: Again("away", patient=True), 2: Again("away", patient=True)}


def test_a_row_that_breaks_the_target_keeps_its_own_answer(open_lanes):
    """Else a row that takes the target down with it would never use up its tries."""
    sender = Scripted({0: ConnectionResetError("reset"), 1: Unreachable("away")}, concurrency=1)
    answer = open_lanes(sender).write(rows(None, None))
    assert not answer[0].patient
    assert answer[1].patient


def test_rows_on_their_way_are_still_answered_when_another_finds_the_target_away(open_lanes):
    async def late(_row):
        await asyncio.sleep(0.05)
        return TAKEN

    sender = Scripted({0: late, 1: Unreachable("away")}, concurrency=2)
    answer = open_lanes(sender).write(rows(None, None, None))
    assert answer == {1: Again("away", patient=True), 2: Again("away", patient=True)}


def test_rows_on_their_way_to_a_target_that_is_away_are_not_waited_for_for_ever(
    open_lanes, monkeypatch
):
    monkeypatch.setattr(module, "_GRACE", 0.05)
    sender = Scripted({0: never, 1: Unreachable("away")}, concurrency=2)
    with pytest.raises(Unreachable, match="away"):
        open_lanes(sender).write(rows(None, None))


def test_an_exception_is_the_rows_again_and_names_the_error(open_lanes):
    sender = Scripted({1: KeyError("id")})
    answer = open_lanes(sender).write(rows(b"a", b"a", b"a", b"b"))
    assert answer[1] == Again("KeyError: 'id'")
    assert sorted(answer) == [1, 2]


def test_a_cancellation_by_the_sender_itself_is_an_again(open_lanes):
    answer = open_lanes(Scripted({0: asyncio.CancelledError()})).write(rows(None, None))
    assert list(answer) == [0]
    assert not answer[0].patient


@pytest.mark.parametrize("forgotten", [None, True, "TAKEN", {}])
def test_a_forgotten_return_acknowledges_nothing(open_lanes, forgotten):
    lanes = open_lanes(Scripted({1: forgotten, 0: never}, concurrency=2))
    with pytest.raises(TypeError, match=r"Scripted\.send returned"):
        lanes.write(rows(None, None, None))


def test_an_interrupt_from_another_thread_breaks_the_call(open_lanes):
    sender = Scripted({1: never, 2: never}, concurrency=3)
    lanes = open_lanes(sender)

    def interrupt():
        while len(sender.begun) < 3:
            time.sleep(0.001)
        lanes.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    answer = lanes.write(rows(b"a", b"b", b"c", b"b"))
    thread.join()
    assert sorted(answer) == [1, 2, 3]
    assert all(again.patient for again in answer.values())
    assert lanes.write(rows(b"a")) is TAKEN, "the next call is not broken"


def test_an_interrupt_between_calls_does_nothing(open_lanes):
    lanes = open_lanes(Scripted())
    lanes.interrupt()
    assert lanes.write(rows(b"a")) is TAKEN


def test_an_interrupt_breaks_connecting():
    class Slow(Scripted):
        async def connect_async(self):
            started.set()
            await asyncio.sleep(60)

    started = threading.Event()
    lanes = Lanes(Slow())
    thread = threading.Thread(target=lambda: (started.wait(), lanes.interrupt()))
    thread.start()
    with pytest.raises(Unreachable):
        lanes.connect()
    thread.join()
    lanes.close()


def test_calls_share_one_event_loop_until_close():
    sender = Scripted()
    lanes = Lanes(sender)
    lanes.connect()
    lanes.write(rows(None))
    lanes.write(rows(None))
    lanes.close()
    assert len(sender.loops) == 1
    lanes.connect()
    assert lanes.write(rows(None)) is TAKEN
    lanes.close()
    assert (sender.connected, sender.closed) == (2, 2)


def test_a_connection_that_cannot_be_closed_does_not_keep_the_next_from_being_made():
    class Stuck(Scripted):
        async def close_async(self):
            raise OSError("stuck")

    lanes = Lanes(Stuck())
    lanes.connect()
    lanes.close()
    lanes.close()
    lanes.connect()
    assert lanes.write(rows(None)) is TAKEN
    lanes.close()


def test_connecting_again_after_it_failed():
    class Away(Scripted):
        async def connect_async(self):
            await super().connect_async()
            if self.connected == 1:
                raise Unreachable("away")

    lanes = Lanes(Away())
    with pytest.raises(Unreachable):
        lanes.connect()
    lanes.close()
    lanes.connect()
    assert lanes.write(rows(None)) is TAKEN
    lanes.close()


def test_writing_without_connecting_is_an_error():
    with pytest.raises(RuntimeError, match="before `connect`"):
        Lanes(Scripted()).write(rows(None))
