"""Commands on topics, groups and dead letters, with a real Kafka."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import COMMAND, Daemon, command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

Done = subprocess.CompletedProcess[str]

PICKY = """
    from kafka_etl import Permanent

    def pick(value: dict) -> dict:
        print("hello from the operator")
        if value["id"] % 10 == 3:
            raise Permanent(f"{value['id']} ends with 3")
        return {"id": value["id"]}
"""


@pytest.fixture
def folder(tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    return tmp_path


def lines(done: Done) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def send(folder: Path, text: str, *arguments: str) -> Done:
    return subprocess.run(
        [*COMMAND, "send", *arguments],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def picky(folder: Path, kafka: Kafka, **more: Any) -> Project:
    return Project(folder, kafka, code=PICKY, operators=["ops:pick"], **more)


def committed(project: Project) -> dict[int, int]:
    found = project.kafka.committed(project.name, project.source)
    return {partition: offset for partition, offset in found.items() if offset >= 0}


# send


def test_lines_become_records(folder: Path, kafka: Kafka) -> None:
    topic = kafka.name()
    (folder / "lines.txt").write_text("a\t1\nb\tNULL\nc\t\r\n")
    options = ("--key-separator", "TAB", "--null", "NULL", "--header", "from=test")
    refused = send(folder, "", topic, "lines.txt", *options)
    assert refused.returncode == 1
    assert "E302" in refused.stderr
    assert "--create" in refused.stderr
    done = send(folder, "", topic, "lines.txt", *options, "--create")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert f"{topic} has 3 records more" in done.stderr
    found = kafka.read(topic)
    assert [(r.key, r.value) for r in found] == [(b"a", b"1"), (b"b", None), (b"c", b"")]
    assert found[0].headers == [("from", b"test")]


def test_records_from_standard_input(folder: Path, kafka: Kafka) -> None:
    topic = kafka.topic(1)
    done = send(folder, "x\ny\tz", topic, "--key", "k")
    assert done.returncode == 0, done.stderr
    assert [(r.key, r.value) for r in kafka.read(topic)] == [(b"k", b"x"), (b"k", b"y\tz")]


def test_the_first_line_that_fails_is_named_and_none_after_it_is_sent(
    folder: Path, kafka: Kafka
) -> None:
    topic = kafka.topic(1)
    done = send(folder, "a\t1\nnothing\nb\t2\n", topic, "-", "--key-separator", "TAB")
    assert done.returncode == 1
    assert "E330" in done.stderr
    assert f"{topic} has 1 records more, but not all: line 2 has no key" in done.stderr
    assert [r.value for r in kafka.read(topic)] == [b"1"]


def test_what_the_broker_refuses_is_named(folder: Path, kafka: Kafka) -> None:
    topic = kafka.topic(1, cleanup_policy="compact")
    done = send(folder, "no key\n", topic)
    assert done.returncode == 1
    assert "line 1: INVALID_RECORD" in done.stderr
    assert f"{topic} has 0 records more" in done.stderr


def test_a_large_record_is_taken_where_its_topic_takes_it(folder: Path, kafka: Kafka) -> None:
    topic = kafka.topic(1, max_message_bytes="5000000")
    done = send(folder, "x" * 3_000_000, topic)
    assert done.returncode == 0, done.stderr
    assert len(kafka.read(topic)[0].value or b"") == 3_000_000


def test_no_broker_is_said(folder: Path) -> None:
    done = command("show", "t", "--kafka", "127.0.0.1:1", cwd=folder)
    assert done.returncode == 1
    assert "error[E301]" in done.stderr
    assert "Traceback" not in done.stderr


# show


def test_the_last_records_of_all_partitions(folder: Path, kafka: Kafka) -> None:
    topic = kafka.topic(3, retention_ms="-1")  # its records are old
    stamped = [
        {"value": str(n), "partition": n % 3, "timestamp": 1_000_000 + n} for n in range(300)
    ]
    kafka.produce(topic, stamped)
    last = lines(command("show", topic, "--json", "-n", "4", cwd=folder))
    assert [record["value"] for record in last] == [296, 297, 298, 299]
    first = lines(command("show", topic, "--json", "-n", "2", "--from", "earliest", cwd=folder))
    assert [record["value"] for record in first] == [0, 1]
    only = ("--partition", "1", "--offset", "98", "--json")
    assert [r["offset"] for r in lines(command("show", topic, *only, cwd=folder))] == [98, 99]
    text = command("show", topic, "-n", "1", cwd=folder).stdout
    assert text == f"{topic}[2]@99  1970-01-01T00:16:40.299Z  key (null)\n    299\n"


def test_only_what_is_committed_and_however_far_back(folder: Path, kafka: Kafka) -> None:
    topic = kafka.topic(1)
    kept = [(["first", "second"], True)]
    aborted = [([f"gone {n}" for n in range(500)], False)] * 3
    kafka.produce_transactions(topic, [*kept, *aborted])
    shown = lines(command("show", topic, "--json", "-n", "2", cwd=folder))
    assert [record["value"] for record in shown] == ["first", "second"]


def test_an_empty_topic_and_a_missing_one(folder: Path, kafka: Kafka) -> None:
    empty = command("show", kafka.topic(1), cwd=folder)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "no records" in empty.stderr
    missing = command("show", "nobody-made-it", cwd=folder)
    assert missing.returncode == 1
    assert "error[E302]: topic nobody-made-it does not exist" in missing.stderr


# dlq, and what a run says of its dead letters


def test_a_run_says_why_and_the_command_it_names_shows_it(folder: Path, kafka: Kafka) -> None:
    project = picky(folder, kafka)
    project.produce([*orders(50), ("k", "no JSON")])
    done = run_to_end(folder, "pipeline.yaml")
    assert done.process.returncode == 0
    said = done.said()
    assert said.count("first dead letter of its kind") == 2
    end = json.loads(said.splitlines()[-1])
    assert end["causes"][0].startswith("5 OperatorError in pick: kafka_etl.errors.Permanent: ")
    assert end["causes"][1].startswith("1 DecodeError")
    words = end["look"].removeprefix("kafka-etl dlq show ").split()
    one = command("dlq", "show", *words[:2], cwd=folder)
    assert one.returncode == 0, one.stderr
    assert "ends with 3" in one.stdout
    assert "in pick" in one.stdout
    assert '"config_hash"' in one.stdout


def test_the_newest_dead_letters_and_one_by_each_of_its_names(folder: Path, kafka: Kafka) -> None:
    project = picky(folder, kafka)
    project.produce([*orders(50), ("k", b"\xff\x00")])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    shown = command("dlq", "show", "pipeline.yaml", "-n", "2", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("    record  ") == 2
    assert "kafka-etl dlq list pipeline.yaml" in shown.stderr
    letters = lines(command("dlq", "show", project.letters, "--json", cwd=folder))
    assert len(letters) == 6
    assert {letter["condition"] for letter in letters} == {"OperatorError", "DecodeError"}
    (binary,) = [letter for letter in letters if letter["condition"] == "DecodeError"]
    assert binary["value_hex"] == "ff00"
    source = binary["source"]
    of_record = f"{source['topic']}[{source['partition']}]@{source['offset']}"
    for name in (binary["id"], of_record):
        found = lines(command("dlq", "show", "pipeline.yaml", name, "--json", cwd=folder))
        assert [letter["id"] for letter in found] == [binary["id"]]
    missing = command("dlq", "show", "pipeline.yaml", f"{project.letters}/0/999999", cwd=folder)
    assert missing.returncode == 1
    assert "error[E333]" in missing.stderr


def test_status_says_why(folder: Path, kafka: Kafka) -> None:
    project = picky(folder, kafka)
    project.produce(orders(50))
    with Daemon(folder, "pipeline.yaml") as daemon:
        daemon.until(lambda p: p["counts"]["dead_letters"] == 5 and bool(p["causes"]))
        shown = command("status", "--http", daemon.http, cwd=folder)
        (cause,) = daemon.pipeline()["causes"]
    assert (cause["count"], cause["operator"]) == (5, "pick")
    assert "dead letters: 5 OperatorError in pick: " in shown.stdout
    assert f"kafka-etl dlq show {folder / 'pipeline.yaml'} {cause['example']}" in shown.stdout


# offsets


def test_offsets_are_shown_and_set_while_nobody_reads(folder: Path, kafka: Kafka) -> None:
    project = picky(folder, kafka, source={"membership": "dynamic"})
    project.produce(orders(400))
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    before = committed(project)
    shown = lines(command("offsets", "show", "pipeline.yaml", "--json", cwd=folder))
    assert {row["partition"]: row["committed"] for row in shown} == before
    assert {row["lag"] for row in shown} == {0}
    assert "PARTITION" in command("offsets", "show", project.name, cwd=folder).stdout

    back = ("offsets", "reset", "pipeline.yaml", "--to", "-10", "--topic", f"{project.source}:1")
    dry = command(*back, cwd=folder)
    assert dry.returncode == 0, dry.stderr
    assert "up to 10 records are read again" in dry.stdout
    assert "--yes" in dry.stderr
    assert committed(project) == before

    assert command(*back, "--yes", cwd=folder).returncode == 0
    assert committed(project) == {**before, 1: before[1] - 10}
    earliest = ("offsets", "reset", project.name, "--to", "earliest", "--yes")
    assert command(*earliest, cwd=folder).returncode == 0
    assert committed(project) == dict.fromkeys(before, 0)
    hour = ("offsets", "reset", project.name, "--to", "-1h", "--yes")
    assert command(*hour, cwd=folder).returncode == 0
    assert committed(project) == dict.fromkeys(before, 0)
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    assert len(project.outputs()) == 720


def test_offsets_of_a_group_in_use_stay(folder: Path, kafka: Kafka) -> None:
    project = picky(folder, kafka)
    project.produce(orders(50))
    reset = ("offsets", "reset", "pipeline.yaml", "--to", "earliest", "--yes")
    with Daemon(folder, "pipeline.yaml") as daemon:
        daemon.until(lambda p: p["counts"]["records_in"] == 50 and p["lag"]["records"] == 0)
        refused = command(*reset, cwd=folder)
        daemon.stop()
    assert refused.returncode == 1
    assert "error[E331]" in refused.stderr
    assert f"kafka-etl.{project.name}." in refused.stderr
    assert "(static)" in refused.stderr
    assert "10 s" in refused.stderr
    assert sum(committed(project).values()) >= 50


def test_an_unknown_group_and_an_unclear_place(folder: Path, kafka: Kafka) -> None:
    unknown = command("offsets", "show", kafka.name(), cwd=folder)
    assert (unknown.returncode, "error[E332]" in unknown.stderr) == (1, True)
    unclear = command("offsets", "reset", "x", "--to", "yesterday", cwd=folder)
    assert (unclear.returncode, "error[E335]" in unclear.stderr) == (2, True)


# try


def test_a_look_writes_nothing(folder: Path, kafka: Kafka) -> None:
    project = picky(folder, kafka, partitions=1)
    project.produce([*orders(50), ("k", "no JSON")])
    topics = set(kafka.admin.list_topics(timeout=10).topics)
    done = command("try", "pipeline.yaml", "--from-kafka", "10", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [
        *(41, 42, 44, 45, 46, 47, 48, 49),
    ][-8:]
    assert "hello from the operator" in done.stderr
    assert "OperatorError in pick: kafka_etl.errors.Permanent: 43 ends with 3" in done.stderr
    assert f"record  {project.source}[0]@43, 1 attempt" in done.stderr
    assert "DecodeError" in done.stderr
    assert "10 records in, 8 out, 0 dropped, 2 dead letters. Nothing was written." in done.stderr
    after = set(kafka.admin.list_topics(timeout=10).topics)
    assert after - {"__consumer_offsets"} == topics - {"__consumer_offsets"}
    assert kafka.read(project.sink) == []
    assert committed(project) == {}
    as_json = lines(command("try", "pipeline.yaml", "--earliest", "--json", cwd=folder))
    assert as_json[0] == {"topic": project.sink, "key": "k0", "value": {"id": 0}, "headers": []}
    alone = command("try", "ops:pick", "--topic", project.source, "--from-kafka", "2", cwd=folder)
    assert [json.loads(line)["id"] for line in alone.stdout.splitlines()] == [49], alone.stderr
    assert committed(project) == {}
