"""A million orders into Parquet objects, while worker, daemon and server are killed.

    python -m tests.bench.objects [RECORDS]

The server is SeaweedFS. DuckDB reads the objects that count: every id once, none else.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import obstore
from obstore.store import S3Store

from kafka_etl.broker import Cluster
from kafka_etl_connectors.objects.read import committed_objects
from tests.bench.postgres import order
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.seaweedfs import KEY, SECRET, SeaweedFs

KILLS = 20
BUCKET = "lake"


def write_pipeline(folder: Path, kafka: Kafka, topic: str, server: SeaweedFs) -> Path:
    file = folder / "pipeline.yaml"
    table = {
        "table": "orders",
        "columns": {"id": "value.id", "amount": "value.amount"},
        "types": {"id": "int64 not null", "amount": "float64"},
        "roll": {"bytes": "256KiB", "every": "5s"},
    }
    spec = {
        "name": "orders-to-lake",
        "kafka": {"bootstrap.servers": kafka.bootstrap},
        "source": {"use": "kafka", "with": {"topics": [topic], "value": "json"}},
        "sink": {"use": "parquet", "with": {**server.settings(BUCKET), **table}},
    }
    file.write_text(json.dumps(spec))
    return file


def kill(file: Path, kafka: Kafka, topic: str, server: SeaweedFs) -> dict[str, int]:
    """Run with kills at random until all records are committed; returns who was killed."""
    chance, killed = random.Random(11), {"worker": 0, "server": 0, "daemon": 0}
    daemon = Daemon(file.parent, str(file))
    while sum(killed.values()) < KILLS:
        time.sleep(chance.uniform(0.3, 1.5))
        victim = chance.choice(["worker", "worker", "server", "daemon"])
        if victim == "worker" and not daemon.workers():
            continue
        killed[victim] += 1
        if victim == "worker":
            os.kill(daemon.workers()[0], signal.SIGKILL)
        elif victim == "server":
            server.kill()
            server.start()
        else:
            daemon.kill()
            daemon = Daemon(file.parent, str(file))
    print(f"killed {killed}")  # noqa: T201
    daemon.stop()
    with Daemon(file.parent, str(file), "--until-end") as last:
        assert last.wait(600) == 0, last.said()
    return killed


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as text, Cluster.start(Path(text) / "kafka") as cluster:
        folder, kafka = Path(text), Kafka(cluster.bootstrap)
        topic = kafka.topic(4)
        for begin in range(0, count, 50_000):
            end = min(count, begin + 50_000)
            kafka.produce(topic, [order(n, bad=False) for n in range(begin, end)])
        server = SeaweedFs(folder / "seaweedfs")
        server.start()
        try:
            server.make_bucket(BUCKET)
            kill(write_pipeline(folder, kafka, topic, server), kafka, topic, server)
            compare(folder, server, count)
        finally:
            server.stop()


def compare(folder: Path, server: SeaweedFs, count: int) -> None:
    """Read the objects that count, and compare them with the input."""
    settings = server.settings(BUCKET)
    url = str(settings.pop("url"))
    paths = committed_objects(url, "orders-to-lake", **settings)
    store = S3Store(
        BUCKET,
        endpoint=server.endpoint,
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True},
    )
    (folder / "read").mkdir()
    sizes: list[int] = []
    for number, path in enumerate(paths):
        content = bytes(obstore.get(store, path.removeprefix(f"{url}/")).bytes())
        (folder / "read" / f"{number}.parquet").write_bytes(content)
        sizes.append(len(content))
    orders = duckdb.read_parquet(f"{folder}/read/*.parquet")
    (found,) = orders.aggregate("count(*), count(DISTINCT id), sum(amount)").fetchall()
    wanted = (count, count, sum(n % 500 + 0.5 for n in range(count)))
    sizes.sort()
    print(f"{len(paths)} objects of {sizes[0]:,} to {sizes[-1]:,} bytes")  # noqa: T201
    print(f"found {found}, wanted {wanted}")  # noqa: T201
    assert found == wanted


if __name__ == "__main__":
    main()
