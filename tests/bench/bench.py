"""Running scenarios: ours and the loop in turn over the same topic, each output counted."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from kafka_etl.broker import Cluster
from tests.bench.measure import Figures, measure
from tests.bench.scenarios import Scenario
from tests.kit.kafka import Kafka

PARTITIONS = 4
LOOPS = Path(__file__).with_name("loops.py")
Say = Callable[[str], None]


@dataclass
class Result:
    """All rounds of a scenario; `again` is the loop a second time, which shows the noise."""

    scenario: Scenario
    records: int
    ours: list[Figures] = field(default_factory=list[Figures])
    loop: list[Figures] = field(default_factory=list[Figures])
    again: list[Figures] = field(default_factory=list[Figures])


class WrongOutputs(Exception):
    """Something is missing or there twice: its figures mean nothing."""


class Bench:
    """A broker, and the programs that are run against it."""

    def __init__(self, kafka: Kafka, folder: Path, say: Say, core: int | None) -> None:
        self.kafka = kafka
        self.core = core
        self._folder = folder
        self._say = say
        self._probe = Consumer({**kafka.client, "group.id": "probe"})

    def run(self, scenario: Scenario, rounds: int, records: int) -> Result:
        """Every program once a round, in turn, so that all see the same weather."""
        result = Result(scenario, records)
        self._say(f"{scenario.name}: writing {records:,} records")
        source = self.kafka.topic(PARTITIONS)
        self.fill(source, (scenario.make(number) for number in range(records)))
        for number in range(rounds):
            for program in ("loop", "ours", "again"):
                figures = self._once(scenario, program, source, records)
                getattr(result, program).append(figures)
                self._say(
                    f"{scenario.name} {number + 1}/{rounds} {program}: "
                    f"{figures.rate:,.0f} records/s, {figures.cpu:.2f} us a record"
                )
        self.drop([source])
        return result

    def _once(self, scenario: Scenario, program: str, source: str, records: int) -> Figures:
        sinks = [self.kafka.topic(PARTITIONS) for _ in range(scenario.sinks)]
        name = self.kafka.name()
        with tempfile.TemporaryDirectory(dir=self._folder) as made:
            folder = Path(made)
            command = (
                self.ours(scenario, folder, name, source, sinks)
                if program == "ours"
                else self.loop(scenario, name, source, sinks, records)
            )
            expected = records if scenario.dead_letters else self.expected(scenario, records)
            figures = measure(
                command,
                folder=folder,
                done=lambda: sum(map(self.written, sinks)),
                records=records,
                outputs=expected,
                core=self.core,
            )
        self.check(scenario, sinks, records)
        self.drop(sinks)
        return figures

    def ours(
        self,
        scenario: Scenario,
        folder: Path,
        name: str,
        source: str,
        sinks: list[str],
        *arguments: str,
    ) -> list[str]:
        """`kafka-etl run` of the scenario's pipeline, written into `folder`."""
        module = scenario.module().replace("OTHER", sinks[-1])
        (folder / "ops.py").write_text(module)
        spec = scenario.pipeline(name, self.kafka.bootstrap, source, sinks)
        (folder / "pipeline.yaml").write_text(json.dumps(spec))
        return [
            *(sys.executable, "-m", "kafka_etl", "run", "pipeline.yaml"),
            *("--state-dir", "state", "--log-level", "warning"),
            *(arguments or ("--until-end",)),
        ]

    def loop(  # noqa: PLR0917 - the loop's own arguments, in its order
        self,
        scenario: Scenario,
        name: str,
        source: str,
        sinks: list[str],
        records: int,
        wait: float = 0.1,
    ) -> list[str]:
        return [
            *(sys.executable, str(LOOPS), scenario.loop, self.kafka.bootstrap, source, name),
            *(*sinks, str(records), str(scenario.size), str(wait)),
        ]

    @staticmethod
    def expected(scenario: Scenario, records: int) -> int:
        return sum(map(scenario.kept, range(records)))

    def written(self, topic: str) -> int:
        """Records of a topic by now, markers included; 0 while it cannot be said."""
        with suppress(KafkaException):
            return sum(
                self._probe.get_watermark_offsets(TopicPartition(topic, n), timeout=5)[1]
                for n in range(PARTITIONS)
            )
        return 0

    def drop(self, topics: list[str]) -> None:
        for deletion in self.kafka.admin.delete_topics(topics).values():
            with suppress(KafkaException):
                deletion.result(30)

    def fill(self, topic: str, records: Iterable[tuple[bytes, bytes, object]]) -> None:
        producer = Producer({**self.kafka.client, "linger.ms": 20, "batch.size": 1_000_000})
        for key, value, headers in records:
            while True:
                try:
                    producer.produce(topic, value, key, headers=headers or None)
                    break
                except BufferError:
                    producer.flush(1)
        producer.flush(60)

    def check(self, scenario: Scenario, sinks: list[str], records: int) -> None:
        """Each record once where it belongs, as a committed reader sees it."""
        seen = bytearray(records)
        letters = 0
        for topic in sinks:
            for _, value in self.read(topic):
                if scenario.dead_letters and topic == sinks[1]:
                    letters += 1
                else:
                    seen[orjson.loads(value)["id"]] += 1
        wrong = [n for n in range(records) if seen[n] != scenario.kept(n)]
        if wrong:
            raise WrongOutputs(f"{scenario.name}: {len(wrong)} records are lost or doubled")
        bad = records - self.expected(scenario, records) if scenario.dead_letters else 0
        if letters != bad:
            raise WrongOutputs(f"{scenario.name}: {letters} dead letters instead of {bad}")

    def read(self, topic: str) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of each committed record."""
        consumer = Consumer(
            {
                **self.kafka.client,
                "group.id": "counter",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 5,
            }
        )
        consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
        ended = 0
        while ended < PARTITIONS:
            for message in consumer.consume(10_000, 1):
                if message.error():
                    ended += 1
                else:
                    yield message.key() or b"", message.value() or b""
        consumer.close()


@contextmanager
def bench(say: Say, *, pin: bool = True) -> Iterator[Bench]:
    """A broker on the last core and everything measured on the first, where that can be had.

    Not for latency: there broker, writer and reader together want more than one core.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    pinned = pin and len(cores) > 1
    if pinned:
        os.sched_setaffinity(0, cores[1:])  # inherited by the broker
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        say("starting Apache Kafka")
        options = ["-XX:+UseG1GC"]
        with Cluster.start(folder / "kafka", heap="1g", jvm=options) as cluster:
            yield Bench(Kafka(cluster.bootstrap), folder, say, cores[0] if pinned else None)
    if pinned:
        os.sched_setaffinity(0, cores)
