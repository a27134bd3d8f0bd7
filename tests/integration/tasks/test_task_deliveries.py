"""Destinations of tasks outside of the cluster, on a real Kafka."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.tasks.head import Head
from kafka_etl.tasks.states import State
from kafka_etl.tasks.words import Stop
from tests.kit import mns
from tests.kit.daemon import Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.mns import KEY_ID, SECRET, Mns
from tests.kit.tasks import Tasks


@pytest.fixture
def service() -> Iterator[Mns]:
    with mns.service() as state:
        state.queues = {"good": [], "bad": []}
        yield state


def queue(service: Mns, name: str) -> dict[str, Any]:
    return {
        "use": "mns",
        "with": {
            "endpoint": service.url,
            "access_key_id": KEY_ID,
            "access_key_secret": SECRET,
            "queue": name,
            "format": "envelope",
        },
    }


def messages(service: Mns, name: str) -> list[Any]:
    return [json.loads(body) for body in service.decoded(name)]


def input_of(message: Any) -> Any:
    """The input in an envelope."""
    (record,) = json.loads(message["requestPayload"])
    return json.loads(record["value"])


def database(folder: Path) -> dict[str, Any]:
    with sqlite3.connect(folder / "out.db") as db:
        db.execute("CREATE TABLE IF NOT EXISTS results (done TEXT)")
    return {"use": "sqlite", "with": {"path": str(folder / "out.db"), "table": "results"}}


def rows(folder: Path) -> Counter[str]:
    with sqlite3.connect(folder / "out.db") as db:
        return Counter(done for (done,) in db.execute("SELECT done FROM results"))


def until(daemon: Daemon, is_so: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert daemon.process.poll() is None, daemon.said()
        assert time.monotonic() < deadline, daemon.said()[-3000:]
        time.sleep(0.3)


def topics(kafka: Kafka) -> set[str]:
    return set(kafka.admin.list_topics(timeout=10).topics)


def destinations(head: Head) -> dict[str, str]:
    return {one.name: one.status for one in head.destinations}


def said_of(head: Head) -> list[str]:
    return [line.why for line in head.history]


def test_the_demo_of_five_tasks_of_which_one_is_stopped(
    tmp_path: Path, kafka: Kafka, service: Mns
) -> None:
    tasks = Tasks(
        tmp_path, kafka, on_success=queue(service, "good"), on_failure=[queue(service, "bad")]
    )
    file = str(tasks.file)
    with tasks.daemon() as daemon:
        until(daemon, lambda: f"{tasks.name}.inbox" in topics(kafka))
        for n in range(5):
            seconds = 60 if n == 3 else 1
            done = command(
                "tasks", "submit", file, "-d", json.dumps({"id": f"t{n}", "seconds": seconds}),
                "--id", f"t{n}", cwd=tmp_path,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        until(daemon, lambda: tasks.ran()["t3"] and len(tasks.ran()) == 5)
        stopped = command("tasks", "stop", file, "t3", "--reason", "by hand", cwd=tmp_path)
        assert stopped.returncode == 0, stopped.stderr
        tasks.until(daemon, 5)
        listed = command("tasks", "list", file, "--format", "json", cwd=tmp_path)
        shown = command("tasks", "show", file, "t3", "--json", cwd=tmp_path)
        assert daemon.stop() == 0, daemon.said()
    states = Counter(json.loads(line)["state"] for line in listed.stdout.splitlines())
    assert states == {"Succeeded": 4, "Stopped": 1}
    assert [d["status"] for d in json.loads(shown.stdout)["destinations"]] == ["delivered"]
    successes = messages(service, "good")
    assert sorted(json.loads(one["responsePayload"])["done"] for one in successes) == [
        "t0",
        "t1",
        "t2",
        "t4",
    ]
    assert sorted(input_of(one)["id"] for one in successes) == ["t0", "t1", "t2", "t4"]
    ids = {one["requestContext"]["requestId"] for one in successes}
    assert ids == {f"{tasks.name}/{task}/1/0" for task in ("t0", "t1", "t2", "t4")}
    (failure,) = messages(service, "bad")
    assert failure["requestContext"]["condition"] == "Stopped"
    assert input_of(failure) == {"id": "t3", "seconds": 60}
    assert failure["pipeline"]["name"] == tasks.name


def test_a_store_has_each_result_once_whatever_dies(tmp_path: Path, kafka: Kafka) -> None:
    results = kafka.topic(1)
    (tmp_path / "bad.db").touch()
    failures = {"use": "sqlite", "with": {"path": str(tmp_path / "bad.db"), "table": "failures"}}
    tasks = Tasks(
        tmp_path,
        kafka,
        on_success=[database(tmp_path), {"use": "kafka", "with": {"topic": results}}],
        on_failure=[{"topic": f"{results}.failed", "format": "envelope"}, failures],
    )
    ids = [f"t{n}" for n in range(12)]
    tasks.submit(*({"id": task} for task in ids), {"id": "none", "none": 1}, {"id": "b", "bad": 1})
    lock = sqlite3.connect(tmp_path / "out.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with tasks.daemon() as daemon:
        until(daemon, lambda: Counter(tasks.states().values())[State.DELIVERING] == 12, 90)
        states = tasks.states()
        assert states["none"] is State.SUCCEEDED
        until(daemon, lambda: tasks.states()["b"] is State.FAILED)
        assert kafka.read(results) == []  # after the destinations outside of the cluster
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        lock.execute("ROLLBACK")
        lock.close()
        until(daemon, lambda: rows(tmp_path))
        for pid in daemon.workers():
            os.kill(pid, signal.SIGKILL)
        heads = tasks.until(daemon, 14, 120)
        assert daemon.stop() == 0, daemon.said()
    assert Counter(head.state for head in heads.values()) == {State.SUCCEEDED: 13, State.FAILED: 1}
    assert rows(tmp_path) == Counter(ids)
    assert Counter(json.loads(r.value or b"")["done"] for r in kafka.read(results)) == Counter(ids)
    assert destinations(heads["t0"]) == {"result-sqlite": "delivered"}
    assert tasks.ran()["t0"] == 1
    with sqlite3.connect(tmp_path / "bad.db") as db:
        ((document,),) = db.execute("SELECT letter FROM failures").fetchall()
    assert json.loads(document)["requestContext"]["condition"] == "OperatorError"
    assert len(kafka.read(f"{results}.failed")) == 1


def test_two_topics_get_every_result_each_in_its_own_form(tmp_path: Path, kafka: Kafka) -> None:
    first, second = kafka.topic(1), kafka.name()
    tasks = Tasks(
        tmp_path,
        kafka,
        on_success=[
            {"use": "kafka", "with": {"topic": first}},
            {
                "use": "kafka",
                "with": {
                    "topic": second,
                    "value": "json",
                    "create": {"partitions": 1},
                    "set": {"key": "value.done"},
                },
            },
        ],
    )
    tasks.submit({"id": "a"}, {"id": "b"})
    with tasks.daemon() as daemon:
        heads = tasks.until(daemon, 2)
        assert daemon.stop() == 0, daemon.said()
    assert {head.state for head in heads.values()} == {State.SUCCEEDED}
    assert sorted(record.value or b"" for record in kafka.read(first)) == [
        b'{"done":"a"}',
        b'{"done":"b"}',
    ]
    assert sorted(record.key or b"" for record in kafka.read(second)) == [b"a", b"b"]


def test_a_destination_that_is_away_holds_up_only_its_own_tasks(
    tmp_path: Path, kafka: Kafka, service: Mns
) -> None:
    tasks = Tasks(tmp_path, kafka, on_success=queue(service, "good"))
    file = str(tasks.file)
    service.away = True
    tasks.submit({"id": "a"}, {"id": "b"})
    with tasks.daemon() as daemon:
        until(daemon, lambda: Counter(tasks.states().values())[State.DELIVERING] == 2)
        tasks.submit({"id": "c", "bad": 1})
        until(daemon, lambda: tasks.states().get("c") is State.FAILED)
        listed = command("tasks", "list", file, "--state", "Delivering", cwd=tmp_path)
        assert "3 tasks: 2 Delivering, 1 Failed" in listed.stdout
        tasks.say("a", Stop(word="1", by="me"))
        until(daemon, lambda: "a stop that came too late" in said_of(tasks.heads()["a"]))
        service.away = False
        heads = tasks.until(daemon, 3, 90)
        assert daemon.stop() == 0, daemon.said()
    assert heads["a"].state is heads["b"].state is State.SUCCEEDED
    assert {json.loads(one["responsePayload"])["done"] for one in messages(service, "good")} == {
        "a",
        "b",
    }


def test_a_refused_result_is_kept_and_delivered_again(
    tmp_path: Path, kafka: Kafka, service: Mns
) -> None:
    tasks = Tasks(tmp_path, kafka, on_success=queue(service, "good"))
    file = str(tasks.file)
    service.refused = lambda body: "InvalidArgument" if b"bad-one" in b64decode(body) else None
    tasks.submit({"id": "fine"}, {"id": "bad-one"})
    with tasks.daemon() as daemon:
        heads = tasks.until(daemon, 2)
        assert heads["fine"].state is State.SUCCEEDED
        failed = heads["bad-one"]
        assert failed.state is State.FAILED
        assert failed.error is not None
        assert failed.error.type == "SinkFailed"
        assert destinations(failed) == {"result-mns": "refused"}
        assert [one["requestContext"]["condition"] for one in tasks.failures()] == ["Refused"]
        service.refused = lambda _body: None
        again = command("tasks", "retry", file, "bad-one", "--deliver", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        until(daemon, lambda: tasks.states()["bad-one"] is State.SUCCEEDED)
        assert daemon.stop() == 0, daemon.said()
    assert len(messages(service, "good")) == 2
    assert tasks.ran() == {"fine": 1, "bad-one": 1}


def test_a_refused_notice_changes_no_outcome(tmp_path: Path, kafka: Kafka, service: Mns) -> None:
    tasks = Tasks(tmp_path, kafka, on_failure=queue(service, "bad") | {"when": ["Failed"]})
    service.refused = lambda _body: "InvalidArgument"
    tasks.submit({"id": "a", "bad": 1}, {"id": "b", "bad": 1}, {"id": "c"})
    with tasks.daemon() as daemon:
        heads = tasks.until(daemon, 3)
        assert daemon.stop() == 0, daemon.said()
    assert {task: head.state for task, head in heads.items()} == {
        "a": State.FAILED,
        "b": State.FAILED,
        "c": State.SUCCEEDED,
    }
    (refused,) = heads["a"].destinations
    assert (refused.name, refused.status) == ("failure-mns", "refused")
    assert "InvalidArgument" in refused.why
    assert messages(service, "bad") == []
