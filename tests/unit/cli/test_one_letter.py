"""Everything about one dead letter, as text and as JSON; secrets and odd values in tracebacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kafka_etl.cli.dlq.forms import Form
from kafka_etl.cli.dlq.frames import bounded, with_locals
from kafka_etl.cli.dlq.one import Everything, as_json, as_text
from kafka_etl.cli.dlq.payload import hexdump, payload_of
from kafka_etl.codecs import JSON
from kafka_etl.config.document import Document
from kafka_etl.config.secrets import hiding
from kafka_etl.contracts import Codec
from kafka_etl.dead_letters import StoredLetter
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.statuses import ActionState, BulkAction, LetterStatus, Status
from kafka_etl.dlq.source_records import Neighbours
from kafka_etl.envelope import Encoded, encode_failure
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import ABOUT, encode, letter

OWN: Headers = [("traceparent", b"00-ab-cd-01"), ("h\x1b", b"\xff")]
VALUE = b'{"id": 1, "price": 1.10}'


def raw() -> StoredLetter:
    found = decode_letter(in_topic(encode(letter(VALUE, b"k1", OWN))))
    assert found is not None
    return found


def document() -> StoredLetter:
    data = encode_failure(letter(VALUE, b"k1", OWN), ABOUT, 10**6)
    found = decode_letter(in_topic(Encoded(b"k1", data, [])))
    assert found is not None
    return found


def everything(stored: StoredLetter, **more: Any) -> Everything:
    return Everything(
        **{
            "letter": stored,
            "key": payload_of(stored.key, [], None, None),
            "value": payload_of(stored.value, [], None, None),
            "status": None,
            "action": None,
            "neighbours": "the place of the record is not known",
            **more,
        }
    )


def near(offset: int) -> StoredRecord:
    value = b'{"n": %d}' % offset
    return StoredRecord(value, b"k", [], timestamp_ms=5, topic="orders", partition=3, offset=offset)


@pytest.mark.parametrize("stored", [raw(), document()])
def test_text_has_everything_of_either_format(stored: StoredLetter) -> None:
    text = as_text(everything(stored))
    for part in (
        "letter     dlq/2/17, written 1970-01-01T00:00:01.",
        "record     orders[3]@42, 1970-01-01T00:00:01.700Z",
        "status     open",
        "OperatorError in to_eur: shop.NoRate: no rate for XAU (version 9f)",
        f"kind       fingerprint {stored.fingerprint}",
        "trace      00-ab-cd-01",
        "attempts   3",
        "  1        1970-01-01T00:00:00.100Z, 50 ms: shop.NoRate: no rate",
        "  3        1970-01-01T00:00:00.300Z, 50 ms: shop.NoRate: no rate",
        "header     hex:681b: hex:ff",
        'value      (json)\n    {"id": 1, "price": 1.10}',
        'traceback\n      File "ops.py", line 3, in to_eur',
        "caused by KeyError: 'XAU'",
        "source     the place of the record is not known",
    ):
        assert part in text
    assert "\x1b" not in text


def test_earlier_failures_are_told_oldest_first() -> None:
    again = encode(letter(VALUE, b"k1", encode(letter(VALUE, b"k1", OWN)).headers))
    stored = decode_letter(in_topic(again))
    assert stored is not None
    text = as_text(everything(stored, earlier=["dlq/2/3"]))
    assert "earlier\n    1970-01-01T00:00:01.800Z  kafka_etl in to_eur: shop.NoRate" in text
    assert "its dead letters: dlq/2/3" in text


def test_who_changed_the_status() -> None:
    action = BulkAction(
        "a1", "drop", ActionState.DONE, 0, "ann@host", "a test\x1b", "all", 1, "plan"
    )
    every = everything(raw(), status=Status(LetterStatus.DROPPED, 5, "a1"), action=action)
    assert "dropped since 1970-01-01T00:00:00.005Z by ann@host: hex:" in as_text(every)
    told = json.loads(as_json(every))["status"]
    assert (told["status"], told["actor"], told["reason"]) == ("dropped", "ann@host", "a test\x1b")


def test_neighbours_and_those_that_are_gone() -> None:
    found = Neighbours([near(40), near(41)], near(42), [near(43)], 10, 44)
    text = as_text(everything(raw(), neighbours=found))
    assert "source     orders[3] has 10 to 44" in text
    assert '    @41  1970-01-01T00:00:00.005Z  key k  {"n": 41}\n  > @42' in text
    gone = as_text(everything(raw(), neighbours=Neighbours([], None, [near(43)], 43, 44)))
    assert "    before: gone\n  > @42  gone\n    @43" in gone
    as_object = json.loads(as_json(everything(raw(), neighbours=found)))["neighbours"]
    assert [one["offset"] for one in as_object["before"]] == [40, 41]
    assert as_object["itself"]["value"] == {"n": 42}


def test_json_is_one_object_with_everything() -> None:
    parts = json.loads(as_json(everything(raw())))
    assert parts["traceparent"] == "00-ab-cd-01"
    assert parts["status"]["status"] == "open"
    assert parts["traceback"].strip().startswith("File")
    assert parts["shown"]["value"]["form"] == "json"


def test_numbers_that_kafka_cannot_have_are_none() -> None:
    headers: Headers = [
        ("kafka_etl.condition", b"OperatorError"),
        ("kafka_etl.offset", b"9" * 30),
        ("kafka_etl.timestamp", b"9" * 5_000),
    ]
    found = decode_letter(StoredRecord(b"v", b"k", headers))
    assert found is not None
    assert json.loads(as_json(everything(found)))["source"]["offset"] == -1


def test_a_stranger_may_write_anything_into_the_context() -> None:
    odd: dict[str, Any] = {
        "invocation": {"attempts": [7, {"started_ms": "x"}], "deaths": "no"},
        "history": [{"headers": {"a": 1}}, 3],
        "error": [],
        "worker": 5,
    }
    stored = msgspec.structs.replace(raw(), context=odd)
    assert "earlier" in as_text(everything(stored))


# Payloads


@pytest.mark.parametrize(
    ("data", "form", "shown"),
    [
        (None, None, ("", "(null)")),
        (VALUE, None, ("json", VALUE.decode())),
        (VALUE, Form.JSON, ("json", '{\n  "id": 1,\n  "price": 1.1\n}')),
        (b"plain", None, ("text", "plain")),
        (b"a\xff\x1b", Form.TEXT, ("text", "a\\xff\\x1b")),
        (b"ab", Form.HEX, ("hex", "00000000  61 62" + " " * 42 + "  ab")),
    ],
)
def test_forms(data: bytes | None, form: Form | None, shown: tuple[str, str]) -> None:
    made = payload_of(data, [], form, None)
    assert (made.form, made.text) == shown


def test_bytes_of_a_registry_are_named() -> None:
    made = payload_of(b"\x00\x00\x00\x00\x07abc", [], None, None)
    assert made.form == "hex"
    assert "schema 7 of a registry" in made.title


def test_the_pipelines_codec_decodes_and_its_failure_is_told() -> None:
    def decode(data: bytes) -> object:
        if data == b"bad":
            raise ValueError("no such schema")
        return {"of": data, 1: 2}

    codec = Codec("avro", decode, bytes)
    good = payload_of(b"x", [], None, codec)
    assert (good.form, json.loads(good.text)) == ("avro", {"of": "hex:78", "1": 2})
    bad = payload_of(b"bad", [], Form.AVRO, codec)
    assert bad.title == "text; avro cannot decode it: ValueError: no such schema"
    assert payload_of(VALUE, [], None, JSON).text == VALUE.decode()


def test_hex_has_sixteen_bytes_a_line() -> None:
    assert [line[:8] for line in hexdump(bytes(33)).splitlines()] == [
        "00000000",
        "00000010",
        "00000020",
    ]


# Tracebacks


def unchanged(text: str) -> str:
    return text


class Grumpy:
    def __repr__(self) -> str:
        raise SystemExit


def test_values_are_bounded_and_never_raise() -> None:
    assert bounded(Grumpy(), unchanged) == "<repr raised SystemExit>"
    assert "<repr raised SystemExit>" in bounded([Grumpy()], unchanged)
    assert len(bounded("x" * 10**6, unchanged)) < 400
    assert len(bounded([["y" * 1000] * 1000] * 1000, unchanged)) < 400
    assert bounded({"a": (1, None)}, unchanged) == "{'a': (1, None)}"
    assert "\n" not in bounded("two\nlines", unchanged)
    assert bounded(10**5000, unchanged).startswith("<repr raised")


def test_causes_come_first_with_their_values() -> None:
    def inner(stock: int) -> None:
        raise KeyError(stock)

    try:
        try:
            inner(17)
        except KeyError as error:
            order = "A7"
            raise ValueError(order) from error
    except ValueError as raised:
        text = with_locals(raised, unchanged)
    first, link, second = text.partition("From the exception above came this one:")
    assert link
    assert "      stock = 17" in first
    assert "KeyError: 17 is not there" in first
    assert "      order = 'A7'" in second
    assert second.endswith("ValueError: A7")


def test_deep_recursion_is_cut_in_the_middle() -> None:
    def down(depth: int) -> int:
        return down(depth + 1)

    try:
        down(0)
    except RecursionError as error:
        text = with_locals(error, unchanged)
    assert "frames …" in text
    assert text.count("in down") < 40


def test_secrets_are_hidden_before_a_text_is_cut() -> None:
    secret = "hunter2" * 60
    data = {
        "kafka": {"sasl.password": secret, "bootstrap.servers": "broker:9092"},
        "registry": {"basic.auth.user.info": "ann:letmein"},
        "sink": {"with": {"dsn": "postgres://u:pa%20ss@host/db", "tokens": ["t0ken"]}},
    }
    hide = hiding(Document(Path("p.yaml"), data, {}, {}, [], secrets={"from'env": "${VAR}"}))
    for value in (secret, {"p": [secret]}, ("x", f"…{secret}…"), secret.encode()):
        assert "hunter2" not in bounded(value, hide)
    assert (
        hide("letmein t0ken pa ss, from'env at broker:9092") == "*** *** ***, ${VAR} at broker:9092"
    )
    assert "from" not in bounded('say "from\'env"', hide)
    assert hide("http://me:any@host") == "http://me:***@host"
