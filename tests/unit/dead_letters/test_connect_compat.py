"""Our dead letters with Kafka Connect's headers beside ours."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl.dead_letters import Place
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.envelope import Encoded, encode_letter, encode_raw
from kafka_etl.invocation import Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_envelope import (
    ABOUT,
    DEAD_LETTERS,
    PLENTY,
    context,
    cuts,
    huge,
    letter,
)

OWN: Headers = [("trace", b"\x00\xff"), ("__connect.errors.note", b"mine")]
PREFIX = "__connect.errors."
STACKTRACE = f"{PREFIX}exception.stacktrace"


def encode(dead: DeadLetter, limit: int = PLENTY) -> Encoded:
    return encode_raw(dead, ABOUT, limit, connect=True)


def connects(encoded: Encoded) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX): (value or b"").decode()
        for name, value in encoded.headers
        if name.startswith(PREFIX) and name != f"{PREFIX}note"
    }


def in_topic(encoded: Encoded) -> StoredRecord:
    return StoredRecord(encoded.value, encoded.key, encoded.headers, topic="dlq", offset=17)


def again(encoded: Encoded) -> DeadLetter:
    """The dead letter of a pipeline that read this one from its topic, and failed."""
    return letter(encoded.value, encoded.key, encoded.headers)


def test_the_failure_is_told_in_connects_words() -> None:
    assert connects(encode(letter(headers=OWN))) == {
        "topic": "orders",
        "partition": "3",
        "offset": "42",
        "connector.name": "shop",
        "task.id": "0",
        "stage": "TRANSFORMATION",
        "class.name": "to_eur",
        "exception.class.name": "shop.NoRate",
        "exception.message": "no rate for XAU",
        "exception.stacktrace": "shop.NoRate: no rate for XAU\n"
        "  File \"ops.py\", line 3, in to_eur\nCaused by: KeyError: 'XAU'",
    }


def test_ours_stand_beside_and_the_record_is_as_without() -> None:
    with_connects, without = encode(letter(headers=OWN)), encode_raw(letter(), ABOUT, PLENTY)
    assert with_connects.headers[:2] == OWN
    assert with_connects.headers[-len(without.headers) :] == without.headers
    assert (with_connects.key, with_connects.value) == (without.key, without.value)
    assert encode_letter(letter(headers=OWN), ABOUT, "raw+connect", PLENTY) == with_connects
    assert connects(encode_letter(letter(), ABOUT, "raw", PLENTY)) == {}


@pytest.mark.parametrize(
    ("condition", "stage"),
    [
        (Condition.DECODE_ERROR, "VALUE_CONVERTER"),
        (Condition.TIMEOUT, "TRANSFORMATION"),
        (Condition.ENCODE_ERROR, "TASK_PUT"),
        (Condition.REFUSED, "TASK_PUT"),
    ],
)
def test_the_stage_is_that_of_the_condition(condition: Condition, stage: str) -> None:
    dead = DeadLetter(letter().record, Failure(0, condition, ErrorInfo("E", "m")), "i", 1)
    told = connects(encode(dead))
    assert (told["stage"], told["class.name"]) == (stage, "kafka_etl")


def test_read_back_it_is_ours_and_the_applications_headers_are_its_own() -> None:
    found = decode_letter(in_topic(encode(letter(headers=OWN))))
    assert found is not None
    assert (found.family, found.source) == ("kafka_etl", Place("orders", 3, 42))
    assert found.headers == OWN
    told: Any = found.context
    assert told["history"] == []


def test_failing_again_it_is_in_the_history_once() -> None:
    second = encode(again(encode(letter(headers=OWN))))
    third = encode(again(second))
    for encoded, failures in ((second, 1), (third, 2)):
        history = context(encoded)["history"]
        assert [entry["family"] for entry in history] == ["kafka_etl"] * failures
        assert len(connects(encoded)) == 10
        found = decode_letter(in_topic(encoded))
        assert found is not None
        assert found.headers == OWN
    assert len(third.headers) == len(second.headers)


def test_a_failure_in_connect_itself_is_not_taken_for_ours() -> None:
    headers: Headers = [*encode(letter()).headers, *DEAD_LETTERS["connect"]]
    history = context(encode(letter(headers=headers)))["history"]
    assert [entry["family"] for entry in history] == ["connect", "kafka_etl"]
    assert history[0]["headers"]["__connect.errors.connector.name"] == ["shop", "jdbc"]
    other = context(encode(letter(headers=DEAD_LETTERS["connect"])))["history"]
    assert [entry["family"] for entry in other] == ["connect"]


def test_the_stack_trace_for_connects_readers_is_cut_first_and_the_rest_before_the_payload() -> (
    None
):
    whole = encode(huge(), 10_000_000)
    less = encode(huge(), whole.size - 1)
    assert cuts(less) == ["connect.stacktrace"]
    assert STACKTRACE not in dict(less.headers)
    assert len(connects(less)) == 9
    assert context(less)["error"]["traceback"] == context(whole)["error"]["traceback"]
    seen: list[list[str]] = []
    for limit in range(1_500, whole.size + 997, 997):
        encoded = encode(huge(), limit)
        assert encoded.size <= limit or limit < 1_600
        seen.append(cuts(encoded))
        assert bool(connects(encoded)) == ("connect" not in cuts(encoded))
    longest = max(seen, key=len)
    assert all(cut == longest[: len(cut)] for cut in seen)
    assert longest.index("history") < longest.index("connect") < longest.index("value")
