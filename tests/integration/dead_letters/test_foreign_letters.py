"""Dead letters of other systems on a real Kafka, and ours with Kafka Connect's headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import command, run_to_end
from tests.kit.kafka import Kafka, Stored
from tests.kit.pipeline import PICKY, Project
from tests.unit.dead_letters.test_foreign_letters import recorded

CONNECT = "__connect.errors."


@pytest.fixture
def folder(tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    return tmp_path


def shown(folder: Path, *arguments: str) -> list[Any]:
    done = command("dlq", "show", *arguments, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_topic_of_connects_own_dead_letters_is_shown(folder: Path, kafka: Kafka) -> None:
    topic = kafka.topic(1)
    found = recorded("connect_letters.json")
    kafka.produce(
        topic,
        [
            {"key": r.key(), "value": r.value(), "headers": r.headers(), "partition": 0}
            for r in found
        ],
    )
    done = command("dlq", "show", topic, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("OperatorError in Cast$Value: org.apache.kafka.connect.errors") == 5
    assert done.stdout.count("DecodeError in JsonConverter: org.apache.kafka.connect.errors") == 2
    assert len(shown(folder, topic)) == 7
    (one,) = shown(folder, topic, "orders/1/1")
    assert (one["id"], one["pipeline"]) == (f"{topic}/0/5", "orders-to-file")
    assert one["headers"][1] == {"name": "__connect.errors.note", "value": "mine"}
    text = command("dlq", "show", topic, f"{topic}/0/0", cwd=folder).stdout
    assert "record     orders[0]@1" in text
    assert "Caused by: com.fasterxml.jackson.core.JsonParseException" in text


def connects(record: Stored) -> dict[str, str]:
    return {
        name.removeprefix(CONNECT): (value or b"").decode()
        for name, value in record.headers
        if name.startswith(CONNECT)
    }


def test_ours_have_connects_headers_beside_and_a_second_failure_tells_the_first_once(
    folder: Path, kafka: Kafka
) -> None:
    (folder / "first").mkdir()
    (folder / "second").mkdir()
    first = Project(folder / "first", kafka, code=PICKY, operators=["ops:picky"])
    first.spec["dead_letter"] = {"topic": first.letters, "compat": "connect"}
    first.write()
    record = {"key": "k", "value": '{"id": 3}', "headers": [("trace", b"\x00\xff")]}
    first.produce([record, {"value": '{"id": 4}'}])
    assert run_to_end(first.folder, "pipeline.yaml").process.returncode == 0

    second = Project(folder / "second", kafka, code=PICKY, operators=["ops:picky"])
    second.spec["source"]["with"]["topics"] = [first.letters]
    second.spec["dead_letter"] = {"topic": second.letters, "compat": "connect"}
    second.write()
    assert run_to_end(second.folder, "pipeline.yaml").process.returncode == 0

    (once,), (twice,) = first.dead_letters(), second.dead_letters()
    told = connects(once)
    assert told["topic"] == first.source
    assert (told["partition"], told["offset"]) == (
        once.header("kafka_etl.partition"),
        once.header("kafka_etl.offset"),
    )
    assert (told["connector.name"], told["stage"]) == (first.name, "TRANSFORMATION")
    assert (told["class.name"], told["exception.message"]) == ("picky", "no")
    assert told["exception.stacktrace"].startswith("ValueError: no\n")
    assert (twice.key, twice.value) == (once.key, once.value) == (b"k", b'{"id": 3}')
    assert connects(twice)["topic"] == first.letters
    assert len(twice.headers) == len(once.headers)
    (letter,) = shown(second.folder, second.letters)
    assert [header["name"] for header in letter["headers"]] == ["trace"]
    history = letter["context"]["history"]
    assert [(entry["family"], entry["topic"]) for entry in history] == [("kafka_etl", first.source)]
