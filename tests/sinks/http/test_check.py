"""Preflight: what is wrong is said, and a server that is away is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kafka_etl.contracts import Unreachable
from kafka_etl.errors import ExtraMissing, SinkFailed
from kafka_etl_connectors.http import SINK, exchange
from tests.kit.http_target import HANGS, Reply

HEALTH = {"check": {"path": "/health"}}


@pytest.fixture
def check(server, deployment):
    def run(**given):
        settings = SINK.settings.model_validate({"url": f"{server.url}/in", **given})
        return SINK.check(settings, deployment)

    return run


def test_nothing_is_requested_unless_asked_for(check, server):
    assert check().notes == ()
    assert server.requests == []


def test_the_request_of_check_is_made_once_with_the_login(check, server):
    assert check(**HEALTH, auth={"bearer": "t"}, success=[202]).notes == ()
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/health")
    assert request.headers["authorization"] == "Bearer t"


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405])
def test_a_server_that_refuses_the_request_stops_the_start(check, server, status):
    server.behaviour = lambda _request: Reply(status)
    with pytest.raises(SinkFailed, match=f"GET {server.url}/health.*{status}"):
        check(**HEALTH)


@pytest.mark.parametrize("reply", [Reply(500), Reply(429), Reply(hang_up=True), HANGS])
def test_a_server_that_cannot_answer_now_is_a_note(check, server, reply):
    server.behaviour = lambda _request: reply
    (note,) = check(**HEALTH, timeout="100ms").notes
    assert "/health" in note


@pytest.mark.parametrize("given", [{}, HEALTH], ids=["no request", "request"])
def test_a_server_that_is_away_is_a_note(check, server, given):
    server.stop()
    (note,) = check(**given).notes
    assert "records wait until it" in note


@pytest.mark.parametrize("given", [{}, HEALTH], ids=["no request", "request"])
def test_a_check_that_only_looks_does_not_pass_a_server_that_is_away(server, deployment, given):
    settings = SINK.settings.model_validate({"url": f"{server.url}/in", **given})
    looking = replace(deployment, looks_only=True)
    assert SINK.check(settings, looking).notes == ()
    server.stop()
    with pytest.raises(Unreachable):
        SINK.check(settings, looking)


def test_a_host_without_an_address_is_a_note(check):
    (note,) = check(url="http://nowhere.invalid/in").notes
    assert "nowhere.invalid cannot be reached now" in note


def test_tls_problems_are_notes(check, server, monkeypatch):
    monkeypatch.setattr(exchange, "_KNOCK", 0.2)
    notes = check(url=server.url.replace("http", "https"), tls={"verify": False}).notes
    assert any("anybody can be the server" in note for note in notes)
    assert any("cannot be reached now" in note for note in notes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "https://127.0.0.1:1", "tls": {"ca": "none.pem"}}, "none.pem cannot be used"),
        ({"auth": {"bearer": {"file": "token"}}}, "token cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start(check, given, said):
    with pytest.raises(SinkFailed, match=said):
        check(**given)


def test_a_missing_client_names_the_extra(check, monkeypatch):
    monkeypatch.setattr("kafka_etl.extras.find_spec", lambda _name: None)
    with pytest.raises(ExtraMissing, match="httpx2"):
        check()
