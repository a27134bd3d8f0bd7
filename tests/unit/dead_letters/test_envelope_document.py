"""Dead letters and successes as documents: old consumers read them, cuts are listed."""

from __future__ import annotations

import hashlib
import json

import pytest

from kafka_etl.dead_letters import Place
from kafka_etl.dead_letters.document import decode_envelope
from kafka_etl.envelope import (
    OutputTooLarge,
    Provenance,
    encode_failure,
    encode_letter,
    encode_success,
)
from kafka_etl.envelope.document import schema
from kafka_etl.invocation import Attempt, Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.testing import StoredRecord
from tests.kit.function_consumer import read

jsonschema_rs = pytest.importorskip("jsonschema_rs")

ABOUT = Provenance(
    "shop",
    "c0ffee",
    "shop-group",
    "kafka-etl.shop.a.0",
    "here",
    17,
    "1.2",
    "3.11",
    {"to_eur": "9f"},
)
PLENTY = 10_000_000
ERROR = ErrorInfo("shop.NoRate", "no rate", '  File "ops.py", line 3, in f', ("KeyError: 'XAU'",))
ATTEMPTS = tuple(Attempt(n, n * 100, n * 100 + 50, "shop.NoRate: no rate") for n in (1, 2, 3))


def stored(value=b'{"id":1}', key=b"k1", headers=None, offset=42):
    return StoredRecord(
        value, key, headers, timestamp_ms=1_700, topic="orders", partition=3, offset=offset
    )


def letter(
    record=None,
    condition=Condition.OPERATOR_ERROR,
    error=ERROR,
    attempts=ATTEMPTS,
    operator="to_eur",
    **more,
):
    failure = Failure(0, condition, error, operator, attempts)
    return DeadLetter(record or stored(), failure, "orders[3]@42+1", at_ms=1_800, **more)


def document(dead, limit=PLENTY, claim=None):
    data = encode_failure(dead, ABOUT, limit, claim)
    assert len(data) <= limit
    return checked(data)


def checked(data):
    found = json.loads(data)
    rules = json.loads(schema())
    jsonschema_rs.validator_for(rules).validate(found)
    each = jsonschema_rs.validator_for(
        {"type": "array", "items": {"$ref": "#/$defs/record"}, "$defs": rules["$defs"]}
    )
    each.validate(json.loads(found["requestPayload"]))
    return found


def success(record, output, limit=PLENTY, claim=None):
    return encode_success(
        record, output, ABOUT, limit, request_id="shop/t/0/3/42/0", at_ms=9, claim=claim
    )


def test_a_consumer_of_function_messages_reads_a_dead_letter():
    message = read(encode_failure(letter(), ABOUT, PLENTY))
    assert (message.timestamp, message.request_id) == (1_800, "orders/3/42")
    assert message.function == "etl:shop/to_eur@9f"
    assert (message.condition, message.invocations) == ("OperatorError", 3)
    (element,) = message.elements
    assert (element.topic, element.partition, element.offset) == ("orders", 3, 42)
    assert (element.key, element.value, element.size) == ("k1", '{"id":1}', 8)
    assert (element.timestamp, element.overflow) == (1_700, False)
    assert (message.status, message.function_error) == (200, "UnhandledInvocationError")
    assert message.response == "shop.NoRate: no rate"
    assert message.failed


def test_a_consumer_of_function_messages_reads_a_success():
    message = read(success(stored(), b'{"eur":2}'))
    assert not message.failed
    assert message.response == '{"eur":2}'
    assert message.request_id == "shop/t/0/3/42/0"
    assert message.elements[0].value == '{"id":1}'


@pytest.mark.parametrize("condition", list(Condition))
def test_each_condition_fits_the_schema_and_is_a_failure(condition):
    data = encode_failure(letter(condition=condition, operator=""), ABOUT, PLENTY)
    checked(data)
    message = read(data)
    assert message.failed
    assert message.condition == condition
    assert message.function == "etl:shop"


def test_the_schema_refuses_a_condition_that_nobody_knows():
    found = json.loads(encode_failure(letter(), ABOUT, PLENTY))
    found["requestContext"]["condition"] = "Bored"
    assert not jsonschema_rs.validator_for(json.loads(schema())).is_valid(found)


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", "é\u0000".encode(), b"text"])
@pytest.mark.parametrize("key", [None, b"", b"\xff"])
def test_bytes_come_back_as_they_were_and_absent_is_not_empty(key, value):
    headers = [("a", None), ("a", b""), ("b", b"\xff"), ("b", b"x")]
    dead = letter(stored(value, key, headers))
    document(dead)
    found = decode_envelope(encode_failure(dead, ABOUT, PLENTY))
    assert found is not None
    assert (found.key, found.value, found.headers) == (key, value, headers)


def test_a_dead_letter_is_read_back_with_everything_about_its_failure():
    found = decode_envelope(encode_failure(letter(), ABOUT, PLENTY), Place("dead", 0, 7))
    assert found is not None
    assert found.at == Place("dead", 0, 7)
    assert found.source == Place("orders", 3, 42)
    assert (found.pipeline, found.operator) == ("shop", "to_eur")
    assert (found.condition, found.attempts, found.written_ms) == ("OperatorError", 3, 1_800)
    assert (found.error, found.traceback) == ("shop.NoRate: no rate", ERROR.traceback)
    assert found.fingerprint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"requestContext":[]}',
        b'{"requestContext":{"condition":7}}',
        success(stored(), b"1"),
    ],
)
def test_what_is_no_dead_letter_is_none(data):
    assert decode_envelope(data) is None


@pytest.mark.parametrize("payload", ["[]", "[1]", "{", 7, '[{"key":1,"headers":[1,["a"],[1,2]]}]'])
def test_a_strange_payload_leaves_fields_empty(payload):
    data = json.dumps({"requestContext": {"condition": "X"}, "requestPayload": payload})
    found = decode_envelope(data.encode())
    assert found is not None
    assert (found.key, found.value, found.headers) == (None, None, [])


def test_outputs_that_were_delivered_all_the_same_are_named():
    assert document(letter(delivered=(0, 2)))["delivered"] == [0, 2]


def test_records_that_failed_as_one_are_listed_without_values():
    others = (stored(offset=43), stored(None, offset=44))
    message = read(encode_failure(letter(others=others), ABOUT, PLENTY))
    listed = [(one.offset, one.value, one.size, one.overflow) for one in message.elements]
    assert listed == [(42, None, 8, True), (43, None, 8, True), (44, None, 0, False)]


def test_ten_thousand_records_that_failed_as_one_still_fit():
    others = tuple(stored(offset=43 + i) for i in range(10_000))
    found = document(letter(others=others), 49_152)
    assert len(json.loads(found["requestPayload"])) == 100
    assert found["truncated"][-1]["path"] == "requestPayload"


def test_headers_of_an_earlier_failure_become_history():
    headers = [
        ("own", b"1"),
        ("kafka_etl.condition", b"Timeout"),
        ("kafka_etl.error.type", b"T"),
        ("traceparent", b"00-1-2-03"),
    ]
    found = document(letter(stored(headers=headers)))
    (record,) = json.loads(found["requestPayload"])
    assert record["headers"] == [["own", "1"], ["traceparent", "00-1-2-03"]]
    assert found["history"][0]["condition"] == "Timeout"
    assert found["trace"] == {"traceparent": "00-1-2-03"}


def test_tracebacks_are_cut_before_the_record():
    error = ErrorInfo("T", "m", "a" * 30_000)
    found = document(letter(error=error), 12_000)
    assert [cut["path"] for cut in found["truncated"]] == ["error.traceback"]
    assert found["truncated"][0]["originalBytes"] == 30_000
    assert json.loads(found["requestPayload"])[0]["value"] == '{"id":1}'


def test_a_value_that_does_not_fit_is_replaced_by_its_digest():
    value = b"\xff" * 100_000
    found = document(letter(stored(value)), 49_152)
    (record,) = json.loads(found["requestPayload"])
    assert (record["value"], record["overflowFlag"]) == (None, True)
    assert record["sha256"] == hashlib.sha256(value).hexdigest()
    assert record["valueSize"] == 100_000
    assert found["truncated"] == [
        {
            "path": "requestPayload[0].value",
            "originalBytes": 100_000,
            "keptBytes": 0,
            "how": "reference",
        }
    ]


def test_a_claim_check_holds_the_whole_document():
    kept = {}

    def claim(data):
        kept["s3://b/1"] = data
        return "s3://b/1"

    dead = letter(stored(b"v" * 200_000))
    found = document(dead, 49_152, claim)
    reference = found["payloadRef"]
    whole = kept[reference["uri"]]
    assert (reference["bytes"], reference["sha256"]) == (
        len(whole),
        hashlib.sha256(whole).hexdigest(),
    )
    assert whole == encode_failure(dead, ABOUT, PLENTY)


def test_no_claim_is_made_for_what_fits():
    assert "payloadRef" not in document(letter(), 49_152, lambda _: pytest.fail("claimed"))


def test_an_output_is_never_cut():
    found = checked(success(stored(b"v" * 100_000), b"o" * 40_000, 49_152))
    assert found["responsePayload"] == "o" * 40_000
    assert [cut["path"] for cut in found["truncated"]] == ["requestPayload[0].value"]
    with pytest.raises(OutputTooLarge):
        success(stored(), b"o" * 60_000, 49_152)


def test_a_claim_check_takes_an_output_that_does_not_fit():
    data = success(stored(), b"o" * 60_000, 49_152, lambda _: "file:///x")
    assert len(data) <= 49_152
    assert checked(data)["payloadRef"]["uri"] == "file:///x"


def test_a_tombstone_and_bytes_as_outputs():
    assert checked(success(None, None))["responsePayload"] is None
    found = checked(success(None, b"\xff"))
    assert (found["responsePayload"], found["responsePayloadEncoding"]) == ("/w==", "base64")
    assert found["requestPayload"] == "[]"


def test_a_letter_in_each_format_keeps_its_key():
    in_value = encode_letter(letter(), ABOUT, "envelope", PLENTY)
    assert in_value.key == b"k1"
    assert in_value.headers == []
    assert read(in_value.value).condition == "OperatorError"
    in_headers = encode_letter(letter(), ABOUT, "raw", PLENTY)
    assert (in_headers.key, in_headers.value) == (b"k1", b'{"id":1}')
    assert ("kafka_etl.condition", b"OperatorError") in in_headers.headers
