"""Deliveries: what an owner sends outside, what a deliverer makes of it, and the words about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from kafka_etl.contracts import RowsRefused
from kafka_etl.engine.attempt.every_sink import EverySink
from kafka_etl.engine.rows.faults import Fault
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.engine.tasks.deliveries import Destinations, Letters, Outside
from kafka_etl.engine.tasks.delivery_sink import Deliverer
from kafka_etl.envelope import Encoded
from kafka_etl.invocation import Condition, DeadLetter, ErrorInfo, Failure, Outputs, Settlement
from kafka_etl.record import Partition, SourceRecord, headers_of
from kafka_etl.tasks import words as w
from kafka_etl.tasks.deliveries import (
    HEADER,
    Delivery,
    Receipts,
    decode_notice,
    delivery_of,
    encode_delivery,
)
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.policy import Policy
from kafka_etl.tasks.rows import Row, encode_rows
from kafka_etl.tasks.states import FINAL, State
from kafka_etl.testing import StoredRecord
from tests.unit.tasks.test_owner import Bench

TOPIC = "shop.deliveries.mns"
D0 = Partition(TOPIC, 0)
INPUT = TaskRecord("jobs", 0, 4, 5, b"k", b"in", [])
OUTSIDE = Destinations(
    letters=[Letters("failed", {State.FAILED})],
    outside=[Outside("mns", TOPIC, has_input=True), Outside("night", "shop.deliveries.night")],
)
POLICY = Policy(max_attempts=1, outside={State.FAILED: ("night",), State.STOPPED: ("night",)})


def bench(**more: Any) -> Bench:
    return Bench(POLICY, places=OUTSIDE, **more)


def run(of: Bench, task: str, rows: list[Row]) -> None:
    of.submit(task, b"in")
    of.turn()
    token = of.head(task).token
    of.run(task, w.Result(token=token, preview="ok"), encode_rows(rows))


def done(destination: str, number: int = 1) -> w.Delivered:
    return w.Delivered(destination=destination, generation=1, delivery=number)


def refused(destination: str, number: int = 1) -> w.Undeliverable:
    return w.Undeliverable(destination=destination, generation=1, delivery=number, why="403")


ROWS = [
    Row(TOPIC, b"k", b"1", [("h", b"x")]),
    Row("out", None, b"2", []),
    Row(TOPIC, None, b"3", []),
]


# The owner


def test_rows_go_outside_first_and_to_the_cluster_with_the_outcome() -> None:
    of = bench()
    run(of, "t1", ROWS)
    assert of.state("t1") is State.DELIVERING
    assert of.log.rows == []
    assert [(row.topic, row.key, row.value) for _, row in of.log.deliveries] == [
        (TOPIC, b"k", b"1"),
        (TOPIC, None, b"3"),
    ]
    first = delivery_of(of.log.deliveries[0][1].headers)
    assert (first.task, first.number, first.row, first.rows) == ("t1", 1, 0, 2)
    assert first.input.value == b"in"
    of.say("t1", done("mns"))
    of.turn()
    assert of.state("t1") is State.SUCCEEDED
    assert of.log.rows == [ROWS[1]]


def test_a_result_without_rows_for_outside_is_final_at_once() -> None:
    of = bench()
    run(of, "t1", [])
    assert of.state("t1") is State.SUCCEEDED
    assert of.log.deliveries == []


def test_a_new_owner_finds_the_rows_in_the_inbox() -> None:
    of = bench()
    run(of, "t1", ROWS)
    after = bench(log=of.log)
    after.say("t1", done("mns"))
    after.turn()
    assert of.log.rows == [ROWS[1]]


def test_a_refused_result_is_a_letter_and_is_sent_again_by_order() -> None:
    of = bench()
    run(of, "t1", ROWS)
    of.say("t1", refused("mns"))
    of.turn()
    assert (of.state("t1"), of.head("t1").outcome) == (State.DELIVERING, State.FAILED)
    of.say("t1", done("night", 2))
    of.turn()
    assert of.state("t1") is State.FAILED
    assert [letter.failure.condition for letter in of.log.letters] == [Condition.REFUSED]
    assert of.counters.snapshot()["tasks_undelivered", "mns"] == 1
    of.log.deliveries.clear()
    of.say("t1", w.Retry(word="r", expect=1, deliver=True))
    of.turn()
    assert [delivery_of(row.headers).number for _, row in of.log.deliveries] == [3, 3]
    of.say("t1", done("mns", 3))
    of.turn()
    assert of.state("t1") is State.SUCCEEDED


def test_a_failure_is_a_notice_outside_with_the_input_and_the_condition() -> None:
    of = bench()
    of.submit("t1", b"in")
    of.turn()
    of.run("t1", w.Ended(token=of.head("t1").token, why="permanent"))
    ((number, row),) = of.log.deliveries
    notice = decode_notice(row.value or b"")
    assert (number, row.topic) == (0, "shop.deliveries.night")
    assert (notice.input.value, notice.failure.condition) == (b"in", Condition.OPERATOR_ERROR)
    assert of.log.letters == []
    of.say("t1", done("night"))
    of.turn()
    assert len(of.log.letters) == 1


def test_only_the_outcomes_that_are_named_are_told() -> None:
    of = bench(slots=1)
    of.submit("t1")
    of.submit("t2")
    of.turn()
    of.say("t2", w.Stop(word="s", by="me"))
    of.turn()
    of.say("t2", done("night"))
    of.turn()
    assert of.state("t2") is State.STOPPED
    assert of.log.letters == []  # the topic hears of Failed alone


def test_an_input_too_large_for_the_way_is_left_out() -> None:
    of = bench()
    of.submit("t1", b"x" * 950_000)
    of.turn()
    of.run("t1", w.Result(token=of.head("t1").token), encode_rows(ROWS))
    assert [delivery_of(row.headers).input.value for _, row in of.log.deliveries] == [None, None]


def test_a_destination_that_the_file_has_no_more_is_not_waited_for() -> None:
    of = bench()
    run(of, "t1", ROWS)
    after = Bench(POLICY, log=of.log)
    after.turn()
    assert after.head("t1").error is not None
    assert "no more" in after.head("t1").error.message


def test_a_record_too_large_for_the_way_fails_its_task_alone() -> None:
    of = bench()
    of.log.refuses = lambda entry: any(row.value == b"1" for _, row in entry.deliveries)
    run(of, "t1", ROWS)
    head = of.head("t1")
    assert (head.state, head.outcome) == (State.DELIVERING, State.FAILED)
    of.say("t1", done("night", 2))
    of.turn()
    head = of.head("t1")
    assert head.error is not None
    assert (head.state, head.error.type) == (State.FAILED, "SinkFailed")
    assert of.log.rows == []


def test_what_a_topic_of_the_cluster_has_refused_is_written_again_by_order() -> None:
    of = Bench(POLICY, places=Destinations([Letters("", FINAL)]))
    of.log.refuses = lambda entry: bool(entry.rows)
    run(of, "t1", [ROWS[1]])
    of.say("t1", done("night"))
    of.turn()
    assert of.head("t1").error is not None
    of.log.refuses = lambda _entry: False
    of.say("t1", w.Retry(word="r", expect=1, deliver=True))
    of.turn()
    assert of.state("t1") is State.SUCCEEDED
    assert of.log.rows == [ROWS[1]]


# The deliverer


def on_the_way(offset: int, row: int = 0, rows: int = 1, value: bytes = b"v") -> StoredRecord:
    delivery = Delivery("t1", 2, 7, "mns", row, rows, INPUT)
    headers = [("own", b"h"), (HEADER, encode_delivery(delivery))]
    return StoredRecord(value, b"key", headers, topic=TOPIC, partition=0, offset=offset)


def letter(record: SourceRecord) -> DeadLetter:
    return DeadLetter(record, Failure(0, Condition.REFUSED, ErrorInfo("403", "no")), "i", 1)


def noted(*records: StoredRecord) -> Receipts:
    receipts = Receipts()
    for record in records:
        receipts.note(record)
    return receipts


DONE = (0, "t1", w.Delivered(destination="mns", generation=2, delivery=7))


def test_a_task_has_arrived_with_its_last_row() -> None:
    receipts = noted(on_the_way(0, 0, 2), on_the_way(1, 1, 2))
    assert receipts.words({D0: 1}, ()) == []
    receipts.said({D0: 1})
    assert receipts.words({D0: 2}, ()) == [DONE]
    assert receipts.words({D0: 2}, ()) == [DONE]  # the commit had failed
    receipts.said({D0: 2})
    assert receipts.words({D0: 3}, ()) == []


def test_a_refusal_is_said_before_the_rest() -> None:
    bad, good = on_the_way(0), on_the_way(1)
    ((_, task, word), after, other) = noted(bad, good).words({D0: 2}, [letter(bad)])
    assert task == "t1"
    assert word == w.Undeliverable(destination="mns", generation=2, delivery=7, why="403: no")
    assert (after, other) == (DONE, DONE)  # of no effect by then


def test_a_sink_sees_no_header_of_ours_and_the_name_of_the_task() -> None:
    record = on_the_way(3)
    outputs = Outputs([b"v"], [b"key"], [headers_of(record)])
    settlement = Settlement(outputs, (), {D0: 4}, records=[record])
    deliverer = Deliverer("shop", Receipts(), None)
    assert deliverer.prepared(settlement).outputs.headers == [[("own", b"h")]]
    assert deliverer.identify(record) == "shop/t1/2"
    assert deliverer.identify(on_the_way(3, 1, 4)) == "shop/t1/2/1"


def test_what_is_no_notice_is_refused_alone() -> None:
    settlement = Settlement(Outputs([b"v"], [None]), (), {D0: 4}, records=[on_the_way(3)])
    encode: Callable[[DeadLetter], Encoded] = lambda _letter: Encoded(None, b"", [])  # noqa: E731
    with pytest.raises(RowsRefused) as refusal:
        Deliverer("shop", Receipts(), encode).prepared(settlement)
    assert list(refusal.value.rows) == [0]


# The attempt


class Stage:
    """Encodes values with a prefix; fails for one value."""

    def __init__(self, prefix: bytes, bad: bytes = b"") -> None:
        self._prefix, self._bad = prefix, bad

    def apply(self, flow: Flow) -> Outputs:
        values: Iterable[bytes] = flow.values
        for entry, value in enumerate(values):
            if value == self._bad:
                flow.fail(entry, Fault(ValueError("no"), Condition.ENCODE_ERROR, "sink"))
        flow.values = [self._prefix + value for value in values]
        return Outputs(flow.values, [None] * len(flow.values))


def test_each_sink_encodes_every_result_in_its_own_way() -> None:
    flow = Flow([on_the_way(0), on_the_way(1)], [b"x", b"bad"])
    outputs = EverySink([("a", Stage(b"1")), ("b", Stage(b"2", b"bad"))]).apply(flow)
    assert outputs.values == [b"1x", b"2x"]
    assert outputs.topics == ["a", "b"]
    assert outputs.origins == [0, 0]
    assert list(flow.faults) == [1]
    assert replace(flow).values == [b"x", b"bad"]
