"""`--set KEY=VALUE` over the places of a pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.load import Loaded, load
from kafka_etl.errors import Code
from tests.unit.config.project import findings_in, pipeline

TEXT = """\
name: a
kafka: {bootstrap.servers: x}
source: {use: kafka, with: {topics: [a, b]}}
operators:
  - use: first
  - use: second
    with: {rate: 1}
workers:
"""


def loaded(folder: Path, *sets: str, env: dict[str, str] | None = None) -> Loaded:
    path = folder / "a.yaml"
    path.write_text(TEXT)
    return load([path], env=env or {}, overrides=dict(s.split("=", 1) for s in sets))


def value_at(data: Any, *place: str | int) -> Any:
    for part in place:
        data = data[part]
    return data


@pytest.mark.parametrize(
    ("given", "place", "value"),
    [
        ("name=b", ("name",), "b"),
        ("name=", ("name",), None),
        ("name=a=b", ("name",), "a=b"),
        ("workers=3", ("workers",), 3),
        ("workers=no", ("workers",), "no"),
        ("source.with.topics=[c]", ("source", "with", "topics"), ["c"]),
        ("source.with.topics.1=c", ("source", "with", "topics"), ["a", "c"]),
        ("source.with.batch.max_wait=20ms", ("source", "with", "batch"), {"max_wait": "20ms"}),
        ("operators.1.with.rate=2.5", ("operators", 1, "with", "rate"), 2.5),
        ("operators.0.with.rate=2", ("operators", 0, "with"), {"rate": 2}),
        ("operators.1.with={}", ("operators", 1, "with"), {}),
        ("retry.backoff={max: 1s}", ("retry", "backoff"), {"max": "1s"}),
        ("kafka.bootstrap.servers=y:9092", ("kafka", "bootstrap.servers"), "y:9092"),
        ("consumer.session.timeout.ms=1", ("consumer", "session.timeout.ms"), 1),
        ("producer.linger.ms=1", ("producer", "linger.ms"), 1),
        ("registry.basic.auth.user.info=u:p", ("registry", "basic.auth.user.info"), "u:p"),
        (
            "dead_letter.create.config.retention.ms=1",
            ("dead_letter", "create", "config", "retention.ms"),
            1,
        ),
        ("name='${NAME}'", ("name",), "from-env"),
    ],
)
def test_it_replaces_one_place_and_nothing_else(
    tmp_path: Path, given: str, place: tuple[str | int, ...], value: Any
) -> None:
    found = loaded(tmp_path, given, env={"NAME": "from-env"})
    assert not found.findings
    data = found.documents[0].data
    assert value_at(data, *place) == value
    untouched = loaded(tmp_path).documents[0].data
    assert {k: v for k, v in data.items() if k != place[0]} == {
        k: v for k, v in untouched.items() if k != place[0]
    }


def test_later_ones_see_what_earlier_ones_made(tmp_path: Path) -> None:
    found = loaded(tmp_path, "retry={max_attempts: 1}", "retry.max_attempts=2")
    assert found.documents[0].data["retry"] == {"max_attempts": 2}


@pytest.mark.parametrize(
    "place",
    [
        "name.x",  # text holds nothing
        "name.0",  # not even letters
        "operators.2.use",  # past the end
        "operators.use",  # a list has numbers
        "operators.-1.use",
        "source.with.topics.x",
    ],
)
def test_a_place_that_cannot_be_is_refused(tmp_path: Path, place: str) -> None:
    (finding,) = loaded(tmp_path, f"{place}=1").findings
    assert finding.code == Code.INVALID_VALUE
    assert finding.render() == (
        f"error[E106]: `{place}`: there is no such place in this file\n"
        f"  --> --set {place}, for {tmp_path / 'a.yaml'}"
    )


def test_a_value_that_is_not_yaml_is_refused_without_being_shown(tmp_path: Path) -> None:
    (finding,) = loaded(tmp_path, "kafka.sasl.password={hunter2!").findings
    assert finding.code == Code.INVALID_VALUE
    assert finding.message.startswith("`kafka.sasl.password`: its value is not YAML")
    assert "hunter2" not in finding.render()


def test_a_finding_of_a_value_given_there_points_there(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline("workers: 2"), workers="many")
    assert finding.render() == (
        "error[E106]: `workers` should be a whole number\n"
        f"  --> --set workers, for {tmp_path / 'pipeline.yaml'}"
    )


def test_a_key_misspelt_there_is_not_one_of_the_file(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline(), **{"sorce.x": "1"})
    said = finding.render().splitlines()
    assert said[:2] == [
        "error[E104]: unknown key `sorce`",
        f"  --> --set sorce.x, for {tmp_path / 'pipeline.yaml'}",
    ]
    assert said[-1] == "  hint: did you mean `source`?"


def test_a_list_in_a_finding_of_such_a_value_points_there_too(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline(), **{"source.with": "{topics: [5]}"})
    assert finding.message == "`topics[0]` should be text"
    assert "--> --set source.with, for " in finding.render()


def test_a_finding_at_another_place_does_not(tmp_path: Path) -> None:
    (finding,) = findings_in(tmp_path, pipeline("workers: many"), drain_timeout="1s")
    assert finding.message == "`workers` should be a whole number"
