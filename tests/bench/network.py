"""`python -m tests.bench.network`: what a far network costs, and how often producers are renewed.

A pipeline of batches of 1,000 records runs to its end, with every request and every answer of the
brokers under way for some milliseconds (`tests.kit.proxy`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.kit.daemon import run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders
from tests.kit.proxy import END_TXN, INIT_PRODUCER_ID, Proxy, far_cluster

_PATIENCE = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.network", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--delays", type=int, nargs="*", default=[0, 5, 40, 150], metavar="MS")
    options = parser.parse_args()
    sys.stdout.write("delay each way, ms | seconds | transactions | renewals\n")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.records, options.delays)


def measure(folder: Path, records: int, delays: Sequence[int]) -> None:
    """Run the pipeline once for each delay, and check what it wrote."""
    with far_cluster(folder / "cluster") as (cluster, proxy):
        for number, delay in enumerate(delays):
            home = folder / f"{number}-{delay}"
            home.mkdir()
            project = _project(home, Kafka(cluster.bootstrap), proxy)
            # A broker that has never seen a transaction has producers ask more than once.
            project.kafka.produce_transactions(project.source, [([], False)])
            project.produce(orders(records))
            proxy.delay = delay / 1000
            proxy.counts.clear()
            started = time.monotonic()
            done = run_to_end(home, str(project.file), seconds=_PATIENCE)
            seconds = time.monotonic() - started
            ended, opened = proxy.counts[END_TXN], proxy.counts[INIT_PRODUCER_ID]
            if done.process.returncode or len(project.outputs()) != records:
                raise SystemExit(done.said()[-5000:])
            sys.stdout.write(f"{delay} | {seconds:.1f} | {ended} | {opened - 1}\n")
            sys.stdout.flush()


def _project(home: Path, near: Kafka, proxy: Proxy) -> Project:
    project = Project(home, near, partitions=4, source={"batch": {"max_records": 1000}})
    project.spec["kafka"] = {"bootstrap.servers": f"127.0.0.1:{proxy.port}"}
    project.write()
    return project


if __name__ == "__main__":
    main()
