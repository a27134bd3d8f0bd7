"""A million orders into Parquet objects, while worker, daemon and server are killed.

    python -m tests.bench.objects [RECORDS]

The loop is that of `kills.py`: every id once, none else.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb
import obstore
from obstore.store import S3Store

from kafka_etl_connectors.objects.read import committed_objects
from tests.bench.kills import Found, Run, Target, own_kafka, run_with_kills
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
        store = S3Store(
            BUCKET,
            endpoint=self._server.endpoint,
            region="us-east-1",
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )
        folder = self.folder / "read"
        folder.mkdir()
        for number, path in enumerate(committed_objects(url, run.name, **settings)):
            content = bytes(obstore.get(store, path.removeprefix(f"{url}/")).bytes())
            (folder / f"{number}.parquet").write_bytes(content)
        orders = duckdb.read_parquet(f"{folder}/*.parquet")
        return Found(orders.project("id, amount").fetchall(), run.letters_in_kafka())


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with own_kafka() as kafka:
        sys.exit(not run_with_kills(Lake, kafka, records=count))


if __name__ == "__main__":
    main()
