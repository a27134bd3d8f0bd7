"""`order: key` on a real Kafka: tasks of one key one after the other, others beside them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from kafka_etl.tasks.placing import partition_of
from kafka_etl.tasks.states import FINAL, State
from tests.kit.kafka import Kafka
from tests.kit.task_project import PARTITIONS, TaskProject

WORK = """
import json, time
from pathlib import Path
from kafka_etl import Context, Permanent

RUNS = Path(__file__).with_name("runs")


def note(task: dict, what: str) -> None:
    said = {"id": task["id"], "what": what, "at": time.monotonic()}
    with RUNS.open("a") as file:
        file.write(json.dumps(said) + "\\n")


def work(task: dict, context: Context) -> dict:
    note(task, "begin")
    time.sleep(0.2)
    if task.get("bad"):
        raise Permanent("a bad input")
    if task.get("fails") and context.attempt == 1:
        raise OSError("the first attempt fails")
    note(task, "end")
    return {"done": task["id"]}
"""
KEYS = ("a", "b", "c")


def runs(project: TaskProject) -> list[Any]:
    return [json.loads(line) for line in (project.folder / "runs").read_text().splitlines()]


def test_tasks_of_a_key_keep_their_order_and_keys_run_beside_each_other(
    tmp_path: Path, kafka: Kafka
) -> None:
    operator = {"retry": {"max_attempts": 2, "backoff": {"initial": "300ms", "jitter": "none"}}}
    project = TaskProject(tmp_path, kafka, WORK, operator=operator, order="key")
    tasks = [{"id": f"{key}{n}"} for n in range(5) for key in KEYS]
    tasks[4]["fails"] = tasks[8]["bad"] = 1  # b1 and c2
    kafka.produce(project.source, [(task["id"][0], json.dumps(task)) for task in tasks])

    with project.daemon() as daemon:
        project.until(daemon, lambda h: len(h) == 15 and all(t.state in FINAL for t in h.values()))
        began = {key: [r for r in runs(project) if r["id"][0] == key] for key in KEYS}
        order = {key: [r["id"] for r in found] for key, found in began.items()}
        whole = {key: [f"{key}{n}" for n in range(5) for _ in range(2)] for key in KEYS}
        whole["b"].insert(2, "b1")
        whole["c"].remove("c2")
        assert order == whole
        spans = [(r["at"], s["at"], r["id"][0]) for r, s in pairwise(began["a"] + began["b"])]
        assert any(b[0] < a[1] and a[0] < b[1] and a[2] != b[2] for a in spans for b in spans)

        heads = project.heads()
        assert (heads["b1"].state, heads["b1"].attempts.total) == (State.SUCCEEDED, 2)
        assert heads["c2"].state is State.FAILED
        retried = project.command("retry", "c2", "--input", '{"id": "c2", "again": 1}')
        assert retried.returncode == 0, retried.stderr
        head = project.until_state(daemon, "c2", State.SUCCEEDED)
        assert (head.generation, head.route, head.overtakes) == (2, "c", True)
        assert project.outputs() == {f'{{"done":"{task["id"]}"}}': 1 for task in tasks}

        refused = project.command("submit", "-d", '{"id": "x"}')
        assert refused.returncode == 2
        assert "E509" in refused.stderr
        assert "--key" in refused.stderr
        made = project.command("submit", "-d", '{"id": "x"}', "--id", "y", "--key", "a", "--wait")
        assert made.returncode == 0, made.stderr
        places = {r.partition for r in kafka.read(project.inbox) if r.key == b"y"}
        assert places == {partition_of("a", PARTITIONS)}
        assert places != {partition_of("y", PARTITIONS)}
        assert daemon.stop() == 0, daemon.said()
