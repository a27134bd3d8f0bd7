"""What `tap` says of records that it cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl.cli.topics.tap import unseen
from kafka_etl.config.build import read_spec
from kafka_etl.config.load import load
from kafka_etl.config.model import PipelineSpec
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


def test_topics_that_are_not_there_yet_are_named(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, LETTERS)
    assert list(unseen(spec, {"orders-eur": "out"}, ())) == [
        "not shown: what goes in, as no topic fits the source",
        "not shown: orders-eur (out), as there is no such topic yet",
    ]
    assert list(unseen(spec, IN_OUT, IN_OUT)) == []
