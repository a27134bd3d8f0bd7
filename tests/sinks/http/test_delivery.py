"""The sink in the engine's hands: which rows become dead letters, and when the pipeline pauses."""

from __future__ import annotations

import json

import pytest

from kafka_etl.engine.sinks.connection import Connection
from kafka_etl.engine.sinks.delivery import Delivery
from kafka_etl.errors import SinkBlocked
from tests.kit.http_target import OK, Reply
from tests.kit.rows import rows_of

KEYS = [b"k%d" % (i % 5) for i in range(40)]


class Impatient(Connection):
    """Waits for nothing, and keeps what it would have waited for."""

    def __init__(self, door):
        super().__init__(door, lambda _reason: None)
        self.rests = []

    def rest(self, seconds, reason):
        self.rests.append((seconds, reason))


@pytest.fixture
def deliver(sink):
    def run(**settings):
        writer = sink(**settings)
        run.connection = Impatient(writer)
        return Delivery(writer, run.connection).deliver(rows_of(KEYS))

    return run


def refuses(bad):
    def behaviour(request):
        body = json.loads(request.body)
        found = bad in body if isinstance(body, list) else body == bad
        return Reply(422, body=b"no such customer") if found else OK

    return behaviour


def test_a_bad_record_costs_itself_alone(deliver, server):
    server.behaviour = refuses(17)
    assert {position: refused.code for position, refused in deliver().items()} == {17: "422"}
    assert sorted(map(int, server.bodies)) == sorted(set(range(40)) - {17})


@pytest.mark.parametrize("says", ["idempotent", "atomic"])
def test_a_bad_record_of_a_set_costs_itself_alone(deliver, server, says):
    server.behaviour = refuses(17)
    refused = deliver(mode="array", **{says: True})
    assert {position: verdict.code for position, verdict in refused.items()} == {17: "422"}
    taken = [row for body in server.bodies for row in json.loads(body)]
    assert sorted(taken) == sorted(set(range(40)) - {17}), "each of the others once, in order"


def test_a_refused_set_that_must_not_be_halved_pauses(deliver, server):
    server.behaviour = refuses(17)
    with pytest.raises(SinkBlocked, match="refuses a set of 40: 422"):
        deliver(mode="array")
    assert server.bodies == []


def test_sets_are_cut_as_the_settings_say(deliver, server):
    assert deliver(mode="lines", max_rows=15) == {}
    assert [body.count(b"\n") for body in server.bodies] == [15, 15, 10]


def test_a_busy_server_uses_up_no_try(deliver, server):
    server.behaviour = lambda request: (
        OK if request.number >= 20 else Reply(429, headers={"Retry-After": "7"})
    )
    assert deliver(concurrency=1) == {}
    assert {seconds for seconds, _ in deliver.connection.rests} == {7}
    assert "429" in deliver.connection.rests[0][1]


def test_a_record_that_makes_the_server_hang_up_becomes_a_letter(deliver, server):
    server.behaviour = lambda request: Reply(hang_up=True) if request.body == b"17" else OK
    (refused,) = deliver().items()
    assert refused[0] == 17
    assert "the connection broke" in refused[1].message
    for key in range(5):
        of_key = [int(body) for body in server.bodies if int(body) % 5 == key]
        assert of_key == sorted(set(range(key, 40, 5)) - {17})
