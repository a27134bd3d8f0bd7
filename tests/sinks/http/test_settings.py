"""Settings that fit together, secrets that stay secret, and the promise they make."""

from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from kafka_etl.contracts import Guarantee
from kafka_etl_connectors.http import SINK


def load(**given):
    return SINK.settings.model_validate({"url": "https://h/p", **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "ftp://h"}, "http:// or https://"),
        ({"url": "https://"}, "a host"),
        ({"url": "https://u:pw-7@h/"}, "holds a user"),
        ({"url": "https://h/?token=pw-7"}, "holds a query"),
        ({"url": "https://h:99999/"}, "address"),
        ({"url": "https://h/ä"}, "plain ASCII"),
        ({"headers": {"X\r\nY": "1"}}, "not the name"),
        ({"headers": {"X": "pw-7\r\nY: 1"}}, "on one line"),
        ({"headers": {"X": "pw-7ä"}}, "plain ASCII"),
        ({"headers": {"content-length": "1"}}, "the client's own"),
        ({"headers": {"content-type": "a/b"}}, "content_type"),
        ({"headers": {"X": "1", "x": "2"}}, "set twice"),
        ({"headers": {"authorization": "1"}, "auth": {"bearer": "t"}}, "set twice"),
        ({"headers": {"idempotency-key": "1"}, "idempotent": True}, "set twice"),
        ({"content_type": "a\r\nb"}, "pattern"),
        ({"key_header": "a b"}, "not the name"),
        ({"auth": {}}, "one of them"),
        ({"auth": {"bearer": "t", "basic": {"user": "u", "password": "pw-7"}}}, "one of them"),
        ({"auth": {"basic": {"user": "a:b", "password": "pw-7"}}}, "pattern"),
        ({"auth": {"bearer": "pw-7\n"}}, "line break"),
        ({"tls": {"key": "k"}}, "without `cert`"),
        ({"tls": {"ca": "c", "verify": False}}, "verify: false"),
        ({"url": "http://h", "tls": {"verify": False}}, "begin with https"),
        ({"path": "value.id"}, "cannot look at `value`"),
        ({"tombstone": "delete"}, "needs `path`"),
        ({"mode": "array", "path": "key"}, "`mode: record` only"),
        ({"mode": "array", "concurrency": 4}, "`mode: record` only"),
        ({"mode": "lines", "key_header": "k"}, "`mode: record` only"),
        ({"mode": "lines", "tombstone": "delete"}, "`mode: record` only"),
        ({"max_rows": 4}, "`mode: array`"),
        ({"atomic": True}, "`mode: array`"),
        ({"success": "9xx"}, "a class, such as 2xx"),
        ({"success": [200, 700]}, "a status"),
        ({"refuse": [200]}, "the same status"),
        ({"timeout": 0}, "greater than 0"),
        ({"method": "GET"}, "PATCH"),
        ({"check": {"path": "health"}}, "pattern"),
    ],
)
def test_what_does_not_fit_is_said(given, said):
    with pytest.raises(ValidationError) as raised:
        load(**given)
    assert said in str(raised.value)
    assert all("pw-7" not in error["msg"] for error in raised.value.errors())


def test_secrets_are_shown_nowhere():
    settings = load(
        query={"token": "pw-7"},
        headers={"X-Api-Key": "pw-7"},
        auth={"basic": {"user": "u", "password": "pw-7"}},
        tls={"cert": "c", "key_password": "pw-7"},
    )
    assert "pw-7" not in repr(settings)
    assert "pw-7" not in str(settings)
    assert "pw-7" not in settings.model_dump_json()
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "application/json"),
        ({"value": "json"}, "application/json"),
        ({"value": "bytes"}, "application/octet-stream"),
        ({"value": "text"}, "text/plain; charset=utf-8"),
        ({"mode": "array"}, "application/json"),
        ({"mode": "lines"}, "application/x-ndjson"),
        ({"mode": "lines", "content_type": "text/x"}, "text/x"),
    ],
)
def test_content_type(given, wanted):
    assert load(**given).body_type == wanted


@pytest.mark.parametrize("written", ["2xx", ["2xx"], [*range(200, 300)]])
def test_statuses_may_be_written_as_classes(written):
    assert load(success=written).success == frozenset(range(200, 300))


@pytest.mark.parametrize("mode", ["record", "array", "lines"])
def test_only_a_server_that_recognises_records_makes_it_effectively_once(mode):
    assert SINK.label(load(mode=mode)).guarantee is Guarantee.AT_LEAST_ONCE
    label = SINK.label(load(mode=mode, idempotent=True))
    assert label.guarantee is Guarantee.EFFECTIVELY_ONCE
    assert "must" in label.because
