"""A look at the servers of a pipeline that are away, refuse, or know better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.build import Pipeline, examine
from kafka_etl.config.load import load
from kafka_etl.contracts import Preflight, Unavailable, Unreachable
from kafka_etl.errors import (
    BrokersUnreachable,
    NotAuthorized,
    SchemaMissing,
    SinkFailed,
    TopicMissing,
)
from kafka_etl.plugins import importable
from kafka_etl.runtime.servers import Look
from kafka_etl.runtime.worker import patience, preflight
from tests.unit.config.project import REGISTRY, pipeline, place_of, places

OPS = """
from typing import TypedDict

class Order(TypedDict):
    id: int
    price: float

def price(order: Order) -> Order:
    return order
"""
TEXT = pipeline("operators: [{use: filter, with: {where: value.id}}, »ops:price]")


def looked(folder: Path, text: str = TEXT, **changes: Any) -> Look:
    """A look at a pipeline, some parts of which are replaced."""
    path = folder / "pipeline.yaml"
    path.write_text(text.replace("»", ""))
    (folder / "ops.py").write_text(OPS)
    (document,) = load([path], env={}).documents
    with importable(folder):
        built = examine(document, REGISTRY)
    assert isinstance(built, Pipeline)
    source = replace(built.source, check=changes.get("source", finds))
    sink = replace(built.sink, check=changes.get("sink", finds))
    codecs = replace(
        built.codecs,
        source_value=replace(built.codecs.source_value, fields_of=changes.get("fields")),
        sink_value=replace(built.codecs.sink_value, look=changes.get("schema")),
    )
    look = Look(document, replace(built, source=source, sink=sink, codecs=codecs))
    look.run()
    return look


def finds(_settings: Any, deployment: Any) -> Preflight:
    assert deployment.looks_only
    return Preflight(notes=("this would be made",))


def raising(error: Exception) -> Callable[..., Any]:
    def check(*_given: Any) -> Any:
        raise error

    return check


def told(look: Look) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in look.findings]


def test_notes_say_what_a_start_would_do_once(tmp_path: Path) -> None:
    look = looked(tmp_path)
    assert look.findings == []
    assert look.notes == ["this would be made"]


def test_each_part_is_looked_at_whatever_the_others_say(tmp_path: Path) -> None:
    look = looked(
        tmp_path,
        source=raising(TopicMissing("no orders")),
        sink=raising(SinkFailed("no table")),
        schema=raising(SchemaMissing("no schema")),
    )
    assert told(look) == [("E302", "no orders"), ("E406", "no table"), ("E308", "no schema")]
    assert [finding.loc[0] for finding in look.findings] == ["source", "sink", "sink"]
    assert all(finding.hint for finding in look.findings)


def test_brokers_that_are_away_are_told_once(tmp_path: Path) -> None:
    away = raising(BrokersUnreachable("nobody answers"))
    look = looked(tmp_path, source=away, sink=away)
    assert told(look) == [("E301", "nobody answers")]
    assert look.findings[0].loc == ("kafka",)


def test_what_several_parts_are_told_stands_once(tmp_path: Path) -> None:
    denied = raising(NotAuthorized("the login fails"))
    assert told(looked(tmp_path, source=denied, sink=denied)) == [("E303", "the login fails")]


def test_a_target_that_stays_away_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "_LOOK", 0.0)
    monkeypatch.setattr(patience, "_AGAIN", 0.0)
    (finding,) = looked(tmp_path, sink=raising(Unreachable("no route"))).findings
    assert finding.code == "E406"
    assert finding.message.startswith("the sink's target is away: no route")


def test_a_check_that_is_broken_is_named(tmp_path: Path) -> None:
    (finding,) = looked(tmp_path, sink=raising(KeyError("x"))).findings
    assert finding.code == "E202"
    assert finding.message == "the check failed: KeyError: 'x'"


@pytest.mark.parametrize(("of_record", "code"), [(True, "E308"), (False, "E309")])
def test_a_registry_without_an_answer_for_the_sink_is_named(
    tmp_path: Path, code: str, *, of_record: bool
) -> None:
    away = raising(Unavailable("no answer", of_record=of_record))
    assert told(looked(tmp_path, schema=away)) == [(code, "no answer")]


def test_an_operator_is_compared_with_the_schema_of_each_topic(tmp_path: Path) -> None:
    look = looked(tmp_path, fields=lambda topic: {"id": frozenset((int,))})
    (finding,) = look.findings
    assert finding.code == "E113"
    assert finding.message == (
        "operator price takes Order, and values of topic orders do not fit: by their latest "
        "schema, field `price` is missing"
    )
    assert [place_of(finding)] == places(TEXT)


def test_a_topic_without_a_schema_is_a_note(tmp_path: Path) -> None:
    missing = raising(Unavailable("subject orders-value is not there", of_record=True))
    look = looked(tmp_path, fields=missing)
    assert look.findings == []
    assert look.notes[-1] == (
        "subject orders-value is not there: operator price was not compared with its fields"
    )


def test_a_place_that_may_not_be_asked_is_left_out(tmp_path: Path) -> None:
    look = looked(tmp_path)
    other = Look(look.document, look.pipeline, lambda _loc: False)
    other.run()
    assert (other.findings, other.notes) == ([], [])


@pytest.mark.parametrize("part", ["fields", "schema"])
def test_a_schema_of_another_kind_is_named(tmp_path: Path, part: str) -> None:
    def ask(*_topic: str) -> Any:
        raise TypeError("schema 7 is of kind JSON, not AVRO")

    (finding,) = looked(tmp_path, **{part: ask}).findings
    assert (finding.code, finding.message) == (
        SchemaMissing.code,
        "schema 7 is of kind JSON, not AVRO",
    )
