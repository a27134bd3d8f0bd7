"""Whatever an application puts beside another system's headers survives, byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.envelope import FOREIGN, Family
from kafka_etl.envelope.families import RETRY_TOPIC
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_envelope import ABOUT, encode, letter

EVERY_NAME = frozenset(name for family in FOREIGN for name in family.names)
PREFIXES = (
    *("__connect.errors.", "__streams.errors.", "__dlq.errors.", "kafka_dlt-", "kafka_"),
    *("x-original-", "x-exception-", "dead-letter-", "retry_topic-"),
)
values = st.none() | st.binary(max_size=40)
like_theirs = (
    st.builds(str.__add__, st.sampled_from(PREFIXES), st.text("abc-._é", min_size=1, max_size=8))
    | st.sampled_from(sorted(EVERY_NAME)).flatmap(
        lambda name: st.sampled_from([f"{name}s", name.upper(), f" {name}", name[:-1]])
    )
).filter(lambda name: name not in EVERY_NAME | RETRY_TOPIC)
own_headers = st.lists(st.tuples(like_theirs | st.text("ab", max_size=3), values), max_size=6)


@st.composite
def written(draw: st.DrawFn, family: Family) -> Headers:
    """What a system writes: its marks, and some of its other headers, numbers in any form."""
    rest = draw(st.sets(st.sampled_from(sorted(family.names))))
    one = draw(st.sampled_from(sorted(family.one_of))) if family.one_of else family.topic
    numbers = st.integers(0, 2**31 - 1)
    as_written = numbers.map(lambda n: str(n).encode()) | numbers.map(
        lambda n: (n | 2**7).to_bytes(8, "big")
    )
    return [
        (name, draw(as_written if name in {family.partition, family.offset} else values))
        for name in draw(st.permutations(sorted(family.marks | rest | {one})))
    ]


@st.composite
def mixed(draw: st.DrawFn) -> tuple[Family, Headers, Headers]:
    """A family, the application's headers, and both mixed."""
    family = draw(st.sampled_from(FOREIGN))
    theirs, own = draw(written(family)), draw(own_headers)
    places = draw(st.permutations([True] * len(theirs) + [False] * len(own)))
    left, right = iter(theirs), iter(own)
    return family, own, [next(left) if theirs_now else next(right) for theirs_now in places]


@given(mixed(), values, values)
def test_the_applications_headers_come_out_byte_for_byte(
    given: tuple[Family, Headers, Headers], key: bytes | None, value: bytes | None
) -> None:
    family, own, headers = given
    found = decode_letter(StoredRecord(value, key, headers, topic="d"))
    assert found is not None
    assert (found.family, found.headers) == (family.name, own)
    assert (found.key, found.value) == (key, value)


@given(mixed())
def test_they_survive_the_next_failure_too(given: tuple[Family, Headers, Headers]) -> None:
    _, own, headers = given
    encoded = encode(letter(headers=headers))
    found = decode_letter(StoredRecord(encoded.value, encoded.key, encoded.headers, topic="d"))
    assert found is not None
    assert (found.family, found.headers, found.pipeline) == ("kafka_etl", own, ABOUT.pipeline)


@given(own_headers)
def test_headers_that_look_alike_make_no_dead_letter(own: Headers) -> None:
    assert decode_letter(StoredRecord(b"1", headers=own)) is None


@given(st.lists(st.tuples(st.sampled_from(sorted(EVERY_NAME)) | like_theirs, values), max_size=20))
def test_nothing_that_a_stranger_writes_is_an_error(headers: Headers) -> None:
    found = decode_letter(StoredRecord(b"1", headers=headers, topic="d"))
    if found is not None:
        assert [h for h in found.headers if h[0] not in EVERY_NAME | RETRY_TOPIC] == [
            h for h in headers if h[0] not in EVERY_NAME | RETRY_TOPIC
        ]
