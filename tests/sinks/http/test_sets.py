"""`mode: array` and `mode: lines`: a request for each set."""

from __future__ import annotations

import threading
import time

import pytest

from kafka_etl.contracts import TAKEN, Again, RowOrder, Unreachable
from kafka_etl_connectors.http.doors import SetRefused
from tests.kit.http_target import HANGS, Reply
from tests.kit.rows import rows_of


def test_an_array(sink, server):
    assert sink(mode="array").write(rows_of([b"a", b"b"], [b'{"n":1}', b"2"])) is TAKEN
    (request,) = server.requests
    assert request.body == b'[{"n":1},2]'
    assert request.headers["content-type"] == "application/json"


def test_lines(sink, server):
    assert sink(mode="lines").write(rows_of([b"a", b"b"], [b'{"n":1}', b"2"])) is TAKEN
    (request,) = server.requests
    assert request.body == b'{"n":1}\n2\n'
    assert request.headers["content-type"] == "application/x-ndjson"


def test_an_empty_set_is_no_request(sink, server):
    assert sink(mode="array").write(rows_of([])) is TAKEN
    assert server.requests == []


@pytest.mark.parametrize(("mode", "value"), [("array", b"{bad"), ("lines", b"1\n2")])
def test_a_value_that_would_break_the_set_costs_itself_alone(sink, server, mode, value):
    answer = sink(mode=mode).write(rows_of([b"a", b"b", b"c"], [b"1", value, b"3"]))
    assert {position: refused.code for position, refused in answer.items()} == {1: "EncodeError"}
    assert server.bodies == [{"array": b"[1,3]", "lines": b"1\n3\n"}[mode]]


def test_a_tombstone_is_refused_or_null(sink, server):
    assert sink(mode="array").write(rows_of([b"a"], [None]))[0].code == "Tombstone"
    assert server.requests == []
    assert sink(mode="array", tombstone="send").write(rows_of([b"a"], [None])) is TAKEN
    assert server.bodies == [b"[null]"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_set_names_no_row(sink, server, status):
    server.behaviour = lambda _request: Reply(status, body=b"secret of a record")
    writer = sink(mode="array")
    with pytest.raises(SetRefused) as raised:
        writer.write(rows_of([b"a", b"b"]))
    assert not isinstance(raised.value, Unreachable)
    assert "secret" not in str(raised.value)
    # A set of one names it; so does one whose others were refused before.
    answer = writer.write(rows_of([b"a"]))
    assert answer[0].code == str(status)
    assert "secret" in answer[0].message
    answer = writer.write(rows_of([b"a", b"b"], [None, b"1"]))
    assert (answer[0].code, answer[1].code) == ("Tombstone", str(status))


def test_a_busy_server_makes_the_whole_set_wait(sink, server):
    server.behaviour = lambda _request: Reply(503, headers={"Retry-After": "9"})
    answer = sink(mode="lines").write(rows_of([b"a", b"b"]))
    assert sorted(answer) == [0, 1]
    assert all(again.after == 9 and again.patient for again in answer.values())


def test_a_server_that_is_away_is_unreachable(sink, server):
    writer = sink(mode="array")
    server.stop()
    with pytest.raises(Unreachable):
        writer.write(rows_of([b"a"]))
    writer.close()
    server.start()
    writer.connect()
    assert writer.write(rows_of([b"a"])) is TAKEN


def test_a_timeout_is_an_again(sink, server):
    server.behaviour = lambda _request: HANGS
    answer = sink(mode="array", timeout="100ms").write(rows_of([b"a", b"b"]))
    assert set(answer.values()) == {Again("no answer within `timeout`")}


def test_interrupting_breaks_a_request_that_hangs(sink, server):
    server.behaviour = lambda _request: HANGS
    writer = sink(mode="array")

    def interrupt():
        while not server.requests:
            time.sleep(0.005)
        writer.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    answer = writer.write(rows_of([b"a", b"b"]))
    thread.join()
    assert [again.patient for again in answer.values()] == [True, True]
    server.behaviour = lambda _request: Reply()
    assert writer.write(rows_of([b"a"])) is TAKEN


def test_only_sets_that_do_no_harm_twice_are_halved(sink):
    assert not sink(mode="array").repeatable
    assert sink(mode="array", idempotent=True).repeatable
    assert sink(mode="array", atomic=True).repeatable


def test_limits_and_order_follow_the_settings(sink):
    writer = sink(mode="array", max_rows=7, max_bytes="2kB")
    assert (writer.limits.rows, writer.limits.bytes) == (7, 2000)
    assert writer.order is RowOrder.SET
    assert sink(mode="array", order="none").order is RowOrder.NONE
