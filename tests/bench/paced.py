"""Latency: how long a record is on its way when they come at a steady rate.

From just before it is produced until a read_committed reader has it, on one machine and one clock.
"""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.bench import PARTITIONS, Bench, WrongOutputs
from tests.bench.measure import cpu_seconds, start
from tests.bench.scenarios import BY_NAME

TICK = 0.005
WARM_UP = 3.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds, and CPU microseconds a record."""

    p50: float
    p99: float
    p999: float
    cpu: float


def ours(bench: Bench, rate: int, seconds: float, max_wait: str | None = None) -> Latency:
    """The pipeline of `json`, as a daemon."""
    batch = {} if max_wait is None else {"batch": {"max_wait": max_wait}}
    scenario = BY_NAME["json"]
    scenario = replace(scenario, source={**scenario.source, **batch})
    return _paced(
        bench,
        rate,
        seconds,
        lambda folder, name, source, sink: bench.ours(
            scenario, folder, name, source, [sink], "--http", "off"
        ),
    )


def loop(bench: Bench, rate: int, seconds: float, wait: float) -> Latency:
    """The loop of `json`, which waits so many seconds for its batch."""
    return _paced(
        bench,
        rate,
        seconds,
        lambda _folder, name, source, sink: bench.loop(
            BY_NAME["json"], name, source, [sink], 2**40, wait
        ),
    )


def _paced(
    bench: Bench, rate: int, seconds: float, command: Callable[[Path, str, str, str], list[str]]
) -> Latency:
    source, sink = bench.kafka.topic(PARTITIONS), bench.kafka.topic(PARTITIONS)
    reader = _Reader(bench.kafka.client, sink)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        program = command(folder, bench.kafka.name(), source, sink)
        process = start(program, folder, folder / "said.log", bench.core)
        try:
            _Writer(bench.kafka.client, source, rate).run(WARM_UP * 2)  # until it has joined
            reader.wait_until_read(1)
            writer = _Writer(bench.kafka.client, source, rate)
            before = cpu_seconds(process.pid)
            writer.run(WARM_UP + seconds)
            spent = cpu_seconds(process.pid) - before
            reader.wait_until_read(int(rate * (WARM_UP * 3 + seconds) * 0.99))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            reader.close()
    bench.drop([source, sink])
    times = sorted(ms for sent, ms in reader.read if sent > writer.began + WARM_UP)
    if not times:
        raise WrongOutputs("nothing came out")
    return Latency(
        *(times[int(len(times) * share)] for share in (0.5, 0.99, 0.999)),
        cpu=spent / (rate * (WARM_UP + seconds)) * 1e6,
    )


class _Writer:
    """Produces at a steady rate, a few records each tick."""

    def __init__(self, client: dict[str, object], topic: str, rate: int) -> None:
        self._producer = Producer({**client, "linger.ms": 2})
        self._topic = topic
        self._rate = rate
        self.began = time.time()

    def run(self, seconds: float) -> None:
        self.began = time.time()
        number = 0
        while (passed := time.time() - self.began) < seconds:
            while number < passed * self._rate:
                value = {"id": number, "amount": 1.0, "at": time.time(), "pad": "x" * 56}
                self._producer.produce(self._topic, orjson.dumps(value), b"k%d" % (number % 500))
                number += 1
            self._producer.poll(TICK)
        self._producer.flush(10)


class _Reader:
    """Reads in a thread of its own; `read` has (sent at, milliseconds)."""

    def __init__(self, client: dict[str, object], topic: str) -> None:
        self.read: list[tuple[float, float]] = []
        self._consumer = Consumer(
            {**client, "group.id": "reader", "isolation.level": "read_committed"}
        )
        self._consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
        self._over = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_until_read(self, count: int, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while len(self.read) < count:
            if time.monotonic() > deadline:
                raise WrongOutputs(f"{len(self.read)} of {count} came out")
            time.sleep(0.05)

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._over:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                sent = orjson.loads(message.value() or b"")["at"]
                self.read.append((sent, (time.time() - sent) * 1000))
