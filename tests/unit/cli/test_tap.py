"""What `tap` says of records that it cannot show."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from kafka_etl.cli.topics.tap import kept, unseen
from kafka_etl.config.build import read_spec
from kafka_etl.config.case_model import GivenSpec
from kafka_etl.config.load import load
from kafka_etl.config.model import PipelineSpec
from kafka_etl.record import Headers
from kafka_etl.testing import StoredRecord
from kafka_etl.trial.clock import FakeClock
from kafka_etl.trial.given import entries_in, record_of
from kafka_etl.trial.run import built_for_trial
from tests.unit.config.project import pipeline

IN_OUT = {"orders": "in", "orders-eur": "out"}
LETTERS = "dead_letter: {topic: orders.dlq}"


def spec_of(folder: Path, *blocks: str) -> PipelineSpec:
    path = folder / "pipeline.yaml"
    path.write_text(pipeline(*blocks))
    (document,) = load([path], env={}).documents
    spec = read_spec(document)
    assert isinstance(spec, PipelineSpec)
    return spec


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([], ["dead letters, as the file names no place"]),
        ([LETTERS, "sink: {use: postgres}"], ["outputs, as sink postgres writes them to no Kafka"]),
        (["dead_letter: {use: http}"], ["dead letters, as they go to sink http and no Kafka"]),
        (
            [LETTERS, "sink: {use: kafka, with: {topic: orders-eur, routes: ['^eur-.*']}}"],
            ["outputs to topics that fit ^eur-.*"],
        ),
    ],
)
def test_what_is_not_in_a_topic_is_named(
    tmp_path: Path, blocks: list[str], says: list[str]
) -> None:
    lines = list(unseen(spec_of(tmp_path, *blocks), IN_OUT, IN_OUT))
    assert len(lines) == len(says)
    assert all(f"not shown: {said}" in line for said, line in zip(says, lines, strict=True))


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (b'{"a": [1, "x"]}', b'{"id":1}'),
        (b'"text"', b"k"),
        (b"no JSON", b'"k"'),
        (b"null", b"7"),
        (b"\xff\x00", b"\xff"),
        (b"", b""),
        (None, None),
    ],
)
@pytest.mark.parametrize("codec", ["json", "text"])
def test_a_fixture_gives_the_record_again(
    tmp_path: Path, value: bytes | None, key: bytes | None, codec: str
) -> None:
    headers: Headers = [("h", b"1"), ("h", b"\xfe"), ("none", None)]
    record = StoredRecord(value, key, headers, timestamp_ms=5, topic="orders", offset=3)
    (given,) = entries_in(kept(record, ()), GivenSpec, "fixture")
    source = f"source: {{use: kafka, with: {{topics: [orders], value: {codec}, key: {codec}}}}}"
    path = tmp_path / "pipeline.yaml"
    path.write_text(pipeline(source))
    (document,) = load([path], env={}).documents
    with built_for_trial(document) as built:
        again = record_of(given, 0, built, tmp_path, FakeClock())
    as_data = orjson.loads if value is not None and value.startswith(b"{") else lambda raw: raw
    assert as_data(again.value()) == as_data(value)
    assert (again.key(), again.headers()) == (key, headers)
    assert (again.timestamp(), again.offset()) == (record.timestamp(), 3)


def test_a_hidden_value_is_not_in_a_fixture() -> None:
    record = StoredRecord(b"4111-1111", b"me", [("token", b"abc")])
    assert b"4111" not in kept(record, ["value"])
    assert b"abc" not in kept(record, ())
    assert b'"me"' not in kept(record, ["key"])


def test_topics_that_are_not_there_yet_are_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, LETTERS)
    assert list(unseen(spec, {"orders-eur": "out"}, ())) == [
        "not shown: what goes in, as no topic fits the source",
        "not shown: orders-eur (out), as there is no such topic yet",
    ]
    assert list(unseen(spec, IN_OUT, IN_OUT)) == []
