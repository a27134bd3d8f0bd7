"""Topics of outputs that fit a regular expression among the sink's routes, on a real Kafka."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.kit.daemon import Daemon, command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project

EXPRESSION = {"set": {"topic": "value.to"}}
OPERATOR = """
    from kafka_etl import Record

    def route(record: Record) -> Record:
        return record.to(record.value["to"])
"""


GROW = """
    def grow(order: dict) -> dict:
        return order | {"pad": "x" * order["n"]}
"""


class Routed(Project):
    """A pipeline whose records name their topic; `prefix` begins the names that fit."""

    def __init__(self, folder: Path, kafka: Kafka, **more: Any) -> None:
        super().__init__(folder, kafka, **more)
        self.prefix = f"{kafka.name()}-"
        self.spec["sink"]["with"] |= {"routes": [f"^{self.prefix}[a-z]+$"], **EXPRESSION}
        self.write()

    def at(self, end: str) -> str:
        return self.prefix + end

    def sends(self, *topics: str) -> None:
        self.produce([json.dumps({"id": i, "to": topic}) for i, topic in enumerate(topics)])

    def ids(self, topic: str) -> list[int]:
        return sorted(json.loads(r.value)["id"] for r in self.kafka.read(topic))

    def refused(self) -> dict[int, str]:
        """Id of a record -> the error in its dead letter."""
        return {
            json.loads(r.value)["id"]: r.header("kafka_etl.error.message")
            for r in self.dead_letters()
        }


@pytest.mark.parametrize("way", ["set.topic", "Record.to"])
def test_any_topic_that_fits_the_pattern_may_be_named(
    tmp_path: Path, kafka: Kafka, way: str
) -> None:
    project = Routed(tmp_path, kafka)
    if way == "Record.to":
        project.write_code(OPERATOR)
        project.spec["operators"] = ["ops:route"]
        del project.spec["sink"]["with"]["set"]
        project.write()
    eu, us = kafka.topic(2, project.at("eu")), kafka.topic(1, project.at("us"))
    project.sends(eu, us, project.sink, us, eu, "elsewhere")
    assert run_to_end(tmp_path, str(project.file)).process.returncode == 0
    assert (project.ids(eu), project.ids(us), project.ids(project.sink)) == ([0, 4], [1, 3], [2])
    assert list(project.refused()) == [5]
    assert "not the sink's topic nor one of its routes (^" in project.refused()[5]


def test_a_topic_that_does_not_exist_costs_its_records_and_no_time(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Routed(tmp_path, kafka)
    eu = kafka.topic(1, project.at("eu"))
    project.sends(eu, project.at("no"), eu, project.sink)
    started = time.monotonic()
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0
    assert time.monotonic() - started < 25, "the client would wait 30 s for a missing topic"
    assert (project.ids(eu), project.ids(project.sink)) == ([0, 2], [3])
    assert list(project.refused()) == [1]
    assert "does not exist" in project.refused()[1]
    assert project.lag() == 0
    assert '"event":"reconnecting"' not in done.said()


def test_topics_are_created_when_they_are_named(tmp_path: Path, kafka: Kafka) -> None:
    project = Routed(tmp_path, kafka)
    project.spec["sink"]["with"]["create"] = {"partitions": 3}
    project.write()
    a, b = project.at("a"), project.at("b")
    project.sends(a, b, a, b, a)
    done = run_to_end(tmp_path, str(project.file), "--workers", "2")
    assert done.process.returncode == 0
    assert (project.ids(a), project.ids(b)) == ([0, 2, 4], [1, 3])
    assert len(kafka.ends(a)) == len(kafka.ends(b)) == 3
    assert project.refused() == {}


def test_a_name_that_the_cluster_refuses_costs_its_record(tmp_path: Path, kafka: Kafka) -> None:
    project = Routed(tmp_path, kafka)
    project.spec["sink"]["with"] |= {"create": {}, "routes": [f"^{project.prefix}"]}
    project.write()
    taken = kafka.topic(1, project.at("a.b"))
    project.sends(taken, project.at("a_b"), "x y", f"{project.prefix}x y", "__transaction_state")
    assert run_to_end(tmp_path, str(project.file)).process.returncode == 0
    assert project.ids(taken) == [0]
    assert sorted(project.refused()) == [1, 2, 3, 4]
    assert "collides" in project.refused()[1]


def test_a_topic_of_the_source_is_never_written(tmp_path: Path, kafka: Kafka) -> None:
    project = Routed(tmp_path, kafka)
    source, out = kafka.topic(1, project.at("in")), kafka.topic(1, project.at("out"))
    project.spec["source"]["with"]["topics"] = [f"^{project.prefix}in"]
    project.write()
    kafka.produce(source, [json.dumps({"id": i, "to": to}) for i, to in enumerate([source, out])])
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()
    assert f"the source reads topic {source}, which fits the sink's routes" in done.said()
    assert project.ids(out) == [1]
    assert len(kafka.read(source)) == 2
    assert "loop" in project.refused()[0]


def test_a_pattern_that_fits_the_source_is_refused(tmp_path: Path, kafka: Kafka) -> None:
    project = Routed(tmp_path, kafka)
    project.spec["sink"]["with"]["routes"] = [f"^{project.source}"]
    project.write()
    done = command("validate", str(project.file), cwd=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode == 2
    assert "E110" in said
    assert f"the source reads {project.source}, which this pattern lets the pipeline write" in said


def test_a_topic_that_is_deleted_later_ends_in_dead_letters(tmp_path: Path, kafka: Kafka) -> None:
    project = Routed(tmp_path, kafka)
    eu = kafka.topic(1, project.at("eu"))
    project.sends(eu)
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["counts"]["commits"] == 1)
        kafka.delete_topic(eu)
        project.sends(eu, project.sink)
        daemon.until(lambda _: len(project.dead_letters()) == 1, 100)
        assert daemon.pipeline()["state"] == "running"
        daemon.stop()
    assert project.ids(project.sink) == [1]
    assert "does not exist" in project.refused()[0]


@pytest.mark.parametrize("limit", [20_000, 3_000_000])
def test_a_new_topic_with_an_unusual_size_limit_is_written(
    tmp_path: Path, kafka: Kafka, limit: int
) -> None:
    project = Routed(tmp_path, kafka, code=GROW, operators=["ops:grow"])
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["state"] == "running")
        eu = kafka.topic(1, project.at("eu"), max_message_bytes=str(limit))
        sizes = [3000] * 100 + [min(limit, 1_200_000)]
        project.produce([json.dumps({"id": i, "to": eu, "n": n}) for i, n in enumerate(sizes)])
        daemon.until(lambda _: len(project.dead_letters()) == 1, 60)
        assert project.ids(eu) == list(range(100))
        daemon.stop()
    assert list(project.refused()) == [100]


def test_kill_9_doubles_and_loses_nothing(tmp_path: Path, kafka: Kafka) -> None:
    project = Routed(tmp_path, kafka)
    project.spec["sink"]["with"]["create"] = {}
    project.spec["source"]["with"]["batch"] = {"max_records": 500}
    project.write()
    topics = [project.at(end) for end in "abcd"]
    project.sends(*(topics[i * 4 // 6000] for i in range(6000)))
    done = Daemon(
        tmp_path, str(project.file), "--until-end", env={"KAFKA_ETL_FAIL": "after_produce:kill@3"}
    )
    with done:
        assert done.wait(90) == 0, done.said()[-3000:]
    assert "killed by SIGKILL" in done.said()
    ids = Counter(i for topic in topics for i in project.ids(topic))
    assert ids == Counter(range(6000))
    assert project.refused() == {}
