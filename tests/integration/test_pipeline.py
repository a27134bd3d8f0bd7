"""Whole pipelines on real Kafka, through the command line: what goes in and what comes out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, command, free_port, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

TO_EUR = """
    from kafka_etl import Permanent

    def to_eur(order: dict, *, rate: float = 0.92) -> dict:
        if order["amount"] < 0:
            raise Permanent("negative amount")
        return order | {"eur": round(order["amount"] * rate, 2)}
"""


def test_every_record_is_in_the_outputs_or_a_dead_letter(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, code=TO_EUR, operators=["ops:to_eur"])
    bad = [("k1", b"{broken"), ("k2", json.dumps({"id": "neg", "amount": -1})), ("k3", b"\xff\xfe")]
    project.produce([*orders(2000), *bad])
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()
    assert sorted(o["id"] for o in project.outputs()) == list(range(2000))
    letters = project.dead_letters()
    assert sorted((r.value, r.key) for r in letters) == sorted(
        (v.encode() if isinstance(v, str) else v, k.encode()) for k, v in bad
    )
    assert sorted(r.header("kafka_etl.condition") for r in letters) == [
        "DecodeError",
        "DecodeError",
        "OperatorError",
    ]
    assert project.lag() == 0


def test_awkward_records_pass_unharmed(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(
        tmp_path,
        kafka,
        code="def same(value: dict) -> dict:\n    return value\n",
        operators=["ops:same"],
        partitions=1,
    )
    headers = [("a", b"1"), ("a", b"2"), ("none", None), ("empty", b"")]
    records = [
        {"key": None, "value": b'{"i": 1}', "headers": headers},
        {"key": b"", "value": b'{"i": 2}'},
        {"key": b"tombstone", "value": None, "headers": headers},
        {"key": b"\x00\xff", "value": b'{"i": 3}', "headers": [("x", b"\xff")]},
    ]
    project.produce(records)
    run_to_end(tmp_path, str(project.file))
    found = kafka.read(project.sink)
    assert [(r.key, r.headers) for r in found] == [
        (r["key"], r.get("headers", [])) for r in records
    ]
    assert [r.value and json.loads(r.value) for r in found] == [{"i": 1}, {"i": 2}, None, {"i": 3}]


def test_an_empty_value_is_no_tombstone(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, source={"value": "bytes"}, sink={"value": "bytes"})
    project.produce([{"key": b"a", "value": b""}, {"key": b"b", "value": None}])
    run_to_end(tmp_path, str(project.file))
    assert sorted((r.key, r.value) for r in kafka.read(project.sink)) == [(b"a", b""), (b"b", None)]


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd", "snappy"])
def test_input_in_every_compression(tmp_path: Path, kafka: Kafka, codec: str) -> None:
    project = Project(tmp_path, kafka, partitions=1)
    project.produce(orders(500), **{"compression.type": codec})
    run_to_end(tmp_path, str(project.file))
    assert [o["id"] for o in project.outputs()] == list(range(500))


def test_aborted_records_are_not_read_and_lag_comes_to_zero(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, partitions=2)
    kafka.produce_transactions(
        project.source,
        [
            (orders(10), True),
            ([("x", '{"id": "aborted"}')] * 5, False),
            ([("y", '{"id": 10}')], True),
            ([("z", '{"id": "aborted, too"}')] * 3, False),
        ],
    )
    run_to_end(tmp_path, str(project.file))
    assert sorted(o["id"] for o in project.outputs()) == list(range(11))
    assert project.lag() == 0


def test_keys_go_where_javas_partitioner_puts_them(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, partitions=7)
    project.produce(orders(700, keys=70))
    run_to_end(tmp_path, str(project.file))
    source = {r.key: r.partition for r in kafka.read(project.source)}
    assert {r.key: r.partition for r in kafka.read(project.sink)} == source


def test_start_latest_skips_what_was_there_before(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, source={"start": "latest"})
    project.produce(orders(100))
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["state"] == "running" and p["partitions"] == 4)
        project.produce([("k", '{"id": "new"}')])
        daemon.until(lambda p: p["counts"]["records_out"] == 1)
        assert daemon.stop() == 0
    assert project.outputs() == [{"id": "new"}]


def test_several_topics_and_a_regex(tmp_path: Path, kafka: Kafka) -> None:
    prefix = kafka.name()
    first, second = kafka.topic(2, f"{prefix}-a"), kafka.topic(1, f"{prefix}-b")
    project = Project(tmp_path, kafka, source={"topics": [f"^{prefix}-.*"]})
    kafka.produce(first, [("k", '{"id": 1}')])
    kafka.produce(second, [("k", '{"id": 2}')])
    run_to_end(tmp_path, str(project.file))
    assert sorted(o["id"] for o in project.outputs()) == [1, 2]


def test_stdout_prints_json_lines(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, partitions=1)
    project.spec["sink"] = "stdout"
    project.write()
    project.produce(orders(300))
    done = run_to_end(tmp_path, str(project.file))
    lines = done.stdout.read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(300))
    assert project.lag() == 0


def test_a_second_run_finds_nothing_to_do(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka)
    project.produce(orders(100))
    run_to_end(tmp_path, str(project.file))
    run_to_end(tmp_path, str(project.file))
    assert len(project.outputs()) == 100


def test_dead_letters_make_the_exit_status_3_on_request(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, code=TO_EUR, operators=["ops:to_eur"])
    project.produce([("k", b"{")])
    done = run_to_end(tmp_path, str(project.file), "--fail-on-dead-letter")
    assert done.process.returncode == 3


def test_validate_needs_no_kafka(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, code=TO_EUR, operators=["ops:to_eur"])
    done = command("validate", str(project.file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "exactly_once" in done.stdout


def test_stopped_before_its_brokers_answer_it_ends_at_once(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka)
    project.spec["kafka"]["bootstrap.servers"] = f"127.0.0.1:{free_port()}"
    project.write()
    with Daemon(tmp_path, "pipeline.yaml") as daemon:
        daemon.until(lambda pipeline: pipeline["state"] == "preflight")
        assert daemon.stop() == 0
