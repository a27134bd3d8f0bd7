"""A million orders into Parquet objects with kills, and objects of the size that is asked for.

    python -m tests.bench.objects [RECORDS]          worker, daemon and server are killed on the way
    python -m tests.bench.objects --large [RECORDS]  a kB that nothing compresses in each record

The loop is that of `kills.py`: every id once, none else. The large objects are of the size that
`roll` has by default; each closed by its size is told, with the memory of the worker.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import obstore
from obstore.store import S3Store

from kafka_etl_connectors.objects.read import committed_objects
from tests.bench.kills import Found, Run, Target, own_kafka, run_with_kills
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.seaweedfs import KEY, SECRET, SeaweedFs

BUCKET = "lake"


class Lake(Target):
    """Parquet objects in SeaweedFS; DuckDB reads those that count."""

    name = "parquet"
    has_server = True
    has_bad_rows = False
    pause = 1.5  # most of the work is in the roll, once a second

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = SeaweedFs(folder / "seaweedfs")

    def start(self) -> None:
        self._server.start()

    def prepare(self) -> None:
        self._server.make_bucket(BUCKET)

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()

    def sink(self) -> dict[str, Any]:
        table = {
            "table": "orders",
            "columns": {"id": "value.id", "amount": "value.amount"},
            "types": {"id": "int64 not null", "amount": "float64"},
            "roll": {"bytes": "256KiB", "every": "1s"},
        }
        return {"use": "parquet", "with": {**self._server.settings(BUCKET), **table}}

    def found(self, run: Run) -> Found:
        settings = self._server.settings(BUCKET)
        url = str(settings.pop("url"))
        store = _store(self._server)
        folder = self.folder / "read"
        folder.mkdir()
        for number, path in enumerate(committed_objects(url, run.name, **settings)):
            content = bytes(obstore.get(store, path.removeprefix(f"{url}/")).bytes())
            (folder / f"{number}.parquet").write_bytes(content)
        orders = duckdb.read_parquet(f"{folder}/*.parquet")
        return Found(orders.project("id, amount").fetchall(), run.letters_in_kafka())


def _store(server: SeaweedFs) -> S3Store:
    return S3Store(
        BUCKET,
        endpoint=server.endpoint,
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
    )


def large(kafka: Kafka, folder: Path, count: int) -> bool:
    """Write objects of the default size; return whether they are that, and hold every id once."""
    server = SeaweedFs(folder / "seaweedfs")
    server.start()
    server.make_bucket(BUCKET)
    topic = kafka.topic(1)
    chance = random.Random(1)
    for begin in range(0, count, 10_000):
        texts = (base64.b85encode(chance.randbytes(800)).decode() for _ in range(10_000))
        values = (json.dumps({"id": begin + n, "text": text}) for n, text in enumerate(texts))
        kafka.produce(topic, [(None, value) for value in values])
    table = {
        "table": "texts",
        "columns": {"id": "value.id", "text": "value.text"},
        "types": {"id": "int64 not null", "text": "text"},
    }
    spec = {
        "name": kafka.name(),
        "kafka": {"bootstrap.servers": kafka.bootstrap},
        "source": {"use": "kafka", "with": {"topics": [topic], "value": "json"}},
        "sink": {"use": "parquet", "with": {**server.settings(BUCKET), **table}},
        "dead_letter": {"topic": f"{topic}.dead"},
    }
    (folder / "large.yaml").write_text(json.dumps(spec))
    began, peak = time.monotonic(), 0.0
    with Daemon(folder, str(folder / "large.yaml"), "--until-end") as daemon:
        while daemon.process.poll() is None:
            peak = max([peak, *map(_peak, daemon.workers())])
            time.sleep(0.2)
        if daemon.process.returncode != 0:
            raise AssertionError(daemon.said()[-3000:])
    took = time.monotonic() - began
    settings = server.settings(BUCKET)
    url = str(settings.pop("url"))
    paths = committed_objects(url, str(spec["name"]), **settings)
    store = _store(server)
    sizes, ids = list[int](), list[int]()
    for path in paths:
        content = bytes(obstore.get(store, path.removeprefix(f"{url}/")).bytes())
        sizes.append(len(content))
        (folder / "one.parquet").write_bytes(content)
        ids += [n for (n,) in duckdb.read_parquet(f"{folder}/one.parquet").project("id").fetchall()]
    server.stop()
    told = ", ".join(f"{size / 2**20:.1f}" for size in sizes)
    sys.stdout.write(f"{count:,} rows in {took:.0f} s; objects of {told} MiB\n")
    sys.stdout.write(f"peak memory of the worker: {peak:.0f} MB\n")
    return sorted(ids) == list(range(count)) and all(100 <= s / 2**20 <= 140 for s in sizes[:-1])


def _peak(pid: int) -> float:
    """Peak of resident memory of a process, in MB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return max((int(s.split()[1]) / 1000 for s in lines if s.startswith("VmHWM")), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?")
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    with own_kafka() as kafka, tempfile.TemporaryDirectory() as folder:
        if given.large:
            sys.exit(not large(kafka, Path(folder), given.records or 500_000))
        sys.exit(not run_with_kills(Lake, kafka, records=given.records or 1_000_000))


if __name__ == "__main__":
    main()
