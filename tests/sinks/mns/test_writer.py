"""Rows become messages, and each answer of the service a verdict of the right row."""

from __future__ import annotations

import json
import threading
import time

import pytest
from mns.account import Account

from kafka_etl.contracts import TAKEN, Again, Refused, Rows, Unreachable
from kafka_etl.invocation import Outputs
from kafka_etl.testing import StoredRecord
from tests.kit.function_consumer import read
from tests.kit.mns import Fault, service


def rows_of(*values):
    sources = [
        StoredRecord(b"in%d" % i, b"k", [], timestamp_ms=5, topic="orders", partition=0, offset=i)
        for i in range(len(values))
    ]
    outputs = Outputs(values=list(values), keys=[b"k"] * len(values))
    return Rows(outputs, sources, lambda source: f"shop/t/0/0/{source.offset()}")


def numbers(count):
    return [b"%d" % i for i in range(count)]


def test_sixteen_rows_are_one_request(sink, mns):
    assert sink().write(rows_of(*numbers(16))) is TAKEN
    assert mns.requests == [16]
    assert mns.decoded() == numbers(16)


def test_more_rows_are_more_requests(sink, mns):
    assert sink().write(rows_of(*numbers(17))) is TAKEN
    assert mns.requests == [16, 1]


def test_a_request_never_exceeds_64_kib(sink, mns):
    values = [bytes([65 + i]) * 20_000 for i in range(5)]
    assert sink().write(rows_of(*values)) is TAKEN
    assert mns.requests == [2, 2, 1]
    assert mns.decoded() == values


def test_any_bytes_travel_in_base64(sink, mns):
    values = [b"\xff\x00", "é".encode(), b"<&>"]
    assert sink().write(rows_of(*values)) is TAKEN
    assert mns.decoded() == values


def test_text_travels_as_it_is(sink, mns):
    assert sink(encoding="text").write(rows_of("é<&>".encode(), b"a\nb")) is TAKEN
    assert mns.queues["orders"] == ["é<&>", "a\nb"]


@pytest.mark.parametrize("value", [b"\xff", b"a\x00b", "\ufffe".encode()])
def test_what_xml_cannot_hold_is_refused_unsent(sink, mns, value):
    verdicts = sink(encoding="text").write(rows_of(b"good", value))
    assert list(verdicts) == [1]
    assert verdicts[1].code == "NoText"
    assert mns.queues["orders"] == ["good"]


@pytest.mark.parametrize("value", [None, b""])
def test_a_value_without_bytes_is_refused_unsent(sink, mns, value):
    verdicts = sink().write(rows_of(b"good", value))
    assert isinstance(verdicts[1], Refused)
    assert mns.decoded() == [b"good"]


def test_the_largest_message_fits_and_one_byte_more_is_refused_unsent(sink, mns):
    writer = sink()
    most = writer.limits.row_bytes
    verdicts = writer.write(rows_of(b"a" * most, b"b" * (most + 1)))
    assert list(verdicts) == [1]
    assert verdicts[1].too_large
    assert mns.decoded() == [b"a" * most]


def test_a_message_of_a_batch_that_is_refused_costs_itself_alone(sink, mns):
    mns.faults = [Fault(messages={1: "InvalidArgument", 3: "InternalError"})]
    verdicts = sink().write(rows_of(*numbers(5)))
    assert isinstance(verdicts[1], Refused)
    assert isinstance(verdicts[3], Again)
    assert len(verdicts) == 2
    assert mns.decoded() == [b"0", b"2", b"4"]


def test_a_refused_batch_is_sent_message_by_message(sink, mns):
    mns.faults = [Fault(400, "MalformedXML"), Fault(), Fault(400, "MalformedXML"), Fault()]
    verdicts = sink().write(rows_of(*numbers(3)))
    assert list(verdicts) == [1]
    assert verdicts[1].code == "MalformedXML"
    assert mns.requests == [3, 1, 1, 1]
    assert mns.decoded() == [b"0", b"2"]


def test_too_many_requests_a_second_is_patience(sink, mns):
    mns.faults = [Fault(503, "QpsLimitExceeded")]
    writer = sink()
    verdicts = writer.write(rows_of(*numbers(3)))
    assert sorted(verdicts) == [0, 1, 2]
    assert all(isinstance(one, Again) and one.patient and one.after for one in verdicts.values())
    assert writer.write(rows_of(*numbers(3))) is TAKEN


def test_rows_behind_a_busy_answer_are_not_sent(sink, mns):
    mns.faults = [Fault(), Fault(503, "QpsLimitExceeded")]
    verdicts = sink().write(rows_of(*numbers(40)))
    assert sorted(verdicts) == list(range(16, 40))
    assert mns.requests == [16, 16]


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        (Fault(500, "InternalError"), False),
        (Fault(403, "AccessDenied"), True),
        (Fault(404, "QueueNotExist"), True),
        (Fault(cut=True), False),
    ],
)
def test_a_service_that_fails_is_nobodys_fault(sink, mns, fault, mend):
    mns.faults = [fault, fault]  # the client asks again when its connection is cut
    with pytest.raises(Unreachable) as raised:
        sink().write(rows_of(b"1", b"2"))
    assert raised.value.mend is mend


def test_what_was_taken_before_the_service_went_is_not_sent_again(sink, mns):
    mns.faults = [Fault(), Fault(500, "InternalError")]
    verdicts = sink().write(rows_of(*numbers(20)))
    assert sorted(verdicts) == [16, 17, 18, 19]
    assert all(isinstance(one, Again) and one.patient for one in verdicts.values())


def test_a_silent_service_is_given_up_after_the_timeout(sink, mns):
    mns.faults = [Fault(delay=1.0)]
    begin = time.monotonic()
    with pytest.raises(Unreachable):
        sink(timeout="200ms").write(rows_of(b"1"))
    assert time.monotonic() - begin < 0.9


def test_https_has_the_timeout_too(sink):
    writer = sink(endpoint="https://127.0.0.1:1", timeout="3s")
    assert writer._target._client.http.conn.timeout == 3


def test_an_interrupt_breaks_a_request(sink, mns):
    mns.faults = [Fault(delay=5.0)]
    writer = sink()
    timer = threading.Timer(0.2, writer.interrupt)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(Unreachable):
        writer.write(rows_of(b"1"))
    assert time.monotonic() - begin < 3
    assert mns.requests == [1]
    timer.join()


def test_a_service_that_comes_back_is_used_again(sink, mns):
    with service() as other:
        writer = sink(endpoint=other.url)
        port = other.port
        assert writer.write(rows_of(b"1")) is TAKEN
        writer.close()
    with pytest.raises(Unreachable):
        writer.write(rows_of(b"2"))
    with service(port) as again:
        writer.close()
        writer.connect()
        assert writer.write(rows_of(b"2")) is TAKEN
        assert again.decoded() == [b"2"]


def test_a_lost_answer_is_a_repeat_as_the_label_says(sink, mns, settings):
    mns.faults = [Fault(500, "InternalError", taken=True)]
    writer = sink()
    with pytest.raises(Unreachable):
        writer.write(rows_of(b"1"))
    assert writer.write(rows_of(b"1")) is TAKEN
    assert mns.decoded() == [b"1", b"1"]


def test_delay_and_priority_are_sent(sink, mns):
    assert sink(delay_seconds=7, priority=2).write(rows_of(b"1", b"2")) is TAKEN
    assert mns.settings == [("7", "2")] * 2


def test_a_topic_is_published_to_one_message_a_request(sink, mns):
    mns.faults = [Fault(), Fault(400, "InvalidArgument")]
    verdicts = sink(topic="news", encoding="text").write(rows_of(b"1", b"2", b"3"))
    assert list(verdicts) == [1]
    assert mns.topics["news"] == ["1", "3"]
    assert mns.requests == [1, 1, 1]


def test_an_envelope_is_read_by_a_consumer_of_function_messages(sink, mns):
    assert sink(format="envelope").write(rows_of(b'{"eur":1}', b"2")) is TAKEN
    first, second = map(read, mns.decoded())
    assert (first.response, second.response) == ('{"eur":1}', "2")
    assert first.elements[0].value == "in0"
    assert first.request_id == "shop/t/0/0/0/0"
    assert first.function == "etl:shop/to_eur@9f"
    assert not first.failed


def test_an_output_too_large_for_its_envelope_is_refused_unsent(sink, mns):
    verdicts = sink(format="envelope").write(rows_of(b"a" * 49_000, b"2"))
    assert list(verdicts) == [0]
    assert verdicts[0].too_large
    assert len(mns.decoded()) == 1


def test_a_tombstone_travels_in_an_envelope(sink, mns):
    assert sink(format="envelope").write(rows_of(None)) is TAKEN
    assert json.loads(mns.decoded()[0])["responsePayload"] is None


def test_the_client_prints_nothing(sink, mns, capfd):
    mns.faults = [Fault(500, "InternalError")]
    writer = sink()
    with pytest.raises(Unreachable):
        writer.write(rows_of(b"1"))
    writer.write(rows_of(b"1"))
    assert capfd.readouterr() == ("", "")


def test_the_client_itself_reads_what_was_sent(sink, mns):
    assert sink().write(rows_of(b'{"a":1}')) is TAKEN
    account = Account(mns.url, "key-id", "key-secret")
    queue = account.get_queue("orders")
    message = queue.receive_message()
    assert message.message_body == b'{"a":1}'
    queue.delete_message(message.receipt_handle)
    account.mns_client.close_connection()
    assert mns.decoded() == []
