"""Whatever fails, and however small the limit: valid JSON that fits, and cuts that are listed."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl.dead_letters.document import decode_envelope
from kafka_etl.envelope import Provenance, encode_failure
from kafka_etl.invocation import Attempt, Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.testing import StoredRecord
from tests.kit.function_consumer import read

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
NASTY = st.builds(
    lambda text, times: (text or "x") * times,
    st.sampled_from(["\x00", '"', "\\", "é", "😀", "a", "\x7f", "\u2028"]),
    st.sampled_from([0, 1, 50, 500, 5_000, 20_000]),
)
BYTES = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.builds(
        lambda unit, times: unit * times,
        st.sampled_from([b"\xff", b"\x00", b"v", b'"']),
        st.sampled_from([1, 1_000, 60_000, 300_000]),
    ),
)


@st.composite
def letters(draw):
    headers = draw(st.lists(st.tuples(TEXTS, BYTES), max_size=3))
    record = StoredRecord(
        draw(BYTES),
        draw(BYTES),
        headers,
        timestamp_ms=1,
        topic="t" * 249,
        partition=1,
        offset=2**62,
    )
    count = draw(st.sampled_from([0, 1, 3, 200]))
    attempts = tuple(Attempt(n, n, n + 1, draw(NASTY)[:2_000]) for n in range(min(count, 3)))
    attempts += tuple(Attempt(n, n, n + 1, "again") for n in range(3, count))
    error = ErrorInfo(draw(NASTY)[:500], draw(NASTY), draw(NASTY), (draw(NASTY)[:2_000],))
    failure = Failure(0, draw(st.sampled_from(Condition)), error, draw(NASTY)[:100], attempts)
    return DeadLetter(record, failure, draw(TEXTS), at_ms=5)


@settings(max_examples=150, deadline=None)
@given(letters(), st.sampled_from([2_048, 4_096, 10_000, 20_000, 49_152, 65_536, 1_000_000]))
def test_a_document_fits_is_json_and_lists_its_cuts(letter, limit):
    about = Provenance("p" * 100, "c" * 64, "g", "w", "h", 1, "1", "3", {"x": "1"})
    data = encode_failure(letter, about, limit)
    assert len(data) <= limit
    message = read(data)
    assert message.elements[0].offset == 2**62
    assert message.condition == letter.failure.condition
    document = json.loads(data)
    found = decode_envelope(data)
    cuts = {cut["path"] for cut in document["truncated"]}
    assert all(cut["keptBytes"] < cut["originalBytes"] for cut in document["truncated"])
    if "" in cuts:
        return
    for path, kept, whole in (
        ("requestPayload[0].value", found.value, letter.record.value()),
        ("requestPayload[0].key", found.key, letter.record.key()),
        ("error.traceback", found.traceback, letter.failure.error.traceback),
        ("error.message", found.error_text, letter.failure.error.message),
        ("error.cause", document["error"]["cause"], list(letter.failure.error.causes)),
    ):
        assert (kept == whole) == (path not in cuts), path
