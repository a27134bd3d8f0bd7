"""Whatever failed however: the dead letter can be encoded, read, and fits its topic."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.envelope import FOREIGN, Encoded, Provenance, encode_raw
from kafka_etl.invocation import Attempt, Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.testing import StoredRecord

PLENTY = 10_000_000
names = st.text("abc-._é", min_size=1, max_size=60)
sizes = st.sampled_from([0, 1, 10, 1_000, 5_000])


class Odd(Exception):
    """Its text is whatever it is given."""

    def __str__(self) -> str:
        return self.args[0]


@st.composite
def errors(draw: st.DrawFn) -> ErrorInfo:
    """Of real exceptions, with texts that may hold anything, lone surrogates too."""
    text = draw(st.text(max_size=30)) * draw(sizes)
    try:
        try:
            raise Odd(draw(st.text(max_size=30)))
        except Odd as cause:
            raise Odd(text) from cause
    except Odd as error:
        info = ErrorInfo.of(error)
    return ErrorInfo(info.type, info.message, info.traceback * draw(sizes), info.causes)


header_names = (
    st.text("aé-", min_size=1, max_size=20)
    | st.sampled_from([name for family in FOREIGN for name in sorted(family.names)])
    | st.sampled_from([f"{name}s" for family in FOREIGN for name in sorted(family.marks)])
    | st.sampled_from(["kafka_etl.context", "kafka_etl.topic", "kafka_etl.x", "traceparent"])
)
header_values = (
    st.none()
    | st.binary(max_size=50)
    | st.integers(0, 2**31 - 1).map(lambda n: n.to_bytes(4, "big"))
    | st.integers(0, 10**9).map(lambda n: str(n).encode())
    | st.builds(lambda b, n: b * n, st.binary(max_size=5), sizes)
    | st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.text("ab", max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["history", "at_ms", "a"]), inner, max_size=3)
        ),
    ).map(orjson.dumps)
)


@st.composite
def header_lists(draw: st.DrawFn) -> list[tuple[str, bytes | None]]:
    """The application's own, and perhaps those of another system's dead letter."""
    marks = draw(st.just(frozenset[str]()) | st.sampled_from([family.marks for family in FOREIGN]))
    names = [*draw(st.lists(header_names, max_size=8)), *sorted(marks)]
    return [(name, draw(header_values)) for name in draw(st.permutations(names))]


@st.composite
def letters(draw: st.DrawFn) -> DeadLetter:
    record = StoredRecord(
        draw(st.none() | st.builds(lambda b, n: b * n, st.binary(max_size=9), sizes)),
        draw(st.none() | st.binary(max_size=64)),
        draw(header_lists()),
        timestamp_ms=draw(st.none() | st.integers(0, 2**41)),
        topic=draw(names),
        partition=draw(st.integers(0, 10_000)),
        offset=draw(st.integers(0, 2**62)),
    )
    error = draw(errors())
    attempts = tuple(Attempt(n, n, n, error.message[:100]) for n in range(draw(st.integers(0, 12))))
    failure = Failure(0, draw(st.sampled_from(Condition)), error, draw(names), attempts)
    return DeadLetter(record, failure, draw(names), draw(st.integers(0, 2**41)))


@st.composite
def provenances(draw: st.DrawFn) -> Provenance:
    texts = [draw(names) for _ in range(5)]
    return Provenance(*texts, pid=1, kafka_etl="1", python="3", versions={"a": "b" * 12})


def own(headers: Any) -> list[Any]:
    last = dict(headers or [])
    theirs = {name for family in FOREIGN if family.wrote(last) for name in family.names}
    return [h for h in headers or [] if h[0] not in theirs and not h[0].startswith("kafka_etl.")]


def core(encoded: Encoded) -> dict[str, bytes | None]:
    return {name: value for name, value in encoded.headers if name.startswith("kafka_etl.")}


@given(letters(), provenances())
def test_with_room_everything_is_there_byte_for_byte(letter: DeadLetter, about: Provenance) -> None:
    encoded = encode_raw(letter, about, PLENTY)
    record = letter.record
    assert (encoded.key, encoded.value) == (record.key(), record.value())
    assert own(encoded.headers) == own(record.headers())
    context = orjson.loads(core(encoded)["kafka_etl.context"] or b"")
    assert context["truncated"] == []
    assert context["error"]["message"] == letter.failure.error.message
    assert context["error"]["traceback"] == letter.failure.error.traceback


@given(letters(), provenances(), st.integers(2_048, 60_000))
def test_it_always_fits_from_two_kibibytes_on(
    letter: DeadLetter, about: Provenance, limit: int
) -> None:
    encoded = encode_raw(letter, about, limit)
    assert encoded.size <= limit
    found = core(encoded)
    assert found["kafka_etl.offset"] == str(letter.record.offset()).encode()
    assert found["kafka_etl.topic"] == (letter.record.topic() or "").encode()
    assert all((value or b"").decode() is not None for value in found.values())
    truncated = orjson.loads(found["kafka_etl.context"] or b"")["truncated"]
    if encoded.value != letter.record.value():
        assert "value" in str(truncated)
        assert orjson.loads(encoded.value or b"")["reference"]["offset"] == letter.record.offset()
    if own(encoded.headers) != own(letter.record.headers()):
        assert "headers" in str(truncated)
    assert encoded.key == letter.record.key()


@given(letters(), provenances())
def test_failing_again_and_again_it_does_not_grow(letter: DeadLetter, about: Provenance) -> None:
    encoded = encode_raw(letter, about, 100_000)
    seen: list[int] = []
    for _ in range(13):
        record = StoredRecord(encoded.value, encoded.key, encoded.headers, topic="dlq")
        again = DeadLetter(record, letter.failure, "id", 5)
        encoded = encode_raw(again, about, 100_000)
        seen.append(len(encoded.headers))
        history = orjson.loads(core(encoded)["kafka_etl.context"] or b"").get("history", [])
        assert len(history) <= 50
    assert len(set(seen)) == 1
