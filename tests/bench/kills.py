"""Pipelines whose worker, daemon and server are killed again and again, and what arrives.

    python -m tests.bench.kills redis sqlite [--records N] [--kills N] [--seed N]
    python -m tests.bench.kills all

Each kill waits for a worker that has settled records since the kill before, and has more in hand.
At the end every row is counted, every dead letter, and every offset.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import orjson

from kafka_etl.broker import Cluster
from kafka_etl.broker.ports import free_ports
from kafka_etl.runtime.recorder import RecorderFile, Recording
from tests.kit import function_consumer
from tests.kit.daemon import Daemon
from tests.kit.http_target import OK, Reply, Request
from tests.kit.http_target import Target as HttpServer
from tests.kit.kafka import Kafka
from tests.kit.mns import KEY_ID, SECRET, service
from tests.kit.valkey import Valkey

BAD = 10_000
"""One record of so many is bad, where the target can refuse one."""
_BATCHES = 50
"""Batches between two kills."""
_PATIENCE = 120.0
"""Seconds until a pipeline that settles nothing is said to hang."""

Row = tuple[int, float]
"""Id and amount of an order."""


def amount(number: int) -> float:
    return number % 500 + 0.5


def order(number: int, *, bad: bool) -> tuple[str, str]:
    value = {
        "id": number,
        "customer": f"customer {number % 1000}",
        "amount": -1.0 if bad else amount(number),
        "currency": ("EUR", "USD", "GBP")[number % 3],
        "paid": number % 2 == 0,
    }
    return str(number), json.dumps(value)


def is_bad(number: int) -> bool:
    return number % BAD == BAD - 1


@dataclass(frozen=True)
class Run:
    """One pipeline.

    Attributes:
        folder: Of the pipeline file, and of whatever the target needs.
        name: Of the pipeline, and so of its group.
        letters: Topic for dead letters.
    """

    folder: Path
    kafka: Kafka
    name: str
    topic: str
    letters: str

    def letters_in_kafka(self) -> list[int]:
        """Ids of the records in the topic of dead letters."""
        return [int(letter.key or b"") for letter in self.kafka.read(self.letters)]


@dataclass(frozen=True)
class Found:
    """What the target holds at the end.

    Attributes:
        rows: Every row.
        letters: Ids of the records that became dead letters; each time one did.
        offsets: Partition -> next offset in the target; None: the target keeps none.
        names: The id of each row by which a repeat is recognised; None: no row may be repeated.
        wrong: Further faults.
    """

    rows: list[Row]
    letters: list[int]
    offsets: dict[int, int] | None = None
    names: list[str] | None = None
    wrong: list[str] = field(default_factory=list[str])


class Target:
    """A sink, and the server behind it.

    Attributes:
        name: How the sink is called on the command line.
        has_server: Whether there is a server to be killed.
        has_bad_rows: Whether there is a record that the target refuses.
        letters_once: Whether dead letters are committed together with the offsets.
        pause: Most seconds that a kill waits further, once the worker has settled enough.
    """

    name: ClassVar[str]
    has_server: ClassVar[bool] = False
    has_bad_rows: ClassVar[bool] = True
    letters_once: ClassVar[bool] = True
    pause: ClassVar[float] = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """Start the server, or start the server again on the same data."""

    def prepare(self) -> None:
        """Make what the pipeline expects in the target."""

    def kill(self) -> None:
        """As `kill -9`."""

    def stop(self) -> None:
        """End the server."""

    def sink(self) -> dict[str, Any]:
        """The `sink:` block."""
        raise NotImplementedError

    def dead_letter(self, run: Run) -> dict[str, Any] | None:
        """The `dead_letter:` block."""
        return {"topic": run.letters}

    def record(self, number: int) -> Any:
        return order(number, bad=self.has_bad_rows and is_bad(number))

    def found(self, run: Run) -> Found:
        """Read everything back."""
        raise NotImplementedError


# The loop


class Killer:
    """Kills worker, server and daemon of one pipeline; feeds the pipeline meanwhile.

    Attributes:
        killed: Victim -> kills.
        phases: Phase of the worker -> kills in this phase.
        in_hand: Kills while records were in hand, neither committed nor given up.
    """

    def __init__(self, target: Target, run: Run, records: int, kills: int, seed: int) -> None:
        self._target, self._run, self._chance = target, run, random.Random(seed)
        self._kills = kills
        self._slices = [records * at // kills for at in range(kills + 1)]
        self._file = self._write_pipeline(max(1, records // kills // _BATCHES))
        self._daemon = Daemon(run.folder, str(self._file))
        self.killed: Counter[str] = Counter()
        self.phases: Counter[str] = Counter()
        self.in_hand = 0

    def run(self) -> None:
        """Kill, and then let the pipeline come to its end."""
        try:
            pid, settled = 0, 0.0
            for begin, end in zip(self._slices, self._slices[1:], strict=False):
                self._feed(begin, end)
                enough = self._chance.uniform(0, 0.7) * (end - begin)
                worker = self._working(pid, settled, enough)
                time.sleep(self._chance.uniform(0, self._target.pause))
                pid, settled = self._kill(worker)
            assert self._daemon.stop() == 0, self._said()
        except BaseException:
            self._daemon.kill()
            raise
        with Daemon(self._run.folder, str(self._file), "--until-end") as last:
            assert last.wait(600) == 0, last.said()[-5000:]

    def _feed(self, begin: int, end: int) -> None:
        records = map(self._target.record, range(begin, end))
        self._run.kafka.produce(self._run.topic, records)

    def _working(self, before: int, settled: float, enough: float) -> int:
        """The worker, once it has settled enough records since the last kill.

        Args:
            before: The worker at the last kill; negative: that one was killed.
            settled: Records that it had settled by then.
            enough: Records.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            stands = self._recorded()
            now = stands.counters.get(("records_in", ""), 0.0)
            since = now - settled if stands.pid == before else now
            if stands.pid != -before and since > enough and stands.pid in self._daemon.workers():
                return stands.pid
            time.sleep(0.001)
        raise AssertionError(f"nothing is settled any more: {self._said()}")

    def _kill(self, worker: int) -> tuple[int, float]:
        """Kill one of them; see `_working` for what is returned."""
        victims = ["worker", "worker", "daemon", *(["server"] if self._target.has_server else [])]
        victim = self._chance.choice(victims)
        if victim == "server":
            self._target.kill()
        elif victim == "worker":
            os.kill(worker, signal.SIGKILL)
        else:
            self._daemon.kill()
        stood = self._recorded()
        self.killed[victim] += 1
        self.phases[stood.phase] += 1
        self.in_hand += bool(stood.ranges)
        if victim == "server":
            time.sleep(self._chance.uniform(0, 1))
            self._target.start()
            return worker, stood.counters.get(("records_in", ""), 0.0)
        if victim == "daemon":
            self._daemon = Daemon(self._run.folder, str(self._file))
        return -worker, 0.0

    def _recorded(self) -> Recording:
        """What the worker does, and has settled since its start."""
        files = (self._run.folder / "state").glob(f"*/{self._run.name}.0.recorder")
        return RecorderFile(next(files, Path("none yet"))).read()

    def _write_pipeline(self, batch: int) -> Path:
        target, run = self._target, self._run
        source = {"topics": [run.topic], "value": "json", "batch": {"max_records": batch}}
        spec: dict[str, Any] = {
            "name": run.name,
            "kafka": {"bootstrap.servers": run.kafka.bootstrap},
            "source": {"use": "kafka", "with": source},
            "sink": target.sink(),
        }
        if (letters := target.dead_letter(run)) is not None:
            spec["dead_letter"] = letters
        file = run.folder / "pipeline.yaml"
        file.write_text(json.dumps(spec, indent=2))  # JSON is YAML
        return file

    def _said(self) -> str:
        return f"{self._daemon.log}\n{self._daemon.said()[-5000:]}"


def faults(target: Target, run: Run, found: Found, count: int) -> list[str]:
    """What is wrong with what arrived."""
    bad = {n for n in range(count) if target.has_bad_rows and is_bad(n)}
    wanted = {(n, amount(n)) for n in range(count)} - {(n, amount(n)) for n in bad}
    rows, letters = Counter(found.rows), Counter(found.letters)
    said = [
        *_differences("rows", rows.keys(), wanted),
        *_differences("dead letters", letters.keys(), bad),
        *found.wrong,
    ]
    if found.names is None:
        said += _repeats("rows", rows)
    elif (
        not len(rows)
        == len(set(found.names))
        == len(set(zip(found.names, found.rows, strict=True)))
    ):
        said.append("ids do not tell the rows from each other")
    if target.letters_once:
        said += _repeats("dead letters", letters)
    ends = run.kafka.ends(run.topic)
    group = run.kafka.committed(run.name, run.topic)
    if group != ends:
        said.append(f"the group stands at {group}, the topic ends at {ends}")
    if found.offsets is not None and found.offsets != ends:
        said.append(f"the target stands at {found.offsets}, the topic ends at {ends}")
    return said


def _differences(what: str, found: Iterable[Any], wanted: set[Any]) -> Iterator[str]:
    have = set(found)
    for word, some in (("lost", wanted - have), ("never sent", have - wanted)):
        if some:
            yield f"{len(some):,} {what} {word}, as {sorted(some)[:3]}"


def _repeats(what: str, found: Counter[Any]) -> list[str]:
    repeated = sorted(one for one, times in found.items() if times > 1)
    return [f"{len(repeated):,} {what} doubled, as {repeated[:3]}"] if repeated else []


def run_with_kills(
    kind: type[Target], kafka: Kafka, *, records: int, kills: int = 20, seed: int = 11
) -> bool:
    """Run one pipeline, and print one line; the folder is kept if something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix=f"kafka-etl-kills-{kind.name}-"))
    started, target = time.monotonic(), kind(folder)
    run = Run(folder, kafka, f"kills-{kind.name}", kafka.topic(4), kafka.topic(1))
    try:
        target.start()
        target.prepare()
        killer = Killer(target, run, records, kills, seed)
        killer.run()
        found = target.found(run)
    finally:
        target.stop()
    said = faults(target, run, found, records)
    print(_report(kind.name, killer, found, time.monotonic() - started), flush=True)  # noqa: T201
    if said:
        print(f"  WRONG: {'; '.join(said)}\n  see {folder}", flush=True)  # noqa: T201
    else:
        shutil.rmtree(folder)
    return not said


def _report(name: str, killer: Killer, found: Found, seconds: float) -> str:
    def listed(counts: Counter[str]) -> str:
        return ", ".join(f"{what} {times}" for what, times in counts.most_common())

    rows, letters = len(set(found.rows)), len(set(found.letters))
    return (
        f"{name}: {seconds:.0f} s; killed {listed(killer.killed)}, {killer.in_hand} with records "
        f"in hand ({listed(killer.phases)}); {rows:,} rows, {len(found.rows) - rows:,} repeated; "
        f"{letters:,} dead letters, {len(found.letters) - letters:,} repeated"
    )


# The targets


class RedisList(Target):
    """Elements of a list in Valkey; a tombstone can be none."""

    name = "redis"
    has_server = True
    letters_once = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        data = folder / "valkey"
        data.mkdir()
        self._server = Valkey(data)

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()

    def sink(self) -> dict[str, Any]:
        return {"use": "redis", "with": {**self._server.address, "into": "list", "name": "orders"}}

    def record(self, number: int) -> Any:
        return _order_or_tombstone(number)

    def found(self, run: Run) -> Found:
        client = self._server.client()
        stands = client.hgetall(f"kafka-etl:{{orders}}:{run.name}")
        offsets = {
            int(place.rpartition(b"/")[2]): int(at.split(b":")[0]) for place, at in stands.items()
        }
        return Found(_rows(client.lrange("orders", 0, -1)), run.letters_in_kafka(), offsets)


class Files(Target):
    """Lines in files; a tombstone can be none."""

    name = "files"
    letters_once = False

    def prepare(self) -> None:
        (self.folder / "lines").mkdir()

    def sink(self) -> dict[str, Any]:
        return {"use": "files", "with": {"folder": "lines"}}

    def record(self, number: int) -> Any:
        return _order_or_tombstone(number)

    def found(self, run: Run) -> Found:
        folder = self.folder / "lines"
        rows: list[Row] = []
        offsets: dict[int, int] = {}
        wrong: list[str] = []
        for number in run.kafka.ends(run.topic):
            file = f"{run.topic}-{number}"
            content = (folder / f"{file}.jsonl").read_bytes()
            stands = json.loads((folder / f".kafka-etl/{run.name}/{file}.json").read_bytes())
            offsets[number] = stands["next"]
            if stands["length"] != len(content):
                wrong.append(f"{file} has {len(content):,} bytes, {stands['length']:,} committed")
            rows += _rows(content.splitlines())
        return Found(rows, run.letters_in_kafka(), offsets, wrong=wrong)


class DatabaseFile(Target):
    """A table in a file, without a key: a row that came twice would stand there twice."""

    connect: ClassVar[Callable[[Path], Any]]

    def prepare(self) -> None:
        self._execute(
            "CREATE TABLE orders (id BIGINT, customer VARCHAR, amount DOUBLE CHECK (amount >= 0), "
            "currency VARCHAR, paid BOOLEAN)"
        )

    def sink(self) -> dict[str, Any]:
        return {"use": self.name, "with": {"path": "shop.db", "table": "orders"}}

    def dead_letter(self, run: Run) -> dict[str, Any] | None:
        return {"table": "orders_dead"}

    def found(self, run: Run) -> Found:
        rows = self._execute("SELECT id, amount FROM orders")
        letters = self._execute("SELECT letter FROM orders_dead")
        offsets = dict(self._execute("SELECT part, next FROM kafka_etl_offsets"))
        return Found(rows, letter_ids(text for (text,) in letters), offsets)

    def _execute(self, text: str) -> list[Any]:
        connection = type(self).connect(self.folder / "shop.db")
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()


class Sqlite(DatabaseFile):
    name = "sqlite"
    connect = sqlite3.connect


class DuckDb(DatabaseFile):
    name = "duckdb"
    connect = duckdb.connect


class Mns(Target):
    """A queue of the stand-in; a killed service answers nobody, and knows what it took before."""

    name = "mns"
    has_server = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._running = service()
        self._service = self._running.__enter__()
        self._service.refused = _refused_by_mns

    def start(self) -> None:
        self._service.away = False

    def kill(self) -> None:
        self._service.away = True

    def stop(self) -> None:
        self._running.__exit__(None, None, None)

    def sink(self) -> dict[str, Any]:
        key = {"access_key_id": KEY_ID, "access_key_secret": SECRET}
        place = {"endpoint": self._service.url, "queue": "orders", "format": "envelope"}
        return {"use": "mns", "with": {**key, **place}}

    def found(self, run: Run) -> Found:
        messages = [function_consumer.read(body) for body in self._service.decoded()]
        rows = _rows(message.response for message in messages)
        names = [message.request_id for message in messages]
        return Found(rows, run.letters_in_kafka(), names=names)


class Http(Target):
    """An HTTP server that remembers idempotency keys; a killed one cuts all connections."""

    name = "http"
    has_server = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = HttpServer(free_ports(1)[0], None)
        self._server.behaviour = _answer_of_http

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.stop()

    def stop(self) -> None:
        self._server.stop()

    def sink(self) -> dict[str, Any]:
        return {"use": "http", "with": {"url": f"{self._server.url}/in", "idempotent": True}}

    def found(self, run: Run) -> Found:
        taken = self._server.taken
        rows = _rows(request.body for request in taken)
        names = [request.headers["idempotency-key"] for request in taken]
        return Found(rows, run.letters_in_kafka(), names=names)


def letter_ids(letters: Iterable[Any]) -> list[int]:
    """Ids of the records of dead letters in a table."""
    read = (function_consumer.read(letter) for letter in letters)
    return [int(letter.elements[0].key or "") for letter in read]


def _order_or_tombstone(number: int) -> Any:
    key, value = order(number, bad=False)
    return {"key": key, "value": None if is_bad(number) else value}


def _rows(values: Iterable[Any]) -> list[Row]:
    decoded = map(orjson.loads, values)
    return [(value["id"], value["amount"]) for value in decoded]


def _refused_by_mns(body: str) -> str | None:
    value = orjson.loads(function_consumer.read(b64decode(body)).response)
    return "InvalidArgument" if value["amount"] < 0 else None


def _answer_of_http(request: Request) -> Reply:
    return Reply(422) if orjson.loads(request.body)["amount"] < 0 else OK


TARGETS: dict[str, type[Target]] = {
    kind.name: kind for kind in (RedisList, Files, Sqlite, DuckDb, Mns, Http)
}


@contextmanager
def own_kafka() -> Iterator[Kafka]:
    with tempfile.TemporaryDirectory() as folder, Cluster.start(Path(folder)) as cluster:
        yield Kafka(cluster.bootstrap)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills")
    parser.add_argument("sinks", nargs="+", choices=[*TARGETS, "all"])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=11)
    given = parser.parse_args()
    names = list(TARGETS) if "all" in given.sinks else given.sinks
    with own_kafka() as kafka:
        right = [
            run_with_kills(
                TARGETS[name], kafka, records=given.records, kills=given.kills, seed=given.seed
            )
            for name in names
        ]
    sys.exit(not all(right))


if __name__ == "__main__":
    main()
