"""Tasks: how many short ones a second, how soon one is done, a restore, and lists of a million.

    python -m tests.bench.tasks throughput [--tasks N]   a backlog of short tasks, then single ones
    python -m tests.bench.tasks restore [--tasks N]      the take-over of all partitions
    python -m tests.bench.tasks list [--tasks N]         `kafka-etl tasks list` on so many

Everything runs on a Kafka of its own on this machine, which shares the processors with it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from kafka_etl.broker import Cluster
from kafka_etl.task_history.store import Store
from tests.bench.task_journal import Journal, taken_over
from tests.kit.daemon import COMMAND, Daemon
from tests.kit.kafka import Kafka
from tests.kit.task_parts import spec_of

PARTITIONS = 16
SINGLES = 60
WARM_UP = 20
ROLES = {
    "kafka_etl.runtime.worker.main": "worker",
    "kafka_etl.runtime.tasks.keeper.keeper": "keeper",
    "kafka_etl.runtime.tasks.runner.runner": "runner",
    "kafka_etl": "daemon",
}
CODE = """
def work(task: dict) -> dict:
    return {"done": task["id"]}
"""


class Trial:
    """A task pipeline whose operator returns at once, in a folder of its own."""

    def __init__(self, folder: Path, kafka: Kafka, slots: int = 4) -> None:
        self.kafka = kafka
        self.folder = folder
        self.name = kafka.name()
        self.source = kafka.topic(4)
        self.results = kafka.topic(1)
        self.file = folder / "tasks.yaml"
        spec = spec_of(self, {"concurrency": slots, "timeout": "60s"}, PARTITIONS)
        self.file.write_text(json.dumps(spec))
        (folder / "ops.py").write_text(CODE)

    def daemon(self) -> Daemon:
        return Daemon(self.folder, str(self.file), "--instance", "bench")

    def submit(self, begin: int, count: int) -> None:
        numbers = range(begin, begin + count)
        self.kafka.produce(self.source, ((str(n), json.dumps({"id": f"t{n}"})) for n in numbers))


class Results:
    """A committed reader of the results: when each came."""

    def __init__(self, trial: Trial) -> None:
        self._consumer = Consumer(
            {
                **trial.kafka.client,
                "group.id": trial.kafka.name(),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
            }
        )
        self._consumer.assign([TopicPartition(trial.results, 0, 0)])
        self.count = 0

    def poll(self, seconds: float) -> list[str]:
        """Ids of the results that came."""
        found = [m for m in self._consumer.consume(5_000, seconds) if m.error() is None]
        self.count += len(found)
        return [json.loads(m.value() or b"")["done"] for m in found]

    def until(self, count: int, daemon: Daemon, seconds: float = 170) -> list[str]:
        """Wait for so many results in all."""
        ids: list[str] = []
        deadline = time.monotonic() + seconds
        while self.count < count:
            ids += self.poll(0.05)
            assert daemon.process.poll() is None, daemon.said()[-3000:]
            assert time.monotonic() < deadline, f"{self.count} of {count}"
        return ids


def throughput(kafka: Kafka, folder: Path, count: int) -> None:
    """A backlog that was there before the daemon started, then single tasks one after the other."""
    trial = Trial(folder, kafka)
    results = Results(trial)
    trial.submit(0, count)
    with trial.daemon() as daemon:
        started = time.monotonic()
        ids = results.until(max(1, count // 10), daemon)
        told("first tenth, with the start", f"{time.monotonic() - started:.1f} s")
        first, before, began = results.count, cpu(daemon.process.pid), time.monotonic()
        commits = commits_of(daemon)
        ids += results.until(count * 9 // 10, daemon)
        seconds, done = time.monotonic() - began, results.count - first
        after, commits = cpu(daemon.process.pid), commits_of(daemon) - commits
        told("short tasks", f"{done / seconds:,.0f} a second ({load()})")
        told("commits", f"{commits / seconds:.0f} a second, of {done / commits:.0f} tasks")
        took = {role: after[role] - before.get(role, 0.0) for role in sorted(after)}
        for role, used in took.items():
            told(f"CPU of {role}", f"{used / done * 1e6:,.0f} us a task")
        told("CPU of all", f"{sum(took.values()) / done * 1e6:,.0f} us a task")
        ids += results.until(count, daemon)
        assert len(ids) == len(set(ids)) == count, f"{len(ids)} results, {len(set(ids))} tasks"
        singles(trial, results, daemon, count)
        for role, peak in sorted(memory(daemon.process.pid).items()):
            told(f"peak memory of {role}", f"{peak:,.0f} MB")
        assert daemon.stop() == 0, daemon.said()[-3000:]
    heads = ended_of(kafka, f"{trial.name}.journal")
    told(
        "records of the journal, with markers", f"{heads / (count + SINGLES + WARM_UP):.2f} a task"
    )


def singles(trial: Trial, results: Results, daemon: Daemon, begin: int) -> None:
    """From just before the record is produced until a committed reader has the result."""
    producer = Producer({**trial.kafka.client, "linger.ms": 0})
    times: list[float] = []
    for n in range(begin, begin + SINGLES + WARM_UP):
        time.sleep(random.uniform(0.05, 0.3))
        started = time.monotonic()
        producer.produce(trial.source, json.dumps({"id": f"t{n}"}))
        producer.flush(10)
        results.until(n + 1, daemon)
        times.append(time.monotonic() - started)
    cuts = statistics.quantiles(times[WARM_UP:], n=100)
    told("one short task", f"p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms")


def restore(kafka: Kafka, folder: Path, count: int) -> None:
    """The take-over of all partitions by one owner: without its archives, and with them."""
    name = kafka.name()
    journal = Journal(kafka, name, PARTITIONS)
    kafka.topic(PARTITIONS, f"{name}.inbox")
    waiting = max(1, count // 100)
    started = time.monotonic()
    size = journal.write(count, waiting)
    records = ended_of(kafka, f"{name}.journal")
    told(
        f"{count:,} finished and {waiting:,} open tasks",
        f"{records:,} records, {size / 1e6:,.0f} MB, in {time.monotonic() - started:.0f} s",
    )
    for how in ("from the journal alone", "with its archives"):
        for what, figure in taken_over(kafka, name, folder).items():
            told(f"{how}: {what}", f"{figure:.1f} ({load()})")
    files = sum(file.stat().st_size for file in (folder / "archives").rglob("*"))
    told("archives on disk", f"{files / 1e6:,.0f} MB")


def listing(kafka: Kafka, folder: Path, count: int) -> None:
    """The local index of a journal: its first build, and lists from it."""
    trial = Trial(folder, kafka)
    journal = Journal(kafka, trial.name, PARTITIONS)
    journal.write(count, count // 100)
    kafka.topic(PARTITIONS, f"{trial.name}.inbox")
    env = {**os.environ, "KAFKA_ETL_CACHE": str(folder / "cache")}

    def listed(*arguments: str) -> float:
        started = time.monotonic()
        subprocess.run(
            [*COMMAND, "tasks", "list", str(trial.file), *arguments],
            cwd=folder,
            env=env,
            check=True,
            capture_output=True,
        )
        return time.monotonic() - started

    help_seconds = min(listed("--help") for _ in range(3))
    told(f"first list of {count:,}, with the index", f"{listed('--state', 'Failed'):.1f} s")
    told("`list --help`, which reads nothing", f"{help_seconds * 1e3:.0f} ms")
    for arguments in (
        ("--state", "Failed", "--since", "1h"),
        ("--since", "1h"),
        ("--state", "Succeeded"),
        ("--where", "error.type == 'OSError'"),
    ):
        seconds = statistics.median(listed(*arguments) for _ in range(5))
        told(f"list {' '.join(arguments)}", f"{seconds * 1e3:.0f} ms")
    questions(folder / "cache")


def questions(cache: Path) -> None:
    """The same without the start of a process, and without the look at the journal's end."""
    (path,) = (cache / "tasks").glob("*.sqlite")
    store = Store(path)
    for states in (["Failed"], None):
        started = time.monotonic()
        found = [task for task, _ in zip(store.tasks(states, 1), range(20), strict=False)]
        took = time.monotonic() - started
        told(
            f"the index alone, {states or 'all states'}, {len(found)} rows", f"{took * 1e3:.1f} ms"
        )
    store.close()


# What processes take


def cpu(pid: int) -> dict[str, float]:
    """Role -> seconds of all its processes so far; the brokers' Java is a role, too."""
    found: dict[str, float] = {}
    for process, role in [*_tree(pid), *_brokers()]:
        with suppress(OSError):
            used = time.clock_gettime((~process << 3) | 2)  # what clock_getcpuclockid makes of it
            found[role] = found.get(role, 0.0) + used
            ended = "processes that have ended"
            found[ended] = found.get(ended, 0.0) + _of_ended_children(process)
    return found


def _of_ended_children(pid: int) -> float:
    """Seconds of CPU of a process's children that it has waited for: runners are renewed."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> dict[str, float]:
    """Role -> peak of resident memory of its largest process, in MB."""
    found: dict[str, float] = {}
    for process, role in _tree(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{process}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    found[role] = max(found.get(role, 0.0), int(line.split()[1]) / 1000)
    return found


def _tree(pid: int) -> Iterator[tuple[int, str]]:
    with suppress(OSError):
        yield pid, _role(pid)
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from _tree(int(child))


def _role(pid: int) -> str:
    """What a process is for; the first worker accepts tasks, the other one owns them."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    module = words[words.index("-m") + 1] if "-m" in words else ""
    role = ROLES.get(module, "fork server, and others")
    return f"worker {pid}" if role == "worker" else role


def _brokers() -> Iterator[tuple[int, str]]:
    """The Java processes that are children of this one."""
    for pid, _ in _tree(os.getpid()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "java":
                yield pid, "broker"


def commits_of(daemon: Daemon) -> int:
    """Commits of the owner since it was started, as the daemon counts them."""
    lines = daemon.get("/metrics").splitlines()
    found = [
        line for line in lines if line.startswith("kafka_etl_commits_total") and ".tasks" in line
    ]
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in found))


def ended_of(kafka: Kafka, topic: str) -> int:
    return sum(kafka.ends(topic).values())


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def told(what: str, figure: str) -> None:
    sys.stdout.write(f"{what:<60} {figure}\n")
    sys.stdout.flush()


@contextmanager
def on_a_kafka() -> Generator[tuple[Kafka, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="kafka-etl-tasks-") as folder,
        Cluster.start(Path(folder) / "kafka") as cluster,
    ):
        work = Path(folder) / "work"
        work.mkdir()
        yield Kafka(cluster.bootstrap), work


def main() -> None:
    modes: dict[str, tuple[int, Callable[[Kafka, Path, int], Any]]] = {
        "throughput": (20_000, throughput),
        "restore": (1_000_000, restore),
        "list": (1_000_000, listing),
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=modes)
    parser.add_argument("--tasks", type=int)
    given = parser.parse_args()
    usual, run = modes[given.mode]
    with on_a_kafka() as (kafka, folder):
        run(kafka, folder, given.tasks or usual)


if __name__ == "__main__":
    main()
