"""Whose fault an answer is."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

import httpx2
import pytest

from kafka_etl.contracts import TAKEN, Again, Refused, Unreachable
from kafka_etl_connectors.http.verdict import Answer, Policy, of_answer, of_error, wait_of

NOW = datetime(2026, 11, 28, 12, 0, 0, tzinfo=UTC)
USUAL = Policy(frozenset(range(200, 300)), frozenset())


def verdict(status, *, policy=USUAL, deletes=False, body=b"", retry_after=None):
    return of_answer(Answer(status, retry_after, body), policy, NOW, deletes=deletes)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_these_acknowledge(status):
    assert verdict(status) is TAKEN


@pytest.mark.parametrize("status", [400, 413, 422])
def test_these_are_the_records_fault(status):
    found = verdict(status, body=b"bad id")
    assert isinstance(found, Refused)
    assert found.code == str(status)
    assert found.message.endswith("bad id")
    assert found.too_large == (status == 413)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 501, 502, 503, 504, 599])
def test_these_are_tried_again(status):
    found = verdict(status)
    assert isinstance(found, Again)
    # Only a server that says it is busy may be asked without an end.
    assert found.patient == (status in (429, 503))


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 405, 407, 410, 415, 418])
def test_these_somebody_has_to_mend(status):
    found = verdict(status, body=b"secret of a record")
    assert isinstance(found, Unreachable)
    assert found.mend
    assert str(status) in found.reason
    assert "secret" not in found.reason


def test_settings_say_more_about_statuses():
    policy = Policy(frozenset([200, 409]), frozenset([404, 500]))
    assert verdict(409, policy=policy) is TAKEN
    assert isinstance(verdict(404, policy=policy), Refused)
    assert isinstance(verdict(500, policy=policy), Refused)
    assert isinstance(verdict(202, policy=policy), Unreachable)


@pytest.mark.parametrize("status", [404, 410])
def test_what_is_gone_already_is_deleted(status):
    assert verdict(status, deletes=True) is TAKEN


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        (" 0 ", 0),
        ("86400", 300),
        ("9" * 400, 300),
        ("Sat, 28 Nov 2026 12:00:09 GMT", 9),
        ("Sat, 28 Nov 2026 12:00:09 -0000", 9),
        ("Sat, 28 Nov 2026 11:59:00 GMT", 0),
        ("Sun, 29 Nov 2026 12:00:00 GMT", 300),
        ("Sun, 29 Nov 99999999999 12:00:00 GMT", 0),
        ("-3", 0),
        ("1.5", 0),
        ("²", 0),
        ("soon", 0),
        ("", 0),
        (None, 0),
    ],
)
def test_retry_after(text, seconds):
    assert wait_of(text, NOW) == seconds


def test_a_busy_server_is_left_alone_for_as_long_as_it_says():
    assert verdict(429, retry_after="20") == Again(
        "the server answered 429 Too Many Requests", after=20, patient=True
    )
    assert verdict(503, retry_after="20").after == 20
    assert verdict(503).after == 0
    assert verdict(429).after == 1


def test_a_letter_shows_the_beginning_of_a_long_answer():
    found = verdict(400, body=b"x" * 50_000)
    assert len(found.message) < 2100


def test_an_answer_that_is_no_text_is_shown_as_far_as_it_can_be():
    assert "\ufffd" in verdict(400, body=b"\xff\xfe no").message


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ReadTimeout(""),
        httpx2.WriteTimeout(""),
        TimeoutError(),
        httpx2.ReadError(""),
        httpx2.WriteError(""),
        httpx2.RemoteProtocolError("Server disconnected without sending a response."),
        caused(httpx2.ReadError(""), ConnectionResetError("reset by peer")),
    ],
)
def test_silence_and_a_hang_up_are_the_records(error):
    found = of_error(error)
    assert isinstance(found, Again)
    assert not found.patient
    assert found.reason


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (httpx2.ConnectError("[Errno 111] Connection refused"), False),
        (httpx2.ConnectTimeout(""), False),
        (caused(httpx2.ConnectError(""), ssl.SSLEOFError("EOF")), False),
        (caused(httpx2.ConnectError(""), ssl.SSLCertVerificationError("self-signed")), True),
        (caused(httpx2.ReadError(""), ssl.SSLError(1, "[SSL: X] alert")), True),
        (ssl.SSLError(1, "[SSL: X] alert"), True),
        (httpx2.ProxyError("407 Proxy Authentication Required"), True),
    ],
)
def test_a_server_that_cannot_be_reached_is_no_records_fault(error, mend):
    found = of_error(error)
    assert isinstance(found, Unreachable)
    assert found.mend == mend
    assert found.reason
