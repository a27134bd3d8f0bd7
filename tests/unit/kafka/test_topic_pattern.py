"""Patterns of topics: what Python and the client's regular expressions read alike, and no more."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.kafka.topic_pattern import matches, objection
from tests.unit.config.project import MARK, findings_in, pipeline, place_of, places

EXTENDED_WITHOUT_GROUPS = 1 | 8
C = ctypes.CDLL(None)
PARTS = [
    *("a", "b", "0", "1", ".", "-", "_", r"\.", r"\-", "(", "(", ")", ")", "|", "^", "$"),
    *("[ab]", "[^a]", "[0-9]", "[a-b]", "[a-]", "[-a]", "[a.0]", "[^-]"),
    *("*", "+", "?", "{1,2}", "{2}", "{0,1}", "{1,}"),
]
NAMES = st.text("ab01.-_", min_size=1, max_size=6)


class Client:
    """The matcher that librdkafka calls: the C library's."""

    def __init__(self, pattern: str) -> None:
        self._compiled = ctypes.create_string_buffer(512)
        code = C.regcomp(self._compiled, pattern.encode(), EXTENDED_WITHOUT_GROUPS)
        assert code == 0, f"the C library refuses {pattern}"

    def matches(self, topic: str) -> bool:
        return bool(C.regexec(self._compiled, topic.encode(), 0, None, 0) == 0)


@given(st.lists(st.sampled_from(PARTS), max_size=9), st.lists(NAMES, min_size=5, max_size=20))
def test_what_is_let_through_means_the_same_to_the_client(
    parts: list[str], topics: list[str]
) -> None:
    pattern = "^" + "".join(parts)
    if objection(pattern) is None:
        client = Client(pattern)
        for topic in topics:
            assert matches(pattern, topic) == client.matches(topic), (pattern, topic)


def test_a_fair_part_of_patterns_is_let_through() -> None:
    """Else the test above would compare nothing."""
    draw = random.Random(1)
    patterns = ["^" + "".join(draw.choices(PARTS, k=draw.randint(1, 6))) for _ in range(1000)]
    assert sum(objection(pattern) is None for pattern in patterns) > 200


@pytest.mark.parametrize(
    ("pattern", "reads", "passes_over"),
    [
        ("^orders-[0-9]+$", ["orders-1", "orders-20"], ["orders-", "orders-x", "x-orders-1"]),
        ("^orders|returns$", ["orders-1", "all-returns"], ["all-orders"]),
        (r"^(eu|us)\.orders", ["eu.orders", "us.orders.v2"], ["eu-orders", "eu.us.orders"]),
        ("^o{2,3}$", ["oo", "ooo"], ["o", "oooo"]),
        ("^[^_].*-v[12]$", ["a-v1"], ["_a-v1", "a-v3"]),
    ],
)
def test_what_a_pattern_reads(pattern: str, reads: list[str], passes_over: list[str]) -> None:
    source = KafkaSourceSettings(topics=(pattern,))
    client = Client(pattern)
    for topic in [*reads, *passes_over]:
        assert source.reads(topic) == client.matches(topic) == (topic in reads), topic


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"^orders-\d+$", r"has `\d`, which the Kafka client does not know: write [0-9]"),
        (r"^\w+-orders", r"has `\w`, which the Kafka client does not know: write [A-Za-z0-9_]"),
        (r"^a\b", r"has `\b`"),
        (r"^a\s", r"has `\s`"),
        (r"^a\x41", r"has `\x`, which the Kafka client does not know: leave out the backslash"),
        (r"^(a)\1", r"has `\1`"),
        ("^(?:a|b)", "has `(?:`, which the Kafka client does not know: write ( without ?:"),
        ("^(?!test).*", "has `(?!`"),
        ("^(?=a)", "has `(?=`"),
        ("^(?<=a)", "has `(?<`"),
        ("^(?P<x>a)", "has `(?P<`"),
        ("^(?i)a", "has `(?i`"),
        ("^a*?b", "repeats what is repeated already with `?`"),
        ("^a++", "repeats what is repeated already with `+`"),
        ("^*", "has a `*` with nothing before it to repeat"),
        ("^a{,3}", "has a { that counts nothing: write {2}, {2,} or {2,5}"),
        ("^a{3,2}", "is not a regular expression: min repeat greater than max repeat"),
        ("^a{256}", "at most 255 repetitions"),
        ("^[[:digit:]]", "between brackets stand letters, digits"),
        (r"^[\d]", "between brackets stand letters, digits"),
        ("^[a-c-e]", "a hyphen that means itself stands alone"),
        ("^[z-a]", "is not a regular expression: bad character range z-a"),
        ("^[ab", "between brackets"),
        ("^a||b", "has an empty alternative"),
        ("^(|a)", "has an empty alternative"),
        ("^a|", "has an empty alternative"),
        ("^(a", "has a ( too many"),
        ("^a)", "has a ) too many"),
        ("^a^b", "has a ^ where no alternative begins"),
        ("^a$b", "has a $ where no alternative ends"),
        ("^a b", "has ` `, which no topic has in its name"),
        ("^größe", "has `ö`, which no topic has in its name"),
        ("^a\\", "has `\\`"),
    ],
)
def test_what_is_not_shared_is_refused_with_what_to_write(pattern: str, says: str) -> None:
    found = objection(pattern)
    assert found is not None
    assert says in found


@pytest.mark.parametrize("pattern", ["^", "^.*", "^_", "^a|.*offsets"])
def test_a_pattern_does_not_read_what_each_commit_writes(pattern: str) -> None:
    with pytest.raises(ValueError, match="should not match __consumer_offsets"):
        KafkaSourceSettings(topics=(pattern,))


def test_one_topic_needs_no_list() -> None:
    assert KafkaSourceSettings.model_validate({"topics": "payments"}).topics == ("payments",)


def test_the_finding_names_the_line(tmp_path: Path) -> None:
    text = pipeline("source: {use: kafka, with: {topics: »['^orders-\\d+$']}}")
    (finding,) = findings_in(tmp_path, text.replace(MARK, ""))
    assert place_of(finding) == places(text)[0]
    assert finding.message == (
        r"`topics` has `\d`, which the Kafka client does not know: write [0-9]"
    )
