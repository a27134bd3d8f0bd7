"""A broker, the programs that are run against it, and what their outputs must be."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from kafka_etl.broker import Cluster
from tests.bench.loops import ALLOCATOR, SCHEMAS, UNTUNED
from tests.bench.scenarios import HEADS, Made, Scenario
from tests.kit.kafka import Kafka
from tests.kit.registry import register, stand_in

PARTITIONS = 4
LOOPS = Path(__file__).with_name("loops.py")
FOR_EVER = 2**40
FILLING = {"linger.ms": 20, "batch.size": 1_000_000}
Say = Callable[[str], None]
Once = TypeVar("Once")


@dataclass
class Result:
    """All rounds of a scenario.

    Attributes:
        rounds: Program -> its figures, one of each round.
        more: What else a reader of the figures wants to know.
    """

    scenario: str
    about: str
    records: int
    rounds: Mapping[str, list[Any]]
    more: dict[str, Any] = field(default_factory=dict[str, Any])


class WrongOutputs(Exception):
    """Something is missing, there twice or out of order: its figures mean nothing."""


class Bench:
    """A broker, and the programs that are run against it."""

    def __init__(
        self, kafka: Kafka, folder: Path, say: Say, core: int | None, registry: str
    ) -> None:
        self.kafka = kafka
        self._registry = registry
        self.core = core
        self.say = say
        self._folder = folder
        self._probe = Consumer({**kafka.client, "group.id": "probe"})
        self._partitions: dict[str, int] = {}

    def in_turn(
        self, name: str, rounds: int, programs: Mapping[str, Callable[[], Once]]
    ) -> dict[str, list[Once]]:
        """Every program once a round, so that all see the same weather."""
        figures: dict[str, list[Once]] = {program: [] for program in programs}
        for number in range(rounds):
            for program, once in programs.items():
                figures[program].append(once())
                self.say(f"{name} {number + 1}/{rounds} {program}: {figures[program][-1]}")
        return figures

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """For one program; removed after it."""
        with tempfile.TemporaryDirectory(dir=self._folder) as made:
            yield Path(made)

    @contextmanager
    def topics(self, count: int, partitions: int = PARTITIONS) -> Iterator[list[str]]:
        """New ones, deleted after use."""
        made = [self.kafka.topic(partitions) for _ in range(count)]
        self._partitions.update(dict.fromkeys(made, partitions))
        yield made
        for deletion in self.kafka.admin.delete_topics(made).values():
            with suppress(KafkaException):
                deletion.result(30)

    @contextmanager
    def filled(self, scenario: Scenario, records: int) -> Iterator[str]:
        """A topic of a scenario's inputs."""
        with self.topics(1) as (topic,):
            self.say(f"{scenario.name}: writing {records:,} records")
            self.fill(topic, map(scenario.make, range(records)))
            yield topic

    def ours(
        self,
        scenario: Scenario,
        folder: Path,
        name: str,
        source: str,
        sinks: list[str],
        *arguments: str,
        **more: Any,
    ) -> list[str]:
        """`kafka-etl run` of the scenario's pipeline, written into `folder`."""
        module = scenario.module().replace("OTHER", sinks[-1])
        (folder / "ops.py").write_text(module)
        if scenario.schema is not None:
            more["registry"] = {"url": self._registry}
        spec = scenario.pipeline(name, self.kafka.bootstrap, source, sinks, **more)
        (folder / "pipeline.yaml").write_text(json.dumps(spec))
        return [
            *(sys.executable, "-m", "kafka_etl", "run", "pipeline.yaml"),
            *("--state-dir", "state", "--log-level", "warning"),
            *(arguments or ("--until-end",)),
        ]

    def loop(  # noqa: PLR0917 - the loop's own arguments, in its order
        self,
        loop: str,
        name: str,
        source: str,
        sinks: list[str],
        records: int = FOR_EVER,
        size: int = 10_000,
        wait: float = 0.1,
    ) -> list[str]:
        settings = {} if loop.startswith(UNTUNED) else ALLOCATOR
        return [
            *("env", *(f"{key}={value}" for key, value in settings.items())),
            *(sys.executable, str(LOOPS), loop, self.kafka.bootstrap, source, name),
            *(*sinks, str(records), str(size), str(wait)),
        ]

    def written(self, *topics: str) -> int:
        """Committed records by now, markers included; a topic that cannot be asked counts 0."""
        total = 0
        for topic in topics:
            with suppress(KafkaException):
                total += sum(
                    self._probe.get_watermark_offsets(TopicPartition(topic, n), timeout=5)[1]
                    for n in range(self._partitions[topic])
                )
        return total

    def taken(self, group: str, topic: str) -> int:
        """Inputs whose offsets are committed."""
        return sum(max(offset, 0) for offset in self.kafka.committed(group, topic).values())

    def fill(self, topic: str, records: Iterable[Made]) -> None:
        """In order, whatever happens on the way."""
        write(
            Producer({**self.kafka.client, **FILLING, "enable.idempotence": True}), topic, records
        )

    @contextmanager
    def hidden(self, topic: str, records: Iterable[Made]) -> Iterator[Callable[[], None]]:
        """Fill a topic with what nobody can read yet; the function lets it be read at once."""
        settings = {"transactional.id": topic, "transaction.timeout.ms": 600_000}
        producer = Producer({**self.kafka.client, **FILLING, **settings})
        producer.init_transactions()
        producer.begin_transaction()
        write(producer, topic, records)
        yield producer.commit_transaction

    def check(self, scenario: Scenario, sinks: list[str], records: int) -> None:
        """Each record once where it belongs and in order, as a committed reader sees it."""
        seen = bytearray(records)
        letters = 0
        for topic in sinks:
            last: dict[bytes, int] = {}
            for key, value in self.read(topic):
                if scenario.dead_letters and topic == sinks[1]:
                    letters += 1
                    continue
                number = scenario.number(value)
                seen[number] += 1
                if last.get(key, -1) > number:
                    raise WrongOutputs(f"{scenario.name}: {number} comes after {last[key]}")
                last[key] = number
        wrong = [n for n in range(records) if seen[n] != scenario.kept(n)]
        if wrong:
            raise WrongOutputs(f"{scenario.name}: {len(wrong)} records are lost or doubled")
        bad = records - scenario.outputs(records) if scenario.dead_letters else 0
        if letters != bad:
            raise WrongOutputs(f"{scenario.name}: {letters} dead letters instead of {bad}")

    def read(self, topic: str) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of each committed record."""
        consumer = self.reader(topic, **{"enable.partition.eof": True})
        ended = 0
        while ended < self._partitions[topic]:
            for message in consumer.consume(10_000, 1):
                if message.error():
                    ended += 1
                else:
                    yield message.key() or b"", message.value() or b""
        consumer.close()

    def reader(self, topic: str, **settings: Any) -> Consumer:
        """A read_committed consumer of a whole topic."""
        consumer = Consumer(
            {
                **self.kafka.client,
                "group.id": "reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 5,
                **settings,
            }
        )
        consumer.assign([TopicPartition(topic, n, 0) for n in range(self._partitions[topic])])
        return consumer


def write(producer: Producer, topic: str, records: Iterable[Made]) -> None:
    for key, value, headers in records:
        while True:
            try:
                producer.produce(topic, value, key, headers=headers or None)
                break
            except BufferError:
                producer.flush(1)
    producer.flush(60)


def registry_head(schema_id: int) -> bytes:
    """What values with this schema begin with."""
    return b"\0" + schema_id.to_bytes(4)


@contextmanager
def bench(say: Say, *, pin: bool = True) -> Iterator[Bench]:
    """A broker on the last core and everything measured on the first, where that can be had."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    pinned = pin and len(cores) > 1
    if pinned:
        os.sched_setaffinity(0, cores[1:])  # inherited by the broker
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        say("starting Apache Kafka")
        options = ["-XX:+UseG1GC"]
        with (
            Cluster.start(folder / "kafka", heap="1g", jvm=options) as cluster,
            stand_in() as registry,
        ):
            for name, schema in SCHEMAS.items():
                if HEADS[name] != registry_head(register(registry.url, name, schema)):
                    raise WrongOutputs(f"the schema `{name}` has another id than its records")
            core = cores[0] if pinned else None
            yield Bench(Kafka(cluster.bootstrap), folder, say, core, registry.url)
    if pinned:
        os.sched_setaffinity(0, cores)
