"""Dead letters read back: what was encoded comes out, and nothing in a stranger's record hurts."""

from __future__ import annotations

import pytest

from kafka_etl.dead_letters import Cause, Causes, Place
from kafka_etl.dead_letters.raw import decode_raw, stored
from kafka_etl.envelope import Encoded, fingerprint
from kafka_etl.invocation import Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_envelope import ABOUT, ERROR, encode, letter


def in_topic(encoded: Encoded) -> StoredRecord:
    return StoredRecord(
        encoded.value,
        encoded.key,
        encoded.headers,
        timestamp_ms=1_900,
        topic="dlq",
        partition=2,
        offset=17,
    )


OWN: Headers = [("trace", b"\x00\xff"), ("none", None), ("trace", b"again")]


def test_what_was_encoded_comes_out() -> None:
    dead = letter(b'{"id": 1}', b"k1", OWN)
    read = decode_raw(in_topic(encode(dead)))
    assert read is not None
    assert (read.at, read.source) == (Place("dlq", 2, 17), Place("orders", 3, 42))
    assert (read.key, read.value, read.headers) == (b"k1", b'{"id": 1}', OWN)
    assert (read.condition, read.operator, read.pipeline) == ("OperatorError", "to_eur", "shop")
    assert read.error == "shop.NoRate: no rate for XAU"
    assert (read.attempts, read.written_ms) == (3, 1_900)
    assert read.fingerprint == fingerprint(dead)
    assert read.traceback == ERROR.traceback
    assert read.context["error"]["causes"] == ["KeyError: 'XAU'"]


def test_without_key_and_value() -> None:
    read = decode_raw(in_topic(encode(letter(None, None))))
    assert read is not None
    assert (read.key, read.value, read.headers) == (None, None, [])


def test_cut_to_its_core_the_rest_comes_out() -> None:
    read = decode_raw(in_topic(encode(letter(), 1)))
    assert read is not None
    assert (read.condition, read.traceback) == ("OperatorError", "")


def test_what_was_not_written_yet_looks_the_same() -> None:
    dead = letter(headers=OWN)
    read = decode_raw(in_topic(encode(dead)))
    made = stored(dead, ABOUT)
    assert read is not None
    assert (made.headers, made.context, made.error) == (read.headers, read.context, read.error)


def test_other_records_are_no_dead_letters() -> None:
    assert decode_raw(StoredRecord(b"1", headers=[("x-exception-message", b"no")])) is None
    assert decode_raw(StoredRecord(b"1")) is None


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe", b"null", b"[1]", b'{"error": 7}', b"9" * 5000])
@pytest.mark.parametrize("name", ["partition", "offset", "attempts", "context", "condition"])
def test_a_header_may_hold_anything(name: str, junk: bytes) -> None:
    headers: Headers = [("kafka_etl.condition", b"OperatorError"), (f"kafka_etl.{name}", junk)]
    read = decode_raw(StoredRecord(b"1", headers=headers))
    assert read is not None
    assert isinstance(read.traceback, str)


# Causes


def failed(offset: int, text: str, at: str = "in to_eur") -> DeadLetter:
    record = StoredRecord(b"1", topic="orders", partition=3, offset=offset)
    error = ErrorInfo("ValueError", text, at)
    return DeadLetter(record, Failure(0, Condition.OPERATOR_ERROR, error, "to_eur"), "i", 0)


def test_letters_of_one_place_in_the_code_are_one_cause_with_the_first_as_example() -> None:
    causes = Causes()
    first = causes.add(failed(7, "no rate for\n\x1b[31m XAU"))
    assert first == causes.commonest()[0]
    assert causes.add(failed(8, "no rate for\n\x1b[7m XAG")) is None
    assert causes.add(failed(9, "else")) is not None
    commonest, other = causes.commonest()
    assert (commonest.count, other.count) == (2, 1)
    assert commonest.example == Place("orders", 3, 7)
    assert str(commonest) == (
        "2 OperatorError in to_eur: ValueError: no rate for [31m XAU, and other messages "
        "(first: orders[3]@7)"
    )


def test_a_cause_of_one_message_says_nothing_of_others() -> None:
    causes, total = Causes(), Causes()
    for n in range(2):
        causes.add(failed(n, "no rate for XAU"))
    assert str(causes.commonest()[0]).endswith("no rate for XAU (first: orders[3]@0)")
    other = Causes()
    other.add(failed(9, "no rate for XAG"))
    for each in (causes, other):
        total.include(each.commonest())
    (cause,) = total.commonest()
    assert "no rate for XAU, and other messages" in str(cause)


def test_causes_are_bounded_and_their_texts_too() -> None:
    causes = Causes()
    for n in range(1000):
        causes.add(failed(n, "x" * 100_000, f'  File "a.py", line 1, in f{n}'))
    assert len(causes.commonest()) == 50
    assert max(len(cause.error) for cause in causes.commonest()) <= 201
    causes.add(failed(0, "x" * 100_000, '  File "a.py", line 2, in f3'))
    assert causes.commonest()[0].count == 2


def test_causes_of_several_workers_are_one() -> None:
    one, other, total = Causes(), Causes(), Causes()
    for n in range(3):
        one.add(failed(n, f"a {n}"))
    other.add(failed(9, "a 9"))
    other.add(failed(9, "b"))
    total.include(one.commonest())
    total.include(other.commonest())
    counts: list[Cause] = list(total.commonest())
    assert [cause.count for cause in counts] == [4, 1]
    assert counts[0].example.offset == 0
    assert one.commonest()[0].count == 3
