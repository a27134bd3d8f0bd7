"""`dlq export` and `dlq import` on real Kafka: the same dead letters, once."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_commands import Done, folder, lines, picky
from tests.kit.daemon import command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

__all__ = ["folder"]


def failed(folder: Path, kafka: Kafka) -> Project:
    """A project with five dead letters of an operator, and one of the codec."""
    project = picky(folder, kafka)
    project.produce([*orders(50), {"value": b"\xff\x00", "headers": [("h", b"\x80"), ("n", None)]}])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    return project


def dlq(folder: Path, *arguments: str) -> Done:
    return command("dlq", *arguments, cwd=folder)


def contents(kafka: Kafka, topic: str) -> Counter[Any]:
    return Counter((r.key, r.value, tuple(r.headers)) for r in kafka.read(topic))


@pytest.mark.parametrize("name", ["letters.jsonl", "letters.parquet"])
def test_the_same_letters_come_back_and_not_twice(folder: Path, kafka: Kafka, name: str) -> None:
    project = failed(folder, kafka)
    done = dlq(folder, "export", "pipeline.yaml", "-o", name)
    assert done.returncode == 0, done.stderr
    assert f"6 dead letters of {project.letters} are in {name}" in done.stderr
    other = kafka.topic(3)
    done = dlq(folder, "import", name, "-t", other)
    assert done.returncode == 0, done.stderr
    assert f"{other} has 6 dead letters more" in done.stderr
    assert contents(kafka, other) == contents(kafka, project.letters)
    for record in kafka.read(other):
        assert record.partition == int(record.header("kafka_etl.partition")) % 3
    refused = dlq(folder, "import", name, "-t", other)
    assert refused.returncode == 1
    assert "error[E330]" in refused.stderr
    assert "has dead letters of the same records already" in refused.stderr
    assert len(kafka.read(other)) == 6
    assert dlq(folder, "import", name, "-t", other, "--again").returncode == 0
    assert len(kafka.read(other)) == 12
    assert not list(folder.glob("*.part"))


def test_filters_choose_the_letters(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    chosen = lines(dlq(folder, "export", "pipeline.yaml", "--where", "condition == 'DecodeError'"))
    assert [(c["condition"], c["value"], c["value_encoding"]) for c in chosen] == [
        ("DecodeError", "/wA=", "base64")
    ]
    kind = lines(dlq(folder, "export", project.letters))[0]["fingerprint"]
    of_kind = lines(dlq(folder, "export", project.letters, "--fingerprint", kind))
    assert {line["fingerprint"] for line in of_kind} == {kind}
    assert lines(dlq(folder, "export", project.letters, "--status", "replayed")) == []
    assert len(lines(dlq(folder, "export", project.letters, "--status", "open"))) == 6


def test_a_bad_line_is_named_and_nothing_is_written(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    rows = dlq(folder, "export", project.letters).stdout.splitlines()
    (folder / "bad.jsonl").write_text("\n".join([rows[0], "{}", json.dumps({"id": 7}), rows[1]]))
    other = kafka.topic(1)
    done = dlq(folder, "import", "bad.jsonl", "-t", other)
    assert done.returncode == 1
    assert "line 2: " in done.stderr
    assert "line 3: " in done.stderr
    assert kafka.read(other) == []


def test_a_letter_that_the_topic_refuses_leaves_none(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    dlq(folder, "export", project.letters, "-o", "letters.jsonl")
    small = kafka.topic(1, max_message_bytes="500")
    done = dlq(folder, "import", "letters.jsonl", "-t", small)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert kafka.read(small) == []


PAGE = Path(__file__).parents[3] / "docs/dead-letters/other-systems.md"


def test_an_archive_in_files_is_listed_and_brought_back_for_a_replay(
    folder: Path, kafka: Kafka
) -> None:
    project = picky(folder, kafka, partitions=1)
    project.spec["dead_letter"]["format"] = "envelope"
    project.write()
    project.produce(orders(50))
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    for name in ("archiver", "archive"):
        (folder / name).mkdir()
    archiver = Project(folder / "archiver", kafka)
    archiver.spec["source"]["with"] = {"topics": [project.letters], "value": "bytes"}
    archiver.spec["sink"] = {"use": "files", "with": {"folder": str(folder / "archive")}}
    archiver.write()
    archived = run_to_end(archiver.folder, str(archiver.file))
    assert archived.process.returncode == 0, archived.said()
    project.write_code("def pick(order: dict) -> dict:\n    return order\n")
    block = PAGE.read_text().split("## In files")[1].split("```")[1]
    done: list[Done] = []
    for line in block.splitlines()[1:]:
        done.append(command(*shlex.split(line)[1:], cwd=folder))
        assert done[-1].returncode == 0, done[-1].stderr
    assert "5 open dead letters of 1 kind" in done[0].stdout
    assert "kafka-etl dlq import archive -t TOPIC" in done[0].stderr
    assert [line.split()[0] for line in done[1].stdout.splitlines()] == [
        f"archive/0/{line}" for line in (2, 3, 4, 5)
    ]
    assert "the dead letter is in a file" in done[2].stdout
    assert "5 of 5 replayed, 0 failed again" in done[4].stderr
    assert sorted(order["id"] for order in project.outputs()) == list(range(50))
    refused = dlq(folder, "replay", "archive", "--where", "True")
    assert refused.returncode == 1
    assert "kafka-etl dlq import archive -t TOPIC" in refused.stderr


def test_an_archive_of_objects_is_imported_without_the_sinks_own_files(
    folder: Path, kafka: Kafka
) -> None:
    project = picky(folder, kafka, partitions=1)
    project.spec["dead_letter"]["format"] = "envelope"
    project.write()
    project.produce(orders(50))
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    (folder / "archiver").mkdir()
    archiver = Project(folder / "archiver", kafka)
    archiver.spec["source"]["with"] = {"topics": [project.letters], "value": "bytes"}
    archiver.spec["sink"] = {"use": "objects", "with": {"url": f"file://{folder}/archive"}}
    archiver.write()
    archived = run_to_end(archiver.folder, str(archiver.file))
    assert archived.process.returncode == 0, archived.said()
    assert list((folder / "archive" / "_offsets").rglob("*.json"))
    listed = dlq(folder, "list", "archive")
    assert "5 open dead letters of 1 kind" in listed.stdout
    assert "no dead letters" not in listed.stderr
    again = kafka.topic(1)
    done = dlq(folder, "import", "archive", "-t", again)
    assert done.returncode == 0, done.stderr
    assert f"{again} has 5 dead letters more" in done.stderr
