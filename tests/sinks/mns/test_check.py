"""Preflight, settings, label, and the meaning of the service's errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from kafka_etl.contracts import Again, Guarantee, Refused, Unreachable
from kafka_etl.errors import ExtraMissing, SinkFailed
from kafka_etl_connectors.mns import SINK
from kafka_etl_connectors.mns.verdict import verdict


@pytest.mark.parametrize("target", [{"queue": "orders"}, {"topic": "news"}])
def test_a_target_that_exists_passes(settings, deployment, target):
    assert SINK.check(settings(**target), deployment).notes == ()


@pytest.mark.parametrize(
    ("wrong", "said", "next_step"),
    [
        ({"queue": "nobody"}, "queue nobody.*QueueNotExist", "Create it"),
        ({"topic": "nobody"}, "topic nobody.*TopicNotExist", "Create it"),
        ({"access_key_secret": "wrong"}, "SignatureDoesNotMatch", "access_key_secret"),
        ({"access_key_id": "wrong"}, "InvalidAccessKeyId", "access_key_id"),
    ],
)
def test_what_a_user_must_mend_stops_the_start(settings, deployment, wrong, said, next_step):
    with pytest.raises(SinkFailed, match=said) as raised:
        SINK.check(settings(**wrong), deployment)
    assert next_step in raised.value.next_step
    assert "wrong" not in str(raised.value) or "access_key_secret" not in wrong


def test_a_right_that_is_missing_is_named(settings, deployment, mns):
    mns.denied = True
    with pytest.raises(SinkFailed, match="AccessDenied") as raised:
        SINK.check(settings(), deployment)
    assert "mns:SendMessage" in raised.value.next_step


def test_a_service_that_is_away_is_a_note(settings, deployment):
    found = SINK.check(settings(endpoint="http://127.0.0.1:1"), deployment)
    (note,) = found.notes
    assert "queue orders" in note
    assert "wait" in note
    with pytest.raises(Unreachable):
        SINK.check(settings(endpoint="http://127.0.0.1:1"), replace(deployment, looks_only=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "mns.aliyuncs.com"},
        {"endpoint": "https://a/queues/x"},
        {"endpoint": "https://user:pw@a"},
        {"queue": "a", "topic": "b"},
        {"queue": None},
        {"queue": "a/b"},
        {"topic": "news", "priority": 3},
        {"priority": 17},
        {"format": "raw"},
        {"access_key_id": ""},
        {"timeout": 0},
    ],
)
def test_wrong_settings_are_refused(settings, wrong):
    with pytest.raises(ValidationError):
        settings(**wrong)


def test_no_secret_is_shown(settings):
    token = {"security_token": "tok-en"}
    shown = repr(settings(**token))
    assert "key-secret" not in shown
    assert "tok-en" not in shown


def test_the_label_says_why(settings):
    label = SINK.label(settings())
    assert label.guarantee is Guarantee.AT_LEAST_ONCE
    assert "does not recognise a repeat" in label.because
    assert "requestId" in SINK.label(settings(format="envelope")).because


def test_a_missing_client_is_named(settings, deployment, monkeypatch):
    monkeypatch.setattr("kafka_etl.extras.find_spec", lambda _: None)
    for call in (SINK.build, SINK.check):
        with pytest.raises(ExtraMissing) as raised:
            call(settings(), deployment)
        assert "pip install 'kafka-etl[mns]'" in raised.value.next_step


ANSWERS = {
    "row": ["MalformedXML", "InvalidArgument", "MessageTooLarge", "EntityTooLarge"],
    "again": ["QpsLimitExceeded"],
    "target": ["InternalError", "RequestTimeout", "TimeOut", "NobodyKnowsThis"],
    "mend": [
        *("QueueNotExist", "TopicNotExist", "AccessDenied", "SignatureDoesNotMatch"),
        *("InvalidAccessKeyId", "TimeExpired", "InvalidSecurityToken"),
    ],
}


@pytest.mark.parametrize(
    ("whose", "code"), [(whose, code) for whose, codes in ANSWERS.items() for code in codes]
)
def test_each_error_is_of_the_row_or_of_the_target(whose, code):
    match verdict(code, "said the service"):
        case Refused(code=told, message="said the service", too_large=too_large):
            assert (whose, told) == ("row", code)
            assert too_large is code.endswith("TooLarge")
        case Again(patient=True):
            assert whose == "again"
        case Unreachable() as away:
            assert whose == ("mend" if away.mend else "target")
        case strange:
            pytest.fail(f"{strange}")
