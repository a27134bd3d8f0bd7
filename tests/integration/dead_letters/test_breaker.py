"""The breaker and its hooks on a real Kafka: what pauses, what is told, what is not lost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.model import HookSpec, LimitSpec
from tests.kit.daemon import Daemon, command, free_port
from tests.kit.http_target import HANGS, Target, target
from tests.kit.kafka import Kafka
from tests.kit.pages import blocks, named_settings
from tests.kit.pipeline import Project, orders

PAGE = "docs/dead-letters/breaker.md"
EVERY_FIFTH = """
    def op(order: dict):
        if order["id"] % 5 == 3:
            raise ValueError("a fifth is bad")
        return order
"""
OTHER_FIFTH = """
    def op(order: dict):
        if order["id"] % 5 == 3:
            raise ValueError("a fifth is bad")
        if order["id"] % 5 == 4:
            raise LookupError("since the change")
        return order
"""


@pytest.fixture
def server() -> Iterator[Target]:
    with target() as running:
        yield running


def project_of(
    folder: Path,
    kafka: Kafka,
    code: str,
    limit: dict[str, Any] | None = None,
    *hooks: Any,
    partitions: int = 1,
    **more: Any,
) -> Project:
    letters = kafka.name()
    project = Project(
        folder,
        kafka,
        code=code,
        operators=["ops:op"],
        partitions=partitions,
        dead_letter={"topic": letters, "limit": limit or {}, "hooks": list(hooks)},
        **more,
    )
    project.letters = letters
    return project


def is_tripped(status: dict[str, Any]) -> bool:
    return status["state"] == "paused: breaker"


def is_through(status: dict[str, Any]) -> bool:
    return status["state"] == "running" and status["lag"]["records"] == 0


def ids(records: list[Any]) -> list[int]:
    return sorted(json.loads(record.value)["id"] for record in records)


def shares(kafka: Kafka, project: Project) -> list[int]:
    """Partitions of each member of the pipeline's group."""
    (described,) = kafka.admin.describe_consumer_groups([project.name]).values()
    return [len(member.assignment.topic_partitions) for member in described.result(20).members]


def in_partition(number: int, records: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value, "partition": number} for key, value in records]


def until(what: Any, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def documents(server: Target) -> list[dict[str, Any]]:
    return [json.loads(body) for body in server.bodies]


def check_all_there(project: Project, count: int, bad: set[int]) -> None:
    """Each record once, as output or as dead letter."""
    assert ids(project.dead_letters()) == sorted(bad)
    assert sorted(order["id"] for order in project.outputs()) == sorted(set(range(count)) - bad)


def test_a_share_of_failures_trips_and_after_a_resume_nothing_is_lost(
    tmp_path: Path, kafka: Kafka
) -> None:
    limit = {"max_ratio": 0.1, "window": 100, "min_records": 50}
    project = project_of(tmp_path, kafka, EVERY_FIFTH, limit)
    project.produce(orders(300))
    with Daemon(tmp_path, str(project.file)) as daemon:
        status = daemon.until(is_tripped)
        what = status["error"]["what"]
        assert re.search(r"\d+ of the last \d+ records failed \(`max_ratio: 0.1`\)", what)
        assert "ValueError: a fifth is bad" in what
        assert len(project.dead_letters()) + len(project.outputs()) < 300
        project.produce([json.dumps({"id": 1000})])
        for _ in range(20):  # each lets the slice in hand pass
            daemon.post(f"/pipelines/{project.name}/resume")
            if is_through(daemon.until(lambda p: is_tripped(p) or is_through(p))):
                break
        daemon.stop()
    bad = {i for i in range(300) if i % 5 == 3}
    assert ids(project.dead_letters()) == sorted(bad)
    assert sorted(o["id"] for o in project.outputs()) == [*sorted(set(range(300)) - bad), 1000]


def test_a_new_kind_after_a_change_of_an_operator_pauses_until_resume(
    tmp_path: Path, kafka: Kafka, server: Target
) -> None:
    limit = {"new_kinds_within": "1h"}
    project = project_of(tmp_path, kafka, EVERY_FIFTH, limit, {"url": f"{server.url}/hook"})
    with Daemon(tmp_path, str(project.file)) as daemon:
        project.produce(orders(50))
        daemon.until(is_tripped)  # the first version, too, is a change
        daemon.post(f"/pipelines/{project.name}/resume")
        daemon.until(is_through)
        project.write_code(OTHER_FIFTH)
        done = command("restart", project.name, "--http", daemon.http, cwd=tmp_path)
        assert done.returncode == 0, done.stderr  # the old version must not see what comes now
        project.produce(orders(100)[50:])
        status = daemon.until(lambda p: is_tripped(p) and "since the change" in p["error"]["what"])
        assert "a fifth is bad" not in status["error"]["what"], "that kind is an old one"
        assert "within 1h of a change" in status["error"]["what"]
        before = len(project.dead_letters())
        daemon.stop()
    with Daemon(tmp_path, str(project.file)) as daemon:  # the same version does not forget
        daemon.until(is_tripped)
        assert len(project.dead_letters()) == before
        daemon.post(f"/pipelines/{project.name}/resume")
        daemon.until(is_through)
        daemon.stop()
    check_all_there(project, 100, {i for i in range(100) if i % 5 == 3 or (i > 49 and i % 5 == 4)})
    told = [(d["event"], d["kinds"][0]["error"]) for d in documents(server)]
    old, new = "ValueError: a fifth is bad", "LookupError: since the change"
    assert told == [
        ("breaker_opened", old),
        ("new_kind", old),
        ("breaker_opened", new),
        ("breaker_opened", new),
        ("new_kind", new),
    ]
    with Daemon(tmp_path, str(project.file)) as daemon:  # what was accepted is in the topic now
        project.produce(orders(10))
        daemon.until(is_through)
        daemon.stop()


def test_long_after_the_change_a_new_kind_pauses_nothing(tmp_path: Path, kafka: Kafka) -> None:
    project = project_of(tmp_path, kafka, EVERY_FIFTH, {"new_kinds_within": "1ms"})
    project.produce(orders(50))
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(is_through)
        daemon.stop()
    check_all_there(project, 50, {i for i in range(50) if i % 5 == 3})


def test_hooks_are_told_over_http_and_in_a_topic(
    tmp_path: Path, kafka: Kafka, server: Target
) -> None:
    topic = kafka.name()
    hooks = [{"url": f"{server.url}/a?token=t", "only": ["breaker_opened"]}, {"topic": topic}]
    project = project_of(tmp_path, kafka, EVERY_FIFTH, {"max_ratio": 0.15}, *hooks)
    project.produce(orders(30))
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(is_through)
        project.produce(orders(200)[30:])
        daemon.until(is_tripped)
        records = until(lambda: (found := kafka.read(topic)) and len(found) > 1 and found)
        until(lambda: server.bodies)
        metrics = until(
            lambda: (said := daemon.get("/metrics")) and "breaker_opened" in said and said
        )
        daemon.stop()
    kind, opened = (json.loads(record.value) for record in records)
    assert {record.key for record in records} == {project.name.encode()}
    assert (kind["event"], kind["kinds"][0]["example"]) == ("new_kind", f"{project.source}/0/3")
    assert (opened["event"], opened["limit"]) == ("breaker_opened", "max_ratio")
    assert documents(server) == [opened]
    example = json.loads(blocks(PAGE, "json")[0])
    assert opened.keys() == example.keys()
    assert opened["kinds"][0].keys() == example["kinds"][0].keys()
    assert [r.header("kafka_etl.fingerprint") for r in project.dead_letters()[:1]] == [
        kind["kinds"][0]["fingerprint"]
    ]
    labels = f'{{notice="breaker_opened",pipeline="{project.name}"}}'
    assert f"kafka_etl_notices_sent_total{labels} 2" in metrics


@pytest.mark.parametrize("deed", ["refuses", "hangs"])
def test_a_dead_hook_does_not_slow_the_pipeline(
    tmp_path: Path, kafka: Kafka, server: Target, deed: str
) -> None:
    server.behaviour = lambda _request: HANGS
    url = server.url if deed == "hangs" else f"http://127.0.0.1:{free_port()}"
    project = project_of(tmp_path, kafka, EVERY_FIFTH, None, {"url": f"{url}/secret"})
    project.produce(orders(10))
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(is_through)  # the notice is on its way
        began = time.monotonic()
        project.produce(orders(2000)[10:])
        daemon.until(lambda p: p["counts"]["records_in"] == 2000)
        assert time.monotonic() - began < 5, "less than one try takes"
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 6
        assert "secret" not in daemon.said()
        assert "a hook did not take a notice" in daemon.said() or deed == "hangs"
    check_all_there(project, 2000, {i for i in range(2000) if i % 5 == 3})


def test_the_settings_on_the_page_are_those_of_the_models() -> None:
    assert named_settings(PAGE, "\n## ") == set(LimitSpec.model_fields)
    assert set(HookSpec.model_fields) == {"url", "topic", "only"}


def test_the_pipeline_on_the_page_runs(tmp_path: Path, kafka: Kafka, server: Target) -> None:
    (file,) = blocks(PAGE, "yaml")
    source, sink = kafka.topic(1), kafka.topic(1)
    file = file.replace("[orders]", f"[{source}]").replace("orders-eur", sink)
    (tmp_path / "pipeline.yaml").write_text(file)
    (tmp_path / "ops.py").write_text(
        "def to_eur(order: dict):\n    return {**order, 'eur': 1 / (order['id'] != 7)}\n"
    )
    kafka.produce(source, orders(20))
    env = {"KAFKA": kafka.bootstrap, "HOOK": server.url}
    with Daemon(tmp_path, "pipeline.yaml", env=env) as daemon:
        status = daemon.until(is_tripped)
        assert "ZeroDivisionError" in status["error"]["what"]
        until(lambda: server.bodies)
        daemon.post("/pipelines/orders-in-eur/resume")
        daemon.until(is_through)
        daemon.stop()
    assert len(kafka.read(sink)) == 19
    assert [json.loads(r.value)["event"] for r in kafka.read(f"{sink}.notices")] == [
        "breaker_opened",
        "new_kind",
    ]


def test_what_one_worker_was_resumed_for_does_not_pause_another(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = project_of(
        tmp_path, kafka, EVERY_FIFTH, {"new_kinds_within": "1h"}, partitions=2, workers=2
    )
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["state"] == "running")
        until(lambda: shares(kafka, project) == [1, 1])
        kafka.produce(project.source, in_partition(0, orders(20)))
        daemon.until(is_tripped)
        daemon.post(f"/pipelines/{project.name}/resume")
        daemon.until(is_through)
        kafka.produce(project.source, in_partition(1, orders(40)[20:]))
        daemon.until(is_through)  # the other worker finds the kind in the topic
        daemon.until(lambda p: is_through(p) and p["counts"]["records_in"] == 40)
        assert daemon.said().count('"code":"E404"') == 1
        daemon.stop()
    check_all_there(project, 40, {i for i in range(40) if i % 5 == 3})
