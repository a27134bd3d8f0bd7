"""Dead letters as Kafka records: byte for byte, the whole failure, and never too large."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from kafka_etl.envelope import Encoded, Provenance, encode_raw, fingerprint
from kafka_etl.errors import Permanent, Retry
from kafka_etl.invocation import Attempt, Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord

ABOUT = Provenance(
    pipeline="shop",
    config_hash="c0ffee",
    group="shop-group",
    worker="kafka-etl.shop.a.0",
    host="here",
    pid=17,
    kafka_etl="1.2",
    python="3.11",
    versions={"to_eur": "9f"},
)
PLENTY = 1_000_000
ERROR = ErrorInfo(
    "shop.NoRate", "no rate for XAU", '  File "ops.py", line 3, in to_eur', ("KeyError: 'XAU'",)
)
ATTEMPTS = tuple(Attempt(n, n * 100, n * 100 + 50, "shop.NoRate: no rate") for n in (1, 2, 3))


def letter(
    value: bytes | None = b'{"id":1}',
    key: bytes | None = b"k1",
    headers: Headers | None = None,
    *,
    error: ErrorInfo = ERROR,
    attempts: Sequence[Attempt] = ATTEMPTS,
) -> DeadLetter:
    record = StoredRecord(
        value, key, headers, timestamp_ms=1_700, topic="orders", partition=3, offset=42
    )
    failure = Failure(0, Condition.OPERATOR_ERROR, error, "to_eur", tuple(attempts))
    return DeadLetter(record, failure, "orders[3]@42+1", at_ms=1_800)


def encode(dead: DeadLetter, limit: int = PLENTY) -> Encoded:
    return encode_raw(dead, ABOUT, limit)


def header(encoded: Encoded, name: str) -> str:
    (found,) = [value for key, value in encoded.headers if key == f"kafka_etl.{name}"]
    return (found or b"").decode()


def context(encoded: Encoded) -> Any:
    return orjson.loads(header(encoded, "context"))


def own(encoded: Encoded) -> Headers:
    return [h for h in encoded.headers if not h[0].startswith("kafka_etl.")]


def cuts(encoded: Encoded) -> list[str]:
    truncated = context(encoded)["truncated"]
    return [cut["what"] if isinstance(cut, dict) else cut for cut in truncated]


def again(encoded: Encoded) -> DeadLetter:
    """The dead letter of a pipeline that read this one from its topic, and failed."""
    return letter(encoded.value, encoded.key, encoded.headers)


# What is in it


def test_the_record_is_kept_byte_for_byte() -> None:
    headers: Headers = [("a", b"\x00\xff"), ("a", None), ("b", b""), ("é", b"1")]
    encoded = encode(letter(b"\xff\x00{", b"\x80key", headers))
    assert (encoded.value, encoded.key) == (b"\xff\x00{", b"\x80key")
    assert own(encoded) == headers


@pytest.mark.parametrize(("value", "key"), [(None, b"k"), (b"", b""), (b"v", None)])
def test_what_is_absent_stays_absent(value: bytes | None, key: bytes | None) -> None:
    encoded = encode(letter(value, key))
    assert (encoded.value, encoded.key, own(encoded)) == (value, key, [])


def test_headers_say_where_it_comes_from_and_what_happened() -> None:
    encoded = encode(letter())
    assert {name: header(encoded, name) for name in HEADERS} == HEADERS
    names = [name for name, _ in encoded.headers]
    assert names == [f"kafka_etl.{name}" for name in (*HEADERS, "context")]


HEADERS = {
    "topic": "orders",
    "partition": "3",
    "offset": "42",
    "timestamp": "1700",
    "pipeline": "shop",
    "operator": "to_eur",
    "operator.version": "9f",
    "condition": "OperatorError",
    "error.type": "shop.NoRate",
    "error.message": "no rate for XAU",
    "fingerprint": fingerprint(letter()),
    "attempts": "3",
}


def test_the_context_holds_the_whole_invocation() -> None:
    headers: Headers = [("traceparent", b"00-ab-cd-01")]
    told = context(encode(letter(headers=headers)))
    assert told["invocation"]["id"] == "orders[3]@42+1"
    assert [a["number"] for a in told["invocation"]["attempts"]] == [1, 2, 3]
    assert told["source"] == {
        "topic": "orders",
        "partition": 3,
        "offset": 42,
        "timestamp_ms": 1700,
        "group": "shop-group",
        "key_bytes": 2,
        "value_bytes": 8,
    }
    assert told["pipeline"] == {"name": "shop", "config_hash": "c0ffee"}
    assert told["worker"]["host"] == "here"
    assert told["error"]["traceback"].endswith("in to_eur")
    assert told["error"]["causes"] == ["KeyError: 'XAU'"]
    assert (told["traceparent"], told["at_ms"]) == ("00-ab-cd-01", 1800)
    assert (told["history"], told["truncated"]) == ([], [])


def test_the_fingerprint_tells_kinds_of_failure_apart() -> None:
    same = ErrorInfo("shop.NoRate", "no rate for XAG", ERROR.traceback)
    elsewhere = ErrorInfo("shop.NoRate", "no rate for XAU", '  File "ops.py", line 9, in to_usd')
    other = ErrorInfo("KeyError", "no rate for XAU", ERROR.traceback)
    assert fingerprint(letter(error=same)) == fingerprint(letter())
    assert fingerprint(letter(error=elsewhere)) != fingerprint(letter())
    assert fingerprint(letter(error=other)) != fingerprint(letter())


def test_deaths_are_attempts_of_which_nobody_could_tell() -> None:
    failure = Failure(0, Condition.WORKER_CRASHED, ERROR, deaths=4)
    encoded = encode(DeadLetter(letter().record, failure, "orders[3]@41+10", 1))
    assert header(encoded, "attempts") == "4"
    assert context(encoded)["invocation"]["deaths"] == 4
    assert context(encoded)["invocation"]["attempts"] == []


def test_lone_surrogates_do_not_poison_it() -> None:
    class Odd(Exception): ...

    Odd.__module__ = "shop\udc80"
    try:
        try:
            raise ValueError("cause \udc81")
        except ValueError as cause:
            raise Odd("message \ud800") from cause
    except Odd as error:
        info = ErrorInfo.of(error)
    attempts = [Attempt(1, 0, 1, f"{info.type}: {info.message}")]
    encoded = encode(letter(error=info, attempts=attempts))
    assert header(encoded, "error.message") == "message \\ud800"
    assert header(encoded, "error.type").startswith("shop\\udc80.")
    assert context(encoded)["error"]["causes"] == ["ValueError: cause \\udc81"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("price"), "'price' is not there"),
        (KeyError(), "KeyError without a text"),
        (ValueError(), "ValueError without a text"),
        (Permanent(""), "Permanent without a text"),
        (Retry(after=5), "Retry without a text"),
        (ValueError("so"), "so"),
        (type("Own", (Exception,), {"__doc__": "Of its class."})(), "Own without a text"),
    ],
)
def test_an_error_without_words_is_given_some(error: BaseException, text: str) -> None:
    assert ErrorInfo.of(error).message == text


def test_a_traceparent_that_is_no_text_does_no_harm() -> None:
    assert context(encode(letter(headers=[("traceparent", b"\xff"), ("x", None)])))["traceparent"]


# Earlier failures


def test_a_record_that_fails_again_has_its_history_and_one_set_of_headers() -> None:
    first = encode(letter(headers=[("own", b"1")]))
    second = encode(again(first))
    assert [name for name, _ in second.headers] == [name for name, _ in first.headers]
    assert own(second) == [("own", b"1")]
    assert context(second)["history"] == [
        {
            "family": "kafka_etl",
            "at_ms": 1800,
            "topic": "orders",
            "partition": "3",
            "offset": "42",
            "pipeline": "shop",
            "operator": "to_eur",
            "condition": "OperatorError",
            "error": "shop.NoRate: no rate for XAU",
        }
    ]


def test_history_does_not_grow_without_bound() -> None:
    encoded = encode(letter())
    sizes = []
    for _ in range(65):
        encoded = encode(again(encoded))
        sizes.append(encoded.size)
    assert len(context(encoded)["history"]) == 50
    assert sizes[-1] == sizes[-10]


BIG_ENDIAN = (7).to_bytes(4, "big")
DEAD_LETTERS: dict[str, Headers] = {
    "connect": [
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.partition", b"7"),
        ("__connect.errors.offset", b"5"),
        ("__connect.errors.connector.name", b"jdbc"),
        ("__connect.errors.stage", b"TASK_PUT"),
    ],
    "streams": [
        ("__streams.errors.topic", b"orders"),
        ("__streams.errors.partition", b"7"),
        ("__streams.errors.offset", None),
        ("__streams.errors.exception", b"java.lang.X"),
    ],
    "share_group": [
        ("__dlq.errors.topic", b"orders"),
        ("__dlq.errors.partition", b"7"),
        ("__dlq.errors.offset", b"5"),
    ],
    "spring_kafka": [
        ("kafka_dlt-original-topic", b"orders"),
        ("kafka_dlt-original-partition", BIG_ENDIAN),
        ("kafka_dlt-original-offset", (-1).to_bytes(8, "big", signed=True)),
    ],
    "spring_cloud_stream": [
        ("x-original-topic", b"orders"),
        ("x-original-partition", BIG_ENDIAN),
        ("x-original-offset", (5).to_bytes(8, "big")),
        ("x-exception-fqcn", b"java.lang.X"),
        ("x-exception-message", b"no"),
    ],
    "smallrye": [
        ("dead-letter-topic", b"orders"),
        ("dead-letter-partition", b"7"),
        ("dead-letter-offset", b"5"),
        ("dead-letter-reason", b"\xff\xfe\xfd"),
    ],
}
"""What each of them always has."""


@pytest.mark.parametrize("family", DEAD_LETTERS)
def test_headers_of_another_systems_dead_letter_are_moved_into_the_history(family: str) -> None:
    headers = DEAD_LETTERS[family]
    encoded = encode(letter(headers=[*headers, ("x-request-id", b"mine")]))
    assert own(encoded) == [("x-request-id", b"mine")]
    (told,) = context(encoded)["history"]
    assert told["family"] == family
    assert list(told["headers"]) == [name for name, _ in headers]
    assert "orders" in told["headers"].values()


@pytest.mark.parametrize(
    ("family", "headers"),
    [
        (family, headers[:without] + headers[without + 1 :])
        for family, headers in DEAD_LETTERS.items()
        for without in range(len(headers))
    ],
)
def test_headers_that_only_look_like_theirs_are_the_applications_own(
    family: str, headers: Headers
) -> None:
    encoded = encode(letter(headers=headers))
    assert own(encoded) == headers, family
    assert context(encoded)["history"] == []
    assert own(encode(again(encoded))) == headers


def test_one_systems_dead_letter_may_have_headers_that_look_like_anothers() -> None:
    mine: Headers = [("x-original-host", b"\x00" * 5_000), ("dead-letter-box", None)]
    encoded = encode(letter(headers=[*mine, *DEAD_LETTERS["spring_kafka"]]))
    assert own(encoded) == mine


def test_what_other_systems_tell_is_readable_and_whole() -> None:
    stack = b"java.lang.X\n\tat Y" * 1_000
    more: Headers = [
        ("kafka_dlt-exception-stacktrace", stack),
        ("kafka_dlt-original-timestamp", (1234567890123).to_bytes(8, "big")),
        ("kafka_dlt-exception-message", b"\xff\xfe\xfd" * 2_000),
        ("kafka_dlt-exception-fqcn", b"first"),
        ("kafka_dlt-exception-fqcn", b"second"),
        ("kafka_dlt-exception-fqcn", b"third"),
    ]
    encoded = encode(letter(headers=[*DEAD_LETTERS["spring_kafka"], *more]))
    assert context(encoded)["truncated"] == []
    assert context(encoded)["history"][0]["headers"] == {
        "kafka_dlt-original-topic": "orders",
        "kafka_dlt-original-partition": "7",
        "kafka_dlt-original-offset": "-1",
        "kafka_dlt-exception-stacktrace": stack.decode(),
        "kafka_dlt-original-timestamp": "1234567890123",
        "kafka_dlt-exception-message": "hex:" + "fffefd" * 2_000,
        "kafka_dlt-exception-fqcn": ["first", "second", "third"],
    }


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"{broken",
        b"[]",
        b"5",
        b"\xff",
        b'{"history": 5, "at_ms": 1}',
        b'{"history": ["a", 5, null], "at_ms": "now"}',
        b'{"history": {"a": 1}, "at_ms": {}}',
        b'{"history": [' + b"[" * 900 + b"]" * 900 + b'], "at_ms": 1}',
        b'{"history": [{"a": ' + b"[" * 900 + b"]" * 900 + b'}], "at_ms": 1}',
        b'{"history": [{"a": ' + b"[" * 248 + b"]" * 248 + b'}], "at_ms": 1}',
    ],
)
def test_a_forged_context_cannot_harm(forged: bytes) -> None:
    encoded = encode(letter(headers=[("kafka_etl.context", forged), ("kafka_etl.topic", b"\xff")]))
    told = context(encoded)
    assert told["history"][-1]["family"] == "kafka_etl"
    assert told["history"][-1]["topic"] == "hex:ff"
    assert encode(again(encoded))


# Cutting to size


def huge() -> DeadLetter:
    """Too much of everything."""
    error = ErrorInfo(
        "shop.NoRate", "m" * 20_000, "t" * 50_000, tuple("c" * 1_000 for _ in range(5))
    )
    attempts = [Attempt(n, n, n, "a" * 3_000) for n in range(1, 11)]
    foreign: Headers = [
        *DEAD_LETTERS["connect"],
        ("__connect.errors.exception.stacktrace", b"s" * 30_000),
    ]
    headers: Headers = [("own", b"h" * 5_000), *foreign]
    return letter(b"v" * 40_000, b"k" * 3_000, headers, error=error, attempts=attempts)


def test_whatever_is_too_large_it_is_cut_in_a_fixed_order() -> None:
    """The payload and the rest of the record go last; nothing that went comes back."""
    order = [
        "error.traceback",
        "error.traceback",
        "error.message",
        "causes",
        "invocation.attempts",
        "history",
        "value",
        "headers",
        "key",
        "context",
    ]
    seen: list[list[str]] = []
    for limit in range(1_500, 260_000, 997):
        encoded = encode(huge(), limit)
        assert encoded.size <= limit or limit < 1_600
        seen.append(cuts(encoded))
    assert all(cut == order[: len(cut)] for cut in seen)
    assert [len(cut) for cut in seen] == sorted(map(len, seen), reverse=True)
    assert {len(cut) for cut in seen} == {0, 1, 2, 5, 6, 7, 8, 9, 10}


def test_a_long_traceback_keeps_both_ends() -> None:
    error = ErrorInfo("E", "m", "first" + "x" * 100_000 + "last")
    encoded = encode(letter(error=error), 20_000)
    traceback = context(encoded)["error"]["traceback"]
    assert traceback.startswith("first")
    assert traceback.endswith("last")
    assert context(encoded)["truncated"] == [
        {"what": "error.traceback", "original": 100_009, "kept": 8192}
    ]


def test_a_payload_too_large_leaves_where_it_still_is() -> None:
    payload = b"v" * 5_000
    encoded = encode(letter(payload, headers=[("own", b"1")]), 4_000)
    place = {"topic": "orders", "partition": 3, "offset": 42}
    digest = hashlib.sha256(payload).hexdigest()
    assert orjson.loads(encoded.value or b"") == {
        "reference": {**place, "bytes": 5_000, "sha256": digest}
    }
    assert own(encoded) == [("own", b"1")]
    assert cuts(encoded)[-1] == "value"


def test_a_small_payload_stays_where_something_else_is_too_large() -> None:
    encoded = encode(letter(b"small", headers=[("own", b"h" * 10_000)]), 5_000)
    assert encoded.value == b"small"
    assert own(encoded) == []
    assert encoded.size <= 5_000


def test_a_tombstone_stays_one() -> None:
    encoded = encode(letter(None, headers=[("own", b"h" * 10_000)]), 5_000)
    assert encoded.value is None


def test_the_core_is_there_at_any_size() -> None:
    encoded = encode(huge(), 100)
    assert header(encoded, "topic") == "orders"
    assert header(encoded, "offset") == "42"
    assert header(encoded, "condition") == "OperatorError"
    assert header(encoded, "error.message") == "m" * 200
    assert encoded.size < 1_600


def test_size_counts_bytes_not_characters() -> None:
    plain = Encoded(b"k", b"v", [("e", b"")]).size
    assert Encoded(b"k", b"v", [("é", b"")]).size == plain + 1


def test_long_messages_are_cut_by_their_bytes() -> None:
    message = "😀" * 5_000
    encoded = encode(letter(error=ErrorInfo("E", message)))
    assert header(encoded, "error.message") == "😀" * 500
    assert context(encoded)["error"]["message"] == message
