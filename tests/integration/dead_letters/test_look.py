"""`dlq show` on real Kafka, and the commands of its page."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from kafka_etl.dead_letters.statuses import (
    ActionState,
    BulkAction,
    LetterPlace,
    LetterStatus,
    Status,
    action_record,
    status_record,
    status_topic,
)
from kafka_etl.schema_registry.wire_format import head_of
from tests.integration.test_commands import Done, folder, lines, picky
from tests.kit.daemon import command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders
from tests.kit.registry import register, stand_in

__all__ = ["folder"]

PAGE = Path(__file__).parents[3] / "docs/dead-letters/look.md"


def show(folder: Path, *arguments: str) -> Done:
    return command("dlq", "show", "pipeline.yaml", *arguments, cwd=folder)


def failed(folder: Path, kafka: Kafka) -> Project:
    """A project of one partition, whose orders 3 and 13 have become dead letters 0 and 1."""
    project = picky(folder, kafka, partitions=1)
    project.produce(orders(20))
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    return project


def test_every_kind_of_id_names_the_letter(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    letter, source = f"{project.letters}/0/1", project.source
    for name in (letter, "0/1", "1", f"{source}/0/13", f"{source}[0]@13", "0/13", "13"):
        found = show(folder, name, "--json")
        assert [one["id"] for one in lines(found)] == [letter], name
    for name in ("7", "0/7", f"{project.letters}/5/0", "nothing/0/13"):
        missing = show(folder, name)
        assert missing.returncode == 1
        assert "error[E333]" in missing.stderr


def test_an_id_that_may_be_two_letters_is_refused(folder: Path, kafka: Kafka) -> None:
    project = picky(folder, kafka, partitions=1)
    project.produce([("k", json.dumps({"id": n})) for n in (0, 3, 13)])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    # Letter 0/1 is of record 0/2, and letter 0/0 of record 0/1.
    refused = show(folder, "0/1")
    assert refused.returncode == 1
    assert f"may be any of {project.letters}/0/0, {project.letters}/0/1" in refused.stderr
    assert lines(show(folder, f"{project.source}/0/1", "--json"))[0]["id"].endswith("/0/0")


def test_neighbours_are_shown_until_retention_takes_them(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    near = lines(show(folder, "13", "--json"))[0]["neighbours"]
    assert [one["value"]["id"] for one in near["before"]] == [11, 12]
    assert near["itself"]["value"]["id"] == 13
    assert [one["value"]["id"] for one in near["after"]] == [14, 15]
    kafka.delete_records(project.source, 0, before=14)
    text = show(folder, "13").stdout
    assert "    before: gone\n  > @13  gone\n    @14  " in text
    kafka.delete_topic(project.source)
    text = show(folder, "13").stdout
    assert f"source     topic {project.source} does not exist" in text


def test_the_status_and_who_changed_it(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    assert "status     open" in show(folder, "3").stdout
    topic = kafka.topic(1, status_topic(project.letters), cleanup_policy="compact")
    action = BulkAction("a1", "drop", ActionState.DONE, 0, "ann@host", "a test", "all", 1, "p")
    dropped = Status(LetterStatus.DROPPED, 5, "a1")
    kafka.produce(topic, [action_record(action), status_record(LetterPlace(0, 0), dropped)])
    since = "dropped since 1970-01-01T00:00:00.005Z by ann@host: a test (drop a1)"
    assert f"status     {since}" in show(folder, "3").stdout
    assert "status     open" in show(folder, "13").stdout
    (brief,) = [line for line in show(folder).stdout.splitlines() if project.letters in line]
    assert brief.split()[::2][:2] == [f"{project.letters}/0/1", "open"]
    (one,) = lines(show(folder, "--status", "dropped", "--json"))
    assert (one["id"], one["status"]["status"]) == (f"{project.letters}/0/0", "dropped")


def test_avro_is_decoded_as_the_pipeline_decodes_it(folder: Path, kafka: Kafka) -> None:
    schema = {"type": "record", "name": "o", "fields": [{"name": "id", "type": "int"}]}
    with stand_in() as registry:
        project = Project(
            folder,
            kafka,
            code="def pick(order: dict) -> dict:\n    raise ValueError(order)\n",
            operators=["ops:pick"],
            source={"value": "avro"},
            registry={"url": registry.url},
        )
        data = head_of(register(registry.url, f"{project.source}-value", schema)) + b"\x0e"
        project.produce([data])
        assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
        of_topic = (project.letters, "0", "--pipeline", "pipeline.yaml")
        for done in (
            show(folder, "0"),
            show(folder, "0", "--as", "avro"),
            command("dlq", "show", *of_topic, cwd=folder),
        ):
            assert 'value      (avro)\n    {\n      "id": 7\n    }' in done.stdout, done.stderr
    unknown = command("dlq", "show", project.letters, "0", cwd=folder)
    assert "value      (hex; begins like a record of schema 1" in unknown.stdout
    refused = command("dlq", "show", project.letters, "0", "--as", "avro", cwd=folder)
    assert refused.returncode == 2
    assert "needs the file of a pipeline" in refused.stderr


# The page


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"```(\w+(?: \w+)?)\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def fares(folder: Path, kafka: Kafka) -> Path:
    """A folder with the pipeline of the page, run over three fares, one of them in gold."""
    found = blocks()
    (folder / "pipeline.yaml").write_text(dict(found)["yaml"])
    (folder / "ops.py").write_text(dict(found)["python"])
    for topic in ("fares", "fares-eur", "fares-copy.dlq"):
        kafka.topic(1, topic)
    currencies = ("EUR", "USD", "XAU")
    fares = [{"id": n, "amount": 2, "currency": c} for n, c in enumerate(currencies, 1)]
    kafka.produce("fares", [json.dumps(fare) for fare in fares])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    return folder


def test_the_commands_of_the_page_do_what_it_says(fares: Path, kafka: Kafka) -> None:
    code = (fares / "ops.py").read_text()
    done: list[Done] = []
    for kind, text in blocks():
        if kind == "sh mended":
            (fares / "ops.py").write_text(code.replace("0.9}", '0.9, "XAU": 2000.0}'))
        if kind.startswith("sh"):
            for line in text.splitlines():
                one = command(*shlex.split(line.removeprefix("kafka-etl ")), cwd=fares)
                assert one.returncode == (1 if kind == "sh fails" else 0), one.stderr
                done.append(one)
        if kind == "text":
            said = done[-1].stderr.replace(str(fares), "/home/ann/fares")
            assert text.strip() in said
    assert any('"eur":4000.0' in one.stdout for one in done)
    assert [r.headers for r in kafka.read("fares-copy.dlq")] == [
        r.headers for r in kafka.read("fares-eur.dlq")
    ]
