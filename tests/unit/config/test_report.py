"""How findings look."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl.config.report import Finding, Loc, Mark, config_error, excerpt, show_loc
from kafka_etl.errors import Code

FILE = Path("pipelines/video.yaml")


def test_a_finding_shows_place_line_choices_and_remedy() -> None:
    finding = Finding(
        Code.UNKNOWN_KEY,
        "unknown key `batch_sizes`",
        FILE,
        ("source", "with", "batch_sizes"),
        Mark(12, 5),
        "    batch_sizes: 500  ",
        ("batch", "group"),
        "did you mean `batch`?",
    )
    assert finding.render().splitlines() == [
        "error[E104]: unknown key `batch_sizes`",
        "  --> pipelines/video.yaml:12:5",
        " 12 |     batch_sizes: 500",
        "    |     ^ source.with.batch_sizes",
        "  allowed here: batch, group",
        "  hint: did you mean `batch`?",
    ]


def test_a_file_that_could_not_be_read_is_shown_without_a_line() -> None:
    finding = Finding(Code.UNREADABLE_FILE, "there is none", FILE)
    assert finding.render() == "error[E101]: there is none\n  --> pipelines/video.yaml"


def test_a_long_list_of_choices_is_left_to_the_reference() -> None:
    finding = Finding(Code.UNKNOWN_KEY, "unknown", FILE, allowed=tuple(f"k{i}" for i in range(25)))
    assert "allowed here" not in finding.render()


def test_nothing_is_shown_with_blanks_at_the_end() -> None:
    finding = Finding(Code.INVALID_YAML, "not YAML", FILE, (), Mark(1, 1), "a: [")
    assert all(line == line.rstrip() for line in finding.render().splitlines())


@pytest.mark.parametrize(
    ("loc", "shown"),
    [
        ((), ""),
        (("source", "with", "topics", 1), "source.with.topics[1]"),
        (("operators", 0, "with", "rate"), "operators[0].with.rate"),
        (("kafka", "bootstrap.servers"), "kafka.bootstrap.servers"),
    ],
)
def test_a_place_is_shown_as_a_path(loc: Loc, shown: str) -> None:
    assert show_loc(loc) == shown


def test_one_problem_and_several_are_counted() -> None:
    finding = Finding(Code.UNREADABLE_FILE, "x", FILE)
    assert config_error([finding]).what.startswith("1 problem in")
    assert config_error([finding, finding]).what.startswith("2 problems in")


def test_findings_are_listed_by_file_then_line() -> None:
    findings = [
        Finding(Code.INVALID_VALUE, name, Path(file), mark=Mark(line, 1))
        for name, file, line in [("d", "b", 1), ("c", "a", 10), ("b", "a", 9), ("a", "a", 2)]
    ]
    text = config_error(findings).what
    assert [line[-1] for line in text.splitlines() if line.startswith("error[")] == list("abcd")


@pytest.mark.parametrize("before", [0, 30, 200, 900])
def test_of_a_long_line_the_part_with_the_mistake_is_shown(before: int) -> None:
    line = "x" * before + "wrong" + "y" * (1000 - before)
    finding = Finding(
        Code.UNKNOWN_KEY, "no", Path("p.yaml"), ("a",), Mark(1, before + 1), source=line
    )
    _, _, shown, mark = finding.render().splitlines()
    assert len(shown) <= len(" 1 | ") + 100
    assert shown[mark.index("^") :].startswith("wrong")


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("kafka:", "  sasl.password: ${PASSWORD}"),
        ("kafka:", "  sasl.password: '${file:secrets/password}'"),
        ("kafka:", "  bootstrap.servers: ${KAFKA:-localhost:9092}"),
        ("kafka:", "  ssl.ca.location: ${KAFKA_CA}"),
        ("kafka:", "  ${PASSWORD}"),
        ("kafka: {}", "kafka: {client.id: a, sasl.password: ${PASSWORD}, sasl.username: u}"),
        ("sink:", "  with: {dsn: ${DSN}, table: t}"),
        ("sink:", '  with: {table: t, "api_key": "${KEY}"}'),
    ],
)
def test_a_variable_is_no_secret(section: str, line: str) -> None:
    key = "sasl.password" if "sasl.password" in line else "with"
    loc = (section.partition(":")[0], key)
    assert excerpt([section, line], Mark(2, 3), loc) == line


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("kafka:", "  sasl.password: ${PASSWORD:-hunter2}"),
        ("kafka:", "  sasl.password: ${PASSWORD}hunter2"),
        ("kafka:", "  sasl.password: $${hunter2}"),
        ("kafka:", "  sasl.password: ${PASSWORD}, hunter2"),
        ("sink:", "  password: ${PASSWORD}, hunter2"),
        ("sink:", "  password: ${PASSWORD}  # hunter2"),
        ("sink:", "  password: ${PASSWORD}, {hunter2: 1}"),
        ("sink:", "  with: {password: ${PASSWORD}, token: hunter2}"),
        ("sink:", "  with: {dsn: 'postgresql://${USER}:hunter2@h/d'}"),
        ("kafka:", "  hunter2: ${PASSWORD} ${hunter2}"),
        ("kafka: {}", "kafka: {sasl.password: ${PASSWORD}, hunter2}"),
    ],
)
def test_what_stands_beside_a_variable_is_hidden(section: str, line: str) -> None:
    for key in ("sasl.password", "with"):
        loc = (section.partition(":")[0], key)
        assert "hunter2" not in excerpt([section, line], Mark(2, 3), loc)
