"""YAML 1.2 as plain data, and where each part of it stands."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kafka_etl.config.parse import parse
from kafka_etl.config.report import Loc, Mark
from tests.unit.config.project import data_of


@pytest.mark.parametrize(
    ("written", "read"),
    [
        # what YAML 1.1 surprises with
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("2024-13-45", "2024-13-45"),
        ("2024-01-01T00:00:00+02:00", "2024-01-01T00:00:00+02:00"),
        ("012", 12),
        ("=", "="),
        # text
        ("plain text", "plain text"),
        ("'1.10'", "1.10"),
        ('"no"', "no"),
        ("''", ""),
        ("!!str 5", "5"),
        ("value.x == 'a'", "value.x == 'a'"),
        # numbers
        ("1.10", 1.1),
        ("-3", -3),
        ("+1", 1),
        ("0o17", 15),
        ("0x1F", 31),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        # the rest
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("[a, 1, {b: c}]", ["a", 1, {"b": "c"}]),
    ],
)
def test_scalars_are_read_by_the_core_schema(written: str, read: Any) -> None:
    data = data_of(f"a: {written}\n")
    assert data == {"a": read}
    assert type(data["a"]) is type(read)


def test_not_a_number_is_one() -> None:
    assert math.isnan(data_of("a: .nan")["a"])


def test_a_number_too_long_for_anything_stays_text() -> None:
    digits = "9" * 5000
    assert data_of(f"a: {digits}") == {"a": digits}


def test_a_directive_does_not_bring_yaml_1_1_back() -> None:
    assert data_of("%YAML 1.1\n---\na: no\nb: 12:30:45\n") == {"a": "no", "b": "12:30:45"}


def test_keys_are_text() -> None:
    assert data_of("1: a\nnull: b\ntrue: c\n") == {"1": "a", "null": "b", "true": "c"}


def test_a_block_of_text_keeps_its_lines() -> None:
    assert data_of("a: |\n  x\n  y\n") == {"a": "x\ny\n"}


def test_an_empty_text_holds_nothing() -> None:
    assert data_of("# only a comment\n") is None


POSITIONS: list[tuple[str, Loc, tuple[int, int], tuple[int, int]]] = [
    ("a: 1", ("a",), (1, 1), (1, 4)),
    ("# c\n\na:   1", ("a",), (3, 1), (3, 6)),
    ("a:\n  b:\n    c: 1", ("a", "b", "c"), (3, 5), (3, 8)),
    ("a: {b: 1, c: 2}", ("a", "c"), (1, 11), (1, 14)),
    ("a: [x, y]", ("a", 1), (1, 8), (1, 8)),
    ("a:\n  - x\n  - y", ("a", 1), (3, 5), (3, 5)),
    ("a:\n- b: 1\n  c: 2", ("a", 0, "c"), (3, 3), (3, 6)),
    ('"a b": "c"', ("a b",), (1, 1), (1, 8)),
    ("a: |\n  text", ("a",), (1, 1), (1, 4)),
    # nothing written: the key, not whatever comes next
    ("a:\nb: 1", ("a",), (1, 1), (1, 1)),
    ("a:\n  -\n  - x", ("a", 0), (2, 4), (2, 4)),
    # what an alias or a merge brings in stands at its anchor
    ("x: &x {a: 1}\ny: *x", ("y",), (2, 1), (1, 4)),
    ("x: &x {a: 1}\ny: *x", ("y", "a"), (1, 8), (1, 11)),
    ("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2", ("y", "a"), (1, 8), (1, 11)),
    ("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2", ("y", "b"), (4, 3), (4, 6)),
    ("x: &x {a: 1}\ny:\n  <<: *x\n  a: 2", ("y", "a"), (4, 3), (4, 6)),
    ("\ufeffa: 1".removeprefix("\ufeff"), (), (1, 1), (1, 1)),
    ("# c\nname: x", (), (2, 1), (2, 1)),
]


@pytest.mark.parametrize(("text", "loc", "key", "value"), POSITIONS)
def test_every_part_knows_where_it_stands(
    text: str, loc: Loc, key: tuple[int, int], value: tuple[int, int]
) -> None:
    parsed = parse(text)
    assert parsed.keys[loc] == Mark(*key)
    assert parsed.values.get(loc, parsed.keys[loc]) == Mark(*value)


def test_windows_lines_count_as_lines() -> None:
    assert parse("a: 1\r\nb:\r\n  c: 2\r\n").keys["b", "c"] == Mark(3, 3)


def test_merging_keeps_what_is_written_and_prefers_the_first() -> None:
    text = "x: &x {a: 1, b: 1}\nz: &z {b: 2, c: 2}\ny: {<<: [*x, *z], a: 3}\n"
    assert data_of(text)["y"] == {"a": 3, "b": 1, "c": 2}


def test_an_anchor_may_be_used_again() -> None:
    assert data_of("a: &x 1\nb: &x 2\nc: *x\n") == {"a": 1, "b": 2, "c": 2}


def test_a_merged_mapping_may_merge_itself() -> None:
    text = "x: &x {a: 1}\ny: &y {<<: *x, b: 2}\nz: {<<: *y}\n"
    assert data_of(text)["z"] == {"a": 1, "b": 2}


PROBLEMS: list[tuple[str, tuple[int, int], str]] = [
    ("a: 1\nb: 2\na: 3", (3, 1), "`a` stands here twice, first in line 1"),
    ("x:\n  a: 1\n  a: 2", (3, 3), "`a` stands here twice, first in line 2"),
    ("1: a\n'1': b", (2, 1), "`1` stands here twice"),
    ("a:\n\tb: 1", (2, 1), "a tab cannot stand here"),
    ("a: 1\n---\nb: 1", (2, 1), "another document begins here"),
    ("a: b: c", (1, 5), "there is a second `:`"),
    ("a:\n  b: 1\n c: 2", (3, 2), "indented differently"),
    ("a:\n  - b\n - c", (3, 2), "indented differently"),
    ("a:\n   b: 1\n  - c", (3, 3), "indented differently"),
    ("a: 1\nb:2\nc: 3", (2, 1), "no `:` follows this word"),
    ('a: {b: 1}"\nc: 1', (1, 10), "the quote that begins here is not closed"),
    ("a: 'b' c\nd: 1", (1, 8), "a value has ended before this"),
    ('a:{b: "c", d: e}', (1, 10), "this `,` is in no brackets"),
    ("a:\n\u00a0\u00a0b: 1", (2, 1), "a space that is not plain"),
    (
        "a: [1, 2\nb: 3",
        (1, 4),
        "the `[` here is not closed, or a comma is missing, before line 2",
    ),
    (
        "s: {use: kafka, with: {topics: [a], value: json}\nsink: x\n",
        (1, 4),
        "the `{` here is not closed, or a comma is missing, before line 2",
    ),
    (
        "w: {\n  a: 1\n  b: 2\n}\n",
        (1, 4),
        "the `{` here is not closed, or a comma is missing, before line 3",
    ),
    ("a: {b: [c],\n", (1, 4), "the `{` here is not closed"),
    ("a: [b, [c, d]\n", (1, 4), "the `[` here is not closed"),
    ("a: {x: [1, 2}\n", (1, 13), "expected ',' or ']', but got '}'"),
    ("a: [1]]\nb: 2", (1, 7), "the `]` closes nothing"),
    ("x: 1\na: 'b\nc: d\n", (2, 4), "the quote that begins here is not closed"),
    ("a: *nope", (1, 4), "found undefined alias"),
    ("a: !foo bar", (1, 4), "a tag means nothing here"),
    ("a: !!binary aGk=", (1, 4), "a tag means nothing here"),
    ("a: !!python/object/apply:os.system [id]", (1, 4), "means nothing here"),
    ("? [a, b]\n: c", (1, 3), "a key should be text"),
    ("b: {<<: 3}", (1, 9), "only a mapping, or a list of them, can be merged in"),
    ("x: 1\na: b\x07c", (2, 5), "the character U+0007 cannot stand in YAML"),
    ("a: \x00", (1, 4), "the character U+0000 cannot stand in YAML"),
]


@pytest.mark.parametrize(("text", "place", "says"), PROBLEMS)
def test_a_problem_names_its_place(text: str, place: tuple[int, int], says: str) -> None:
    (problem,) = parse(text).problems
    assert problem.mark == Mark(*place)
    assert says in problem.message


def test_tabs_and_several_documents_come_with_advice() -> None:
    (tab,) = parse("a:\n\tb: 1").problems
    (second,) = parse("a: 1\n---\nb: 1").problems
    assert tab.hint == "YAML indents with spaces, not tabs"
    assert "two files" in second.hint


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("a: b: c", "text with `: ` in quotes"),
        ("a:\n  b: 1\n c: 2", "begin in the same column"),
        ("a: 1\nb:2\nc: 3", "with a space after the `:`"),
        ("a: 'b' c\nd: 1", "put the whole value in quotes"),
        ('a:{b: "c", d: e}', "put a space after the `:`"),
        ("a:\n\u00a0\u00a0b: 1", "indent with plain spaces"),
        ("a: [\u201cb, c\u201d, {d: e} f]", "write plain quotes"),
    ],
)
def test_what_is_no_yaml_comes_with_advice(text: str, advice: str) -> None:
    (problem,) = parse(text).problems
    assert advice in problem.hint


def test_all_duplicates_are_named_at_once() -> None:
    assert len(parse("a: 1\na: 2\nb: {c: 1, c: 2}\nb: 3\n").problems) == 3


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &a [*a]", id="a list in itself"),
        pytest.param("a: &a {<<: *a}", id="a mapping merged into itself"),
        pytest.param("a: " + "[" * 1000, id="open brackets"),
        pytest.param("a: " + "{a: " * 500 + "1" + "}" * 500, id="deep mappings"),
    ],
)
def test_what_never_ends_is_refused(text: str) -> None:
    (problem,) = parse(text).problems
    assert problem.message == "it is nested too deeply, or an alias stands for itself"


def bomb(first: str, link: str) -> str:
    """Nine lines, each nine times the one before."""
    lines = [f"a: &a {first}"]
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{letter}: &{letter} " + link.format(",".join([f"*{before}"] * 9)))
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [bomb("[x]", "[{}]"), bomb("{k: x}", "{{<<: [{}]}}")],
    ids=["lists", "merges"],
)
def test_an_alias_bomb_is_defused(text: str) -> None:
    (problem,) = parse(text).problems
    assert problem.message.startswith("it holds more than 100,000 values")
