"""Rows of dead letters: what is exported and imported again is the same, byte for byte."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.statuses import LetterStatus
from kafka_etl.dlq.exchange import LetterLine, line_of, lines_in, write_parquet
from kafka_etl.envelope import Encoded, encode_failure, encode_raw
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import ABOUT, letter

data = st.none() | st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
names = st.text(max_size=10) | st.sampled_from(["kafka_etl.context", "kafka_etl.x", "traceparent"])
headers = st.lists(st.tuples(names, data), max_size=5)
limits = st.sampled_from([10**6, 3_000, 1])


def stored(value: bytes | None, key: bytes | None, own: Headers, limit: int, form: str) -> Encoded:
    """A dead letter in its topic, which a stranger's headers may stand in, too."""
    dead = letter(value, key, own)
    if form == "envelope":
        return Encoded(key, encode_failure(dead, ABOUT, limit), own)
    made = encode_raw(dead, ABOUT, limit)
    return Encoded(made.key, made.value, [*made.headers, *own])


def row_of(encoded: Encoded) -> LetterLine:
    record = in_topic(encoded)
    read = decode_letter(record)
    assert read is not None
    return line_of(record, read, LetterStatus.OPEN)


@given(data, data, headers, limits, st.sampled_from(["raw", "envelope"]))
def test_a_row_makes_the_same_dead_letter(
    value: bytes | None, key: bytes | None, own: Headers, limit: int, form: str
) -> None:
    encoded = stored(value, key, own, limit, form)
    line = msgspec.json.decode(msgspec.json.encode(row_of(encoded)), type=LetterLine)
    again = line.encoded()
    assert (again.key, again.value, again.headers) == (encoded.key, encoded.value, encoded.headers)
    before, after = decode_letter(in_topic(encoded)), decode_letter(in_topic(again))
    assert before == after


@settings(max_examples=20)
@given(st.lists(st.tuples(data, data, headers, limits), max_size=5))
def test_parquet_makes_the_same_rows(
    letters: list[tuple[bytes | None, bytes | None, Headers, int]],
) -> None:
    rows = [row_of(stored(*one, "raw")) for one in letters]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "letters.parquet"
        assert write_parquet(path, iter(rows)) == len(rows)
        assert [line for _, line in lines_in(path)] == rows


def test_bad_rows_are_told_with_their_numbers(tmp_path: Path) -> None:
    good = msgspec.json.encode(row_of(stored(b"v", b"k", [], 10**6, "raw")))
    no_base64 = good.replace(
        b'"value":"v","value_encoding":"utf-8"', b'"value":"v","value_encoding":"base64"'
    )
    no_headers = good.replace(b'"headers":"[[', b'"headers":"[7,[')
    assert len({good, no_base64, no_headers}) == 3
    path = tmp_path / "letters.jsonl"
    path.write_bytes(b"\n".join([good, b"", b"{}", b"no JSON", no_base64, no_headers, good]))
    found = {place: line for place, line in lines_in(path) if isinstance(line, str)}
    assert found.keys() == {"line 3", "line 4", "line 5", "line 6"}
    assert "missing required field `id`" in found["line 3"]
    assert "[name, value, encoding]" in found["line 6"]


def test_a_row_knows_its_partition() -> None:
    known = row_of(stored(b"v", b"k", [], 10**6, "raw"))
    assert known.partition == 3
    assert msgspec.structs.replace(known, source_partition=-1).partition == 2


def test_key_and_value_are_the_records_own_in_either_format() -> None:
    for form in ("raw", "envelope"):
        line = row_of(stored(b"\xff", b"k", [], 10**6, form))
        assert (line.key, line.key_encoding) == ("k", "utf-8")
        assert (line.value, line.value_encoding) == ("/w==", "base64")


def test_nothing_of_the_clock_is_lost_without_a_time() -> None:
    record = StoredRecord(b"v", headers=[("kafka_etl.condition", b"Timeout")])
    read = decode_letter(record)
    assert read is not None
    line = line_of(record, read, LetterStatus.DROPPED)
    assert (line.written, line.record_written, line.status) == (None, None, "dropped")
