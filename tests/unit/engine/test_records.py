"""Operators that take or give a `Record`: keys, headers, timestamps and topics."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl import DROP, Permanent, Record, operator
from kafka_etl.codecs import JSON, TEXT
from kafka_etl.engine.pools.pickling import pack_result, unpack_result
from kafka_etl.invocation import Condition
from kafka_etl.record import KEEP, Headers
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import chain_of, run

HEADERS = [("a", b"1"), ("a", None), ("b", b"\xff")]


def source(value: bytes | None = b"1", **more: Any) -> StoredRecord:
    parts = {"key": b"key", "headers": HEADERS, "timestamp_ms": 5000, "offset": 7, **more}
    return StoredRecord(value, **parts)


def test_an_operator_sees_all_of_a_record() -> None:
    def op(record: Record) -> list[Any]:
        assert record.headers == HEADERS
        assert record.header("a") is None
        assert record.header("b") == b"\xff"
        assert record.header("c") is None
        place = [record.topic, record.partition, record.offset]
        return [[record.value, record.key.decode(), record.timestamp, *place]]

    assert run(op, source(b'{"v":1}')).values == [[{"v": 1}, "key", 5000, "in", 0, 7]]


def test_what_an_operator_leaves_alone_travels_on() -> None:
    def op(record: Record) -> Record:
        return record.replace(value=2)

    def fresh(value: int) -> Record:
        return Record(value + 1)

    outputs = run(chain_of(op, fresh), source()).outputs
    assert outputs.values == [b"3"]
    assert outputs.keys == [b"key"]
    assert outputs.headers == [HEADERS]
    assert outputs.timestamps is None
    assert outputs.topics is None


def test_assigning_the_value_is_enough() -> None:
    def op(record: Record) -> Record:
        record.value += 1
        return record

    assert run(op, source()).values == [2]


def test_what_an_operator_sets_is_written() -> None:
    def op(record: Record) -> Record:
        return record.replace(value=2, key=b"new", headers=[("c", b"3")], timestamp=9).to("out")

    outputs = run(op, source()).outputs
    assert (outputs.values, outputs.keys) == ([b"2"], [b"new"])
    assert (outputs.headers, outputs.timestamps, outputs.topics) == ([[("c", b"3")]], [9], ["out"])


def test_what_an_operator_sets_lasts_through_later_ones() -> None:
    def first(value: int) -> Record:
        return Record(value, key=b"first", headers=[("h", b"1")])

    def second(record: Record) -> Record:
        assert (record.key, record.headers) == (b"first", [("h", b"1")])
        return record.replace(timestamp=9)

    def third(value: int) -> list[int]:
        return [value, value]

    outputs = run(chain_of(first, second, third), source()).outputs
    assert outputs.keys == [b"first"] * 2
    assert outputs.headers == [[("h", b"1")]] * 2
    assert outputs.timestamps == [9, 9]


def test_only_the_records_that_set_something_differ() -> None:
    def op(value: int) -> int | Record:
        return Record(value, key=None, headers=[], timestamp=1) if value == 2 else value

    outputs = run(op, source(b"1"), source(b"2"), source(b"3")).outputs
    assert outputs.keys == [b"key", None, b"key"]
    assert outputs.headers == [HEADERS, [], HEADERS]
    assert outputs.timestamps == [0, 1, 0]


def test_several_records_from_one() -> None:
    def op(record: Record) -> list[Record]:
        return [record, record.replace(key=b"b"), Record(3, key=b"c"), record.tombstone()]

    ran = run(op, source())
    assert ran.values == [1, 1, 3, None]
    assert ran.outputs.keys == [b"key", b"b", b"c", b"key"]
    assert ran.outputs.headers == [HEADERS] * 4
    assert ran.origins == [0, 0, 0, 0]


def test_a_record_goes_to_a_route() -> None:
    def op(record: Record) -> Record:
        return record.to("other") if record.value == 2 else record

    ran = run(chain_of(op, routes=frozenset({"other"})), source(b"1"), source(b"2"))
    assert ran.outputs.topics == [None, "other"]


def test_topics_that_are_not_listed_are_looked_up_once_for_all_records() -> None:
    asked = []

    def look_up(topics: Any) -> dict[str, str]:
        asked.append(sorted(topics))
        return {"b": "not there"}

    def op(record: Record) -> Record:
        return record.to(record.value)

    chain = chain_of(op, routes=frozenset({"other"}), look_up=look_up)
    ran = run(chain, *map(source, [b'"a"', b'"b"', b'"other"', b'"a"', b'"out"', b"5"]))
    assert asked == [["a", "b"]]
    assert ran.outputs.topics == ["a", "other", "a", "out"]
    assert ran.failed[1] == "ValueError: `to('b')`: not there"
    assert "`to(5)`" in ran.failed[5]


def test_listed_topics_are_not_looked_up() -> None:
    def op(record: Record) -> Record:
        return record.to("other")

    def look_up(topics: Any) -> dict[str, str]:
        raise AssertionError(topics)

    ran = run(chain_of(op, routes=frozenset({"other"}), look_up=look_up), source(b"1"))
    assert ran.outputs.topics == ["other"]


@pytest.mark.parametrize("topic", ["elsewhere", "", 5])
def test_another_topic_is_refused(topic: Any) -> None:
    def op(record: Record) -> Record:
        return record.to(topic) if record.value == 2 else record

    ran = run(chain_of(op, routes=frozenset({"other"})), source(b"1"), source(b"2"))
    assert ran.values == [1]
    assert ran.failure().condition is Condition.OPERATOR_ERROR
    assert repr(topic) in ran.failed[1]
    assert "other" in ran.failed[1]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"timestamp": "now"}, "a timestamp is a number of milliseconds"),
        ({"timestamp": 1.5}, "a timestamp is a number of milliseconds"),
        ({"headers": {"a": b"1"}}, "headers are a list"),
        ({"headers": [("a", 5)]}, "headers are a list"),
        ({"headers": [b"a"]}, "headers are a list"),
        ({"headers": 5}, "headers are a list"),
        ({"key": 5}, "returned a key of type int: return bytes or str, or name a codec, for exa"),
        ({"key": 5}, "for example `key: json`"),
    ],
)
def test_what_no_sink_could_write_fails_alone(change: dict[str, Any], error: str) -> None:
    def op(record: Record) -> Record:
        return record.replace(**change) if record.value == 2 else record

    ran = run(chain_of(op, size_limits={"out": 10_000}), source(b"1"), source(b"2"))
    assert ran.values == [1]
    assert error in ran.failed[1]
    assert ran.failure().condition is Condition.ENCODE_ERROR
    assert len(run(chain_of(op, size_limits={"out": 10}), source(b"2")).failed) == 1


# Keys with a codec


def test_a_key_codec_decodes_and_encodes_keys() -> None:
    def op(record: Record) -> Record:
        return record.replace(key=record.key | {"b": 2})

    ran = run(chain_of(op, key=JSON), source(key=b'{"a":1}'))
    assert ran.outputs.keys == [b'{"a":1,"b":2}']


def test_an_untouched_key_keeps_its_bytes() -> None:
    """Encoded anew they might differ, and the record would change its partition."""

    def op(record: Record) -> Record:
        assert record.key == {"a": 1}
        return record.replace(value=2)

    assert run(chain_of(op, key=JSON), source(key=b'{ "a" : 1 }')).outputs.keys == [b'{ "a" : 1 }']


def test_without_a_key_there_is_nothing_to_decode() -> None:
    def op(record: Record) -> Record:
        assert record.key is None
        return record

    assert run(chain_of(op, key=JSON), source(key=None)).outputs.keys == [None]


def test_a_key_that_cannot_be_decoded_fails_alone() -> None:
    def op(record: Record) -> Record:
        return record

    ran = run(chain_of(op, key=JSON), source(key=b"1"), source(key=b"{"), source(key=b"3"))
    assert ran.outputs.keys == [b"1", b"3"]
    assert ran.failure().index == 1
    assert ran.failure().condition is Condition.DECODE_ERROR


def test_a_key_that_cannot_be_encoded_fails_alone() -> None:
    def op(record: Record) -> Record:
        return record.replace(key={1, 2}) if record.value == 2 else record

    ran = run(chain_of(op, key=TEXT), source(b"1"), source(b"2"))
    assert ran.values == [1]
    assert ran.failure().operator == "key codec text"
    assert ran.failure().condition is Condition.ENCODE_ERROR


def test_keys_are_not_decoded_for_value_operators() -> None:
    def op(value: int) -> int:
        return value

    assert run(chain_of(op, key=JSON), source(key=b"{not json")).outputs.keys == [b"{not json"]


# Timestamps and sizes


def test_outputs_may_carry_the_timestamp_of_their_source() -> None:
    def op(value: int) -> list[Any]:
        return [value, Record(value, timestamp=9)]

    chain = chain_of(op, source_timestamp=True)
    ran = run(chain, source(timestamp_ms=5000), source(timestamp_ms=None))
    assert ran.outputs.timestamps == [5000, 9, 0, 9]


def test_a_record_larger_than_its_topic_takes_fails_alone() -> None:
    def op(value: int) -> Any:
        return "x" * value

    chain = chain_of(op, size_limits={"out": 10_000, "other": 100}, routes=frozenset({"other"}))
    ran = run(chain, source(b"9000"), source(b"10000"), source(b"50"))
    assert [len(value) for value in ran.values] == [9000, 50]
    assert ran.failure().condition is Condition.RECORD_TOO_LARGE
    assert "out takes at most 10,000" in ran.failed[1]
    assert ran.outputs.size == 9002 + 52


def test_headers_and_key_count_towards_the_size() -> None:
    def op(record: Record) -> Record:
        return record.replace(headers=[("h", b"x" * 5000)], key=b"k" * 5000)

    chain = chain_of(op, size_limits={"out": 10_000})
    assert (
        run(chain, source(b'"%s"' % (b"x" * 6000))).failure().condition
        is Condition.RECORD_TOO_LARGE
    )


def test_sizes_follow_the_topic_a_record_goes_to() -> None:
    def op(record: Record) -> Record:
        return record.to("other") if record.value == "b" * 200 else record

    limits = {"out": 10_000, "other": 300}
    chain = chain_of(op, size_limits=limits, routes=frozenset({"other"}))
    ran = run(chain, *(source(b'"%s"' % (letter * 200)) for letter in (b"a", b"b")))
    assert list(ran.failed) == [1]
    assert "other takes at most 300" in ran.failed[1]


def test_a_record_of_ones_own_leaves_open_what_is_not_set() -> None:
    record = Record(1)
    assert [record.key, record.headers, record.timestamp] == [KEEP, KEEP, KEEP]
    assert (record.topic, record.partition, record.offset) == ("", -1, -1)


def test_failing_after_routing_leaves_nothing_behind() -> None:
    def op(record: Record) -> list[Record]:
        return [record.to("other"), record.to("wrong")]

    def after(value: int) -> int:
        raise Permanent

    assert run(chain_of(op, routes=frozenset({"other"})), source()).values == []
    assert run(chain_of(op, after, routes=frozenset({"other"})), source()).values == []


def test_parts_of_a_record_may_be_assigned() -> None:
    def op(record: Record) -> Record:
        record.key, record.timestamp = b"new", 5
        record.headers.append(("more", b"1"))
        return record

    outputs = run(op, source(b"1")).outputs
    assert outputs.keys == [b"new"]
    assert outputs.timestamps == [5]
    assert outputs.headers == [[*HEADERS, ("more", b"1")]]


def test_a_timestamp_may_be_set_to_what_it_was() -> None:
    def op(record: Record) -> Record:
        return record.replace(timestamp=record.timestamp) if record.value == 1 else record

    assert run(op, source(b"1"), source(b"2")).outputs.timestamps == [5000, 0]
    assert run(lambda record: record, source(b"1")).outputs.timestamps is None


def test_a_decoded_null_is_no_tombstone() -> None:
    """Written as one it would delete its key."""

    def op(record: Record) -> Record:
        if record.offset == 2:
            return record.tombstone()
        return record.replace(headers=[("seen", b"1")]) if record.offset == 1 else record

    def twice(record: Record) -> list[Record]:
        return [record, record.replace(key=b"2")]

    def batch(records: list[Record]) -> list[Record]:
        return records

    sources = [source(b"null", offset=n) for n in range(3)] + [source(b"5", offset=3)]
    expected = [b"null", b"null", None, b"5"]
    assert run(chain_of(op), *sources).outputs.values == expected
    assert run(chain_of(op, batch), *sources).outputs.values == expected
    assert run(chain_of(twice), source(b"null")).outputs.values == [b"null", b"null"]
    assert run(chain_of(op), source(None)).outputs.values == [None]
    assert run(chain_of(lambda _record: Record(None)), source(b"null")).outputs.values == [None]
    crossed = unpack_result(pack_result(Record(None).tombstone()), Record(None))
    assert crossed.emptied


# Lists of headers, and timestamps, of several outputs


def tagged(record: Record) -> Record:
    record.headers.append(("n", str(record.value).encode()))
    return record


def test_outputs_of_one_record_do_not_share_headers() -> None:
    def twice(value: int) -> list[int]:
        return [value, value * 10]

    ran = run(chain_of(twice, tagged), source(b"1", headers=None))
    assert ran.outputs.headers == [[("n", b"1")], [("n", b"10")]]


def test_copies_of_a_record_do_not_share_headers() -> None:
    def op(record: Record) -> list[Record]:
        copies = [record, record.to("out"), record.replace(value=2), record.tombstone()]
        copies[-1].headers.append(("only", b"the last"))
        return copies

    ran = run(op, source(b"1", headers=None))
    assert ran.outputs.headers == [[], [], [], [("only", b"the last")]]


def test_a_list_that_an_operator_keeps_is_not_appended_to() -> None:
    kept: Headers = [("kept", b"")]

    def op(value: int) -> Record:
        return Record(value, headers=kept)

    ran = run(chain_of(op, tagged), source(b"1", headers=None), source(b"2", headers=None))
    assert ran.outputs.headers == [
        [("kept", b""), ("n", b"1")],
        [("kept", b""), ("n", b"2")],
    ]
    assert kept == [("kept", b"")]


def stamped_records() -> list[StoredRecord]:
    return [StoredRecord(b"%d" % n, b"k", offset=n, timestamp_ms=1000 + n) for n in range(3)]


def same(record: Record) -> Record:
    return record


def to_what_it_was(record: Record) -> Record:
    return record.replace(timestamp=record.timestamp)


def drops_one(record: Record) -> Any:
    return DROP if record.value == 0 else record


def changes_one(record: Record) -> Record:
    if record.value == 0:
        record.timestamp = 5
    return record


def drops_one_of_many(records: list[Record]) -> list[Record]:
    return records[1:]


@operator(mixes=True)
def mixes(records: list[Record]) -> list[Record]:
    return records


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        ([same], [1000, 1001, 1002]),
        ([drops_one], [1001, 1002]),
        ([drops_one, same], [1001, 1002]),
        ([changes_one], [5, 1001, 1002]),
        ([drops_one_of_many], [1001, 1002]),
        ([mixes], [1000, 1001, 1002]),
    ],
)
def test_a_timestamp_that_was_set_stays_set(then: list[Any], expected: list[int]) -> None:
    ran = run(chain_of(to_what_it_was, *then), *stamped_records())
    assert ran.outputs.timestamps == expected


@pytest.mark.parametrize("then", [[], [same], [drops_one], [drops_one, same]])
def test_one_that_nobody_set_is_the_sinks(then: list[Any]) -> None:
    assert run(chain_of(drops_one, *then), *stamped_records()).outputs.timestamps is None


def test_a_list_that_a_batch_operator_fills_anew_is_read_at_once() -> None:
    """It is called once for each stretch of records with a value."""
    kept: list[Any] = []

    def op(values: list[int]) -> list[int]:
        kept[:] = values
        return kept

    assert run(op, 1, None, 2).values == [1, None, 2]
