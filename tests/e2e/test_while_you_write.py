"""The commands of docs/how-to/while-you-write.md, run as they stand."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import jsonschema_rs
from confluent_kafka import KafkaException

from kafka_etl.config.parse import parse
from tests.kit.console import Console, commands
from tests.kit.kafka import Kafka
from tests.kit.pages import ROOT, blocks

PAGE = "docs/how-to/while-you-write.md"


def test_the_page_works_as_written(tmp_path: Path, kafka: Kafka) -> None:
    (shown,) = blocks(PAGE, "yaml")
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "pipeline.yaml").write_text(shown)
    with suppress(KafkaException):  # another test has made it
        kafka.topic(1, "orders")
    with Console(tmp_path, {"KAFKA": kafka.bootstrap}) as console:
        console.play(commands((ROOT / PAGE).read_text()))
    named = shown.splitlines()[0].partition("$schema=")[2]
    schema = json.loads((tmp_path / "first" / named).read_text())
    jsonschema_rs.validate(schema, parse(shown).data)
