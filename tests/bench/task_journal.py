"""A journal as an owner writes it, and the take-over of all its partitions by a new one.

python -m tests.bench.task_journal BOOTSTRAP NAME FOLDER    takes over, and says what it took
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from confluent_kafka import Producer

from kafka_etl.contracts import Deployment
from kafka_etl.engine.tasks.archive import Archives
from kafka_etl.engine.tasks.deliveries import Destinations
from kafka_etl.engine.tasks.executors import Executors, LocalKeeper
from kafka_etl.engine.tasks.offers import OwnOffers
from kafka_etl.engine.tasks.owner import OwnerSink
from kafka_etl.engine.tasks.takeover import TakeOver
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.tasks.log import KafkaTaskLog
from kafka_etl.kafka.tasks.settings import TaskInboxSettings
from kafka_etl.metrics import Counters
from kafka_etl.record import Partition
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Failure, Head, Origin, encode_head
from kafka_etl.tasks.journal import Mark, encode_mark, head_key, mark_key
from kafka_etl.tasks.keeping import FromKeeper, FromOwner, Said
from kafka_etl.tasks.placing import inbox_of, journal_of, partition_of
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.table import apply
from tests.kit.kafka import Kafka

PARTITIONS = 16
_ID: Final = "T" * 12
_TOKEN: Final = "K" * 16
_COMMIT: Final = 250
_FAILED: Final = 100
"""One of so many tasks has failed."""


class Journal:
    """The journal of a pipeline, of tasks that had each three heads, as after a backlog."""

    def __init__(self, kafka: Kafka, name: str, partitions: int = PARTITIONS) -> None:
        self._kafka = kafka
        self._partitions = partitions
        self._topic = journal_of(name)
        kafka.topic(partitions, self._topic, **{"cleanup.policy": "compact"})
        self._now = round(time.time() * 1000)

    def write(self, finished: int, waiting: int) -> int:
        """Write so many finished tasks and so many that wait; return the bytes of all heads."""
        client = {**self._kafka.client, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000}
        producer = Producer({**client, "transactional.id": self._topic})
        producer.init_transactions(30)
        succeeded, failed = (_templates(self._now, fails=fails) for fails in (False, True))
        total, n = finished + waiting, 0
        size = 0
        while n < total:
            producer.begin_transaction()
            for number in range(n, min(n + _COMMIT, total)):
                task = f"task-{number:07}"
                heads = failed if number % _FAILED == 0 else succeeded
                for head in heads if number < finished else heads[:1]:
                    value = head.replace(_ID.encode(), task.encode())
                    value = value.replace(_TOKEN.encode(), f"{number:016x}".encode())
                    size += len(value)
                    self._write(
                        producer, partition_of(task, self._partitions), head_key(task), value
                    )
            n = min(n + _COMMIT, total)
            for partition in range(self._partitions):
                mark = Mark(0, n // _COMMIT, "bench", self._now)  # of an inbox that is empty
                self._write(producer, partition, mark_key(), encode_mark(mark))
            producer.commit_transaction(30)
        return size

    def _write(self, producer: Producer, partition: int, key: bytes, value: bytes) -> None:
        while True:
            try:
                producer.produce(self._topic, value, key, partition)
                return
            except BufferError:
                producer.poll(0.05)


def _templates(now: int, *, fails: bool) -> list[bytes]:
    """The heads of a task one after the other, with an id and a token that are to be replaced."""
    policy = Policy(max_attempts=1)
    origin = Origin("uploads", 3, 1_234_567, timestamp=now)
    token = _TOKEN
    words: list[w.Word] = [
        w.Submit(word="0123456789abcdef", origin=origin, accepted_ms=now, size=120),
        w.Granted(token=token, executor="host-1", boot="0123456789abcdef0123456789abcdef"),
    ]
    if fails:
        error = Failure("OSError", "the object is not there", "Traceback: " + "line of code " * 40)
        words.append(w.Ended(word=f"{token}.last", token=token, why="error", error=error))
    else:
        words.append(
            w.Result(word=f"{token}.last", token=token, preview='{"done":1}', seconds=0.001)
        )
    heads: list[bytes] = []
    head: Head | None = None
    for word in words:
        change = apply(_ID, head, word, Moment(now, 1_234_567), policy)
        assert change is not None
        head = change.head
        assert head is not None
        heads.append(encode_head(head))
    return heads


class _NoKeeper:
    """A host without a keeper."""

    connected = False

    def exchange(self) -> list[FromKeeper]:
        return []

    def send(self, message: FromOwner) -> None: ...

    def close(self) -> None: ...


class _Nowhere:
    """No words, and no journals of other owners."""

    def write(self, said: Said) -> None: ...

    def follow(self, positions: Mapping[int, int]) -> None: ...

    def changes(self) -> list[tuple[str, bytes | None]]:
        return []

    def close(self) -> None: ...


def take_over(bootstrap: str, name: str, folder: Path) -> Iterator[tuple[str, float]]:
    """Take all partitions over in this process; yields what, and the figure."""
    kafka = {"bootstrap.servers": bootstrap}
    settings = TaskInboxSettings.model_validate(
        {"topics": inbox_of(name), "journal": journal_of(name), "partitions": PARTITIONS}
    )
    admin = Admin(kafka)
    admin.reach()
    admin.topics([settings.journal], "READ")
    deployment = Deployment(
        name, "bench", kafka, {}, {}, Provenance("", "", "", "", "", 0, "", "", {}),
        cluster=admin.cluster, topic_ids=admin.topic_ids,
    )  # fmt: skip
    keeper = LocalKeeper(_NoKeeper(), _Nowhere(), OwnOffers(dict))
    log = KafkaTaskLog(settings, "out", deployment)
    archives = Archives(folder / "archives", log.identity, _now_ms)
    owner = OwnerSink(
        log,
        TakeOver(log, archives, settings.policy, PARTITIONS, _now_ms),
        keeper,
        Executors(keeper, _Nowhere(), 60.0),
        settings.policy,
        Destinations((), (), has_results=True),
        "bench",
        "work",
        _now_ms,
        lambda: 1.0,
        Counters(),
    )
    before = _resident()
    started = time.monotonic()
    owner.standing({Partition(settings.inbox, number): 0 for number in range(PARTITIONS)})
    yield "seconds", time.monotonic() - started
    yield "seconds of CPU", time.process_time()
    yield "MB more than before", _resident() - before
    started = time.monotonic()
    owner.close()
    yield "seconds to close", time.monotonic() - started


def _now_ms() -> int:
    return round(time.time() * 1000)


def _resident() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


def taken_over(kafka: Kafka, name: str, folder: Path) -> dict[str, float]:
    """Take over in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.task_journal", kafka.bootstrap, name, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    bootstrap, name, folder = sys.argv[1:]
    found = dict(take_over(bootstrap, name, Path(folder)))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
