"""Dead letters of other systems: what each of them tells, and what stays the application's own."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from kafka_etl.dead_letters import Place, StoredLetter
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.envelope import FOREIGN
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_envelope import DEAD_LETTERS, ERROR, encode, letter

DATA = Path(__file__).with_name("data")
OWN: Headers = [("trace", b"\x00\xff"), ("none", None), ("trace", b"again")]


def recorded(file: str) -> list[StoredRecord]:
    """Records as another system wrote them; how is told in the file's note."""

    def data(text: str | None) -> bytes | None:
        return None if text is None else base64.b64decode(text)

    return [
        StoredRecord(
            data(entry["value"]),
            data(entry["key"]),
            [(name, data(value)) for name, value in entry["headers"]],
            timestamp_ms=entry["timestamp"],
            topic=entry["topic"],
            partition=entry["partition"],
            offset=entry["offset"],
        )
        for entry in orjson.loads((DATA / file).read_bytes())["records"]
    ]


def read(headers: Headers, value: bytes | None = b"v", key: bytes | None = b"k") -> StoredLetter:
    found = decode_letter(record(headers, value, key))
    assert found is not None
    return found


def record(headers: Headers, value: bytes | None = b"v", key: bytes | None = b"k") -> StoredRecord:
    return StoredRecord(value, key, headers, timestamp_ms=1_900, topic="d", partition=2, offset=17)


def with_prefix(prefix: str, **texts: bytes | None) -> Headers:
    return [(prefix + name.replace("_", "-"), value) for name, value in texts.items()]


# Recorded ones


def test_connects_own_dead_letters_are_read() -> None:
    letters = [decode_letter(r) for r in recorded("connect_letters.json")]
    broken, binary, no_object, of_map, no_number, like_it, again = (x for x in letters if x)
    assert broken.at == Place("orders.connect", 0, 0)
    assert (broken.source, broken.family) == (Place("orders", 0, 1), "connect")
    assert (broken.key, broken.value) == (b"k3", b"not json 3")
    assert broken.headers == [("trace", b"\x00\xff"), ("trace", b"again"), ("none", None)]
    assert (broken.condition, broken.operator) == ("DecodeError", "JsonConverter")
    assert broken.pipeline == "orders-to-file"
    assert broken.error_type == "org.apache.kafka.connect.errors.DataException"
    assert broken.error_text.startswith("Converting byte[] to Kafka Connect data failed due to")
    assert "serialization error: Unrecognized token 'not'" in broken.error_text
    assert broken.traceback.startswith(broken.error_type)
    assert "Caused by: com.fasterxml.jackson.core.JsonParseException" in broken.traceback
    assert (broken.attempts, broken.record_ms) == (0, broken.written_ms)
    assert (binary.key, binary.value, binary.headers) == (None, b"\xff\x00{", [])
    assert (no_number.condition, no_number.operator) == ("OperatorError", "Cast$Value")
    assert no_number.error_text == "Value (abc) was out of range for requested data type"
    kinds = [x.fingerprint for x in (broken, no_object, of_map, no_number)]
    assert len(set(kinds)) == 4
    assert (binary.fingerprint, like_it.fingerprint) == (broken.fingerprint, kinds[-1])
    assert ("__connect.errors.note", b"mine") in like_it.headers
    assert again.source == Place("orders.connect", 0, 5)
    assert (again.pipeline, again.value) == ("again-to-file", like_it.value)
    assert again.headers == like_it.headers
    told: Any = again.context
    assert told["family"] == "connect"
    assert told["headers"]["__connect.errors.topic"] == ["orders", "orders.connect"]
    assert again.traceback == like_it.traceback


def test_spring_kafkas_own_dead_letters_are_read() -> None:
    for found in recorded("spring_kafka_letters.json"):
        spring = decode_letter(found)
        assert spring is not None
        assert (spring.family, spring.source) == ("spring_kafka", Place("orders", 10, 266))
        assert spring.error == "java.lang.IllegalArgumentException: no rate for XAU"
        assert (spring.condition, spring.pipeline) == ("OperatorError", "shop-group")
        assert (spring.record_ms, spring.written_ms) == (1_700_000_000_000, found.timestamp()[1])
        own = [("kafka_dlt-note", b"mine"), ("kafka_exception-note", b"mine")]
        assert spring.headers == [("trace", b"\x00\xff"), *own]
        assert "SpringDlt.validate" in spring.traceback
        told: Any = spring.context
        assert told["headers"]["kafka_dlt-original-partition"] == "10"


def test_kafka_streams_own_dead_letters_are_read() -> None:
    letters = [decode_letter(r) for r in recorded("streams_letters.json")]
    broken, by_zero = (x for x in letters if x)
    assert (broken.family, broken.source) == ("streams", Place("numbers", 0, 1))
    assert broken.condition == "DecodeError"
    assert broken.error_text == "Size of data received by IntegerDeserializer is not 4"
    assert (by_zero.source, by_zero.headers) == (Place("numbers", 1, 0), [("trace", b"\x00\xff")])
    assert (by_zero.key, by_zero.value) == (b"b", b"\x00\x00\x00\x00")
    assert by_zero.error == "java.lang.ArithmeticException: / by zero"
    assert by_zero.condition == "OperatorError"


# Each family by its documented names

NAMED: dict[str, Headers] = {
    "connect": [
        *DEAD_LETTERS["connect"],
        ("__connect.errors.class.name", b"shop.JdbcTask"),
        ("__connect.errors.exception.class.name", b"shop.NoTable"),
        ("__connect.errors.exception.message", b"no table"),
        ("__connect.errors.exception.stacktrace", b"shop.NoTable: no table\n\tat shop.X.y(X:1)"),
    ],
    "streams": [
        *DEAD_LETTERS["streams"][:2],
        ("__streams.errors.offset", b"5"),
        ("__streams.errors.exception", b"shop.NoTable"),
        ("__streams.errors.message", b"no table"),
        ("__streams.errors.stacktrace", b"shop.NoTable: no table\n\tat shop.X.y(X:1)"),
    ],
    "share_group": [
        *DEAD_LETTERS["share_group"],
        ("__dlq.errors.group", b"shop"),
        ("__dlq.errors.delivery.count", b"5"),
        ("__dlq.errors.message", b"Offset delivery count exceeded the threshold."),
    ],
    "spring_kafka": [
        *DEAD_LETTERS["spring_kafka"][:2],
        ("kafka_dlt-original-offset", (5).to_bytes(8, "big")),
        ("kafka_dlt-exception-fqcn", b"shop.NoTable"),
        ("kafka_dlt-exception-message", b"no table"),
        ("kafka_dlt-exception-stacktrace", b"shop.NoTable: no table\n\tat shop.X.y(X:1)"),
    ],
    "spring_cloud_stream": [
        *DEAD_LETTERS["spring_cloud_stream"][:3],
        ("x-exception-fqcn", b"shop.NoTable"),
        ("x-exception-message", b"no table"),
        ("x-exception-stacktrace", b"shop.NoTable: no table\n\tat shop.X.y(X:1)"),
    ],
    "smallrye": [
        *DEAD_LETTERS["smallrye"][:3],
        ("dead-letter-exception-class-name", b"shop.NoTable"),
        ("dead-letter-reason", b"no table"),
    ],
    "benthos": [
        ("kafka_topic", b"orders"),
        ("kafka_partition", b"7"),
        ("kafka_offset", b"5"),
        ("kafka_timestamp_unix", b"1700"),
        ("error", b"no table"),
    ],
}
ERRORS = {
    "share_group": "DeliveryCountExceeded: Offset delivery count exceeded the threshold.",
    "benthos": "error: no table",
}


@pytest.mark.parametrize("family", NAMED)
def test_each_family_tells_place_and_error_and_leaves_the_applications_headers(family: str) -> None:
    found = read([*OWN, *NAMED[family]], b"\xff", None)
    assert (found.family, found.at) == (family, Place("d", 2, 17))
    assert found.source == Place("orders", 7, 5)
    assert found.error == ERRORS.get(family, "shop.NoTable: no table")
    assert (found.key, found.value, found.headers) == (None, b"\xff", OWN)
    assert found.written_ms == 1_900
    assert len(found.fingerprint) == 16
    stacked = any(name.endswith("stacktrace") for name, _ in NAMED[family])
    assert found.traceback == ("shop.NoTable: no table\n\tat shop.X.y(X:1)" if stacked else "")


@pytest.mark.parametrize("family", NAMED)
def test_without_one_of_its_marks_it_is_the_applications_record(family: str) -> None:
    marks = {name for name, _ in DEAD_LETTERS.get(family, NAMED[family][:3])}
    for without in marks:
        assert decode_letter(record([h for h in NAMED[family] if h[0] != without])) is None


@pytest.mark.parametrize("family", NAMED)
def test_a_place_without_numbers_is_the_applications_own(family: str) -> None:
    for end in ("partition", "offset"):
        headers = [(n, b"none" * 2 + b"!" if n.endswith(end) else v) for n, v in NAMED[family]]
        assert decode_letter(record(headers)) is None


@pytest.mark.parametrize("family", NAMED)
def test_headers_without_values_are_no_reason_to_fail(family: str) -> None:
    found = read([(name, None) for name, _ in NAMED[family]])
    assert found.family == family
    assert found.source == Place("", -1, -1)
    assert (found.attempts, found.traceback, found.headers) == (0, "", [])


@pytest.mark.parametrize("family", NAMED)
def test_of_a_header_that_is_there_twice_the_last_one_counts(family: str) -> None:
    earlier = [(name, b"9" * 3) for name, _ in NAMED[family]]
    once, twice = read(NAMED[family]), read([*earlier, *OWN, *NAMED[family]])
    assert (twice.source, twice.error, twice.headers) == (once.source, once.error, OWN)
    assert twice.fingerprint == once.fingerprint
    told: Any = twice.context
    assert all(texts[0] == "999" for texts in told["headers"].values())


@pytest.mark.parametrize(
    ("number", "read_as"),
    [
        (b"7", 7),
        (b"1234", 1234),
        (b"12345678", 12345678),
        (b"-1", -1),
        ((10).to_bytes(4, "big"), 10),
        ((266).to_bytes(8, "big"), 266),
        ((-1).to_bytes(8, "big", signed=True), -1),
        ((2**62).to_bytes(8, "big"), 2**62),
    ],
)
def test_numbers_are_text_or_as_java_writes_them(number: bytes, read_as: int) -> None:
    headers = [(n, number if n.endswith("offset") else v) for n, v in NAMED["spring_kafka"]]
    assert read(headers).source.offset == read_as


# Conditions


@pytest.mark.parametrize(
    ("stage", "condition"),
    [
        (b"KEY_CONVERTER", "DecodeError"),
        (b"VALUE_CONVERTER", "DecodeError"),
        (b"HEADER_CONVERTER", "DecodeError"),
        (b"TRANSFORMATION", "OperatorError"),
        (b"TASK_PUT", "Refused"),
        (b"KAFKA_PRODUCE", "Refused"),
        (b"A_NEW_ONE", "OperatorError"),
    ],
)
def test_connects_stage_is_the_condition(stage: bytes, condition: str) -> None:
    headers = [(n, stage if n.endswith("stage") else v) for n, v in NAMED["connect"]]
    assert read(headers).condition == condition


@pytest.mark.parametrize(
    ("cls", "condition"),
    [
        (b"org.apache.kafka.common.errors.SerializationException", "DecodeError"),
        (b"org.apache.kafka.common.errors.RecordDeserializationException", "DecodeError"),
        (b"com.fasterxml.jackson.core.JsonParseException", "DecodeError"),
        (b"org.apache.kafka.common.errors.TimeoutException", "Timeout"),
        (b"org.apache.kafka.common.errors.RecordTooLargeException", "RecordTooLarge"),
        (b"jakarta.validation.ConstraintViolationException", "Invalid"),
        (b"java.lang.NullPointerException", "OperatorError"),
        (b"", "OperatorError"),
    ],
)
def test_elsewhere_the_class_of_the_error_is(cls: bytes, condition: str) -> None:
    headers = [(n, cls if n.endswith("exception") else v) for n, v in NAMED["streams"]]
    assert read(headers).condition == condition


def test_a_share_group_tells_rejected_records_from_those_delivered_too_often() -> None:
    often = read(NAMED["share_group"])
    assert (often.condition, often.attempts, often.pipeline) == ("Expired", 5, "shop")
    rejected = read(
        [*NAMED["share_group"], ("__dlq.errors.message", b"Offset rejected by client.")]
    )
    assert (rejected.condition, rejected.error_type) == ("OperatorError", "Rejected")
    new = read([*NAMED["share_group"], ("__dlq.errors.message", b"A new reason.")])
    assert (new.condition, new.error) == ("OperatorError", ": A new reason.")
    without_copy = read(NAMED["share_group"], None, None)
    assert (without_copy.key, without_copy.value) == (None, None)


# The most telling error

WRAPPED = (
    b"org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed\n"
    b"\tat org.springframework.kafka.X.y(X.java:1)\n"
    b"Caused by: java.util.concurrent.ExecutionException: shop.NoRate: none\n"
    b"\t... 3 more\n"
    b"Caused by: shop.NoRate: no rate for XAU\n\tat shop.Rates.of(Rates.java:7)\n"
)


def spring(**texts: bytes) -> StoredLetter:
    return read([*DEAD_LETTERS["spring_kafka"], *with_prefix("kafka_dlt-", **texts)])


def test_wrappers_are_looked_through() -> None:
    listener = b"org.springframework.kafka.listener.ListenerExecutionFailedException"
    found = spring(
        exception_fqcn=listener,
        exception_cause_fqcn=b"java.util.concurrent.ExecutionException",
        exception_message=b"Listener failed",
        exception_stacktrace=WRAPPED,
    )
    assert found.error == "shop.NoRate: no rate for XAU"
    assert found.traceback == WRAPPED.decode()
    cut = spring(exception_fqcn=listener, exception_cause_fqcn=b"shop.NoRate")
    assert cut.error_type == "shop.NoRate"
    alone = spring(exception_fqcn=listener, exception_message=b"Listener failed")
    assert alone.error == f"{listener.decode()}: Listener failed"


def test_a_key_that_cannot_be_read_is_a_decode_error_with_its_own_stack() -> None:
    found = spring(
        key_exception_fqcn=b"org.springframework.kafka.support.serializer.X",
        key_exception_message=b"bad key",
        key_exception_stacktrace=b"X: bad key",
    )
    assert (found.condition, found.error_text) == ("DecodeError", "bad key")
    assert found.traceback == "X: bad key"


def test_retry_topics_have_names_of_their_own_and_tell_attempts() -> None:
    headers: Headers = [
        ("kafka_original-topic", b"orders"),
        ("kafka_original-partition", (7).to_bytes(4, "big")),
        ("kafka_original-offset", (5).to_bytes(8, "big")),
        ("kafka_exception-fqcn", b"shop.NoRate"),
        ("kafka_exception-message", b"no rate"),
        ("kafka_dlt-original-consumer-group", b"shop"),
        ("retry_topic-attempts", (3).to_bytes(4, "big")),
        ("retry_topic-original-timestamp", b"1"),
    ]
    found = read([*OWN, *headers])
    assert (found.family, found.pipeline, found.attempts) == ("spring_kafka", "shop", 3)
    assert (found.source, found.headers) == (Place("orders", 7, 5), OWN)
    assert found.error == "shop.NoRate: no rate"
    mine: Headers = [("retry_topic-attempts", b"9")]
    assert read([*mine, *NAMED["connect"]]).headers == mine


def test_smallrye_tells_the_cause_of_a_wrapper() -> None:
    wrapper: Headers = [
        ("dead-letter-exception-class-name", b"java.util.concurrent.CompletionException"),
        ("dead-letter-cause-class-name", b"shop.NoRate"),
        ("dead-letter-cause", b"no rate for XAU"),
    ]
    assert read([*DEAD_LETTERS["smallrye"], *wrapper]).error == "shop.NoRate: no rate for XAU"


def test_benthos_users_may_write_the_error_as_an_object() -> None:
    error = b'{"what":"no rate","name":"mapping","label":"to_eur","path":"root.pipeline"}'
    found = read([*NAMED["benthos"][:3], ("error", error), ("kafka_timestamp_ms", b"1700")])
    assert (found.error_text, found.operator, found.record_ms) == ("no rate", "to_eur", 1_700)
    assert read(NAMED["benthos"]).record_ms == 1_700_000
    sink = read([*NAMED["benthos"], ("fallback_error", b"503")])
    assert (sink.condition, sink.error) == ("Refused", "fallback_error: 503")
    odd = read([*NAMED["benthos"][:3], ("dlq_reason", b'{"what": 5}')])
    assert odd.error == 'dlq_reason: {"what": 5}'


def test_the_fingerprint_is_that_of_the_code_and_not_of_the_data() -> None:
    def at(method: str, data: str) -> str:
        stack = f"shop.NoRate: rate [{data}]\n\tat java.base/java.util.X.y(X.java:1)\n"
        stack += f"\tat app//shop.Rates.{method}(Rates.java:{len(data)})\n"
        return spring(
            exception_fqcn=b"shop.NoRate",
            exception_message=f"rate [{data}] (of {data} (x))".encode(),
            exception_stacktrace=stack.encode(),
        ).fingerprint

    assert at("of", "abc") == at("of", "quite another")
    assert at("of", "abc") != at("by", "abc")
    assert at("lambda$of$0", "abc") == at("lambda$of$17", "abc")


# More than one family


def test_a_dead_letter_of_ours_stays_ours() -> None:
    encoded = encode(letter(headers=OWN))
    found = read([*encoded.headers, *NAMED["connect"]], encoded.value)
    assert (found.family, found.source) == ("kafka_etl", Place("orders", 3, 42))
    assert found.headers == OWN
    told: Any = found.context
    assert [entry["family"] for entry in told["history"]] == ["connect"]
    assert found.traceback == ERROR.traceback


def test_of_two_systems_the_last_one_tells_and_the_first_is_history() -> None:
    found = read([*NAMED["spring_kafka"], *OWN, *NAMED["connect"]])
    assert (found.family, found.headers) == ("connect", OWN)
    told: Any = found.context
    assert [entry["family"] for entry in told["history"]] == ["spring_kafka"]
    assert read([*NAMED["connect"], *NAMED["spring_kafka"]]).family == "spring_kafka"


def test_a_letter_without_connects_context_headers_is_none() -> None:
    assert decode_letter(record(OWN)) is None


# The page


def test_the_page_names_every_family_and_every_mark() -> None:
    page = (Path(__file__).parents[3] / "docs/dead-letters/other-systems.md").read_text()
    for family in FOREIGN:
        assert f"`{family.name}`: " in page
        for name in family.marks | family.one_of:
            prefix = next((p for p in re.findall(r"`([^`]+)` \+", page) if name.startswith(p)), "")
            assert f"`{name.removeprefix(prefix)}`" in page, name
