"""What the daemon's loop costs for many workers: `python -m tests.bench.daemon_loop 64`.

The workers are forks that only send snapshots, as often as real ones do. The daemon is the real
one, with recorders to look at. Printed is the processor time of its process alone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

from kafka_etl.config.build import read_spec
from kafka_etl.config.load import load
from kafka_etl.log import get_logger
from kafka_etl.metrics import METRICS
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.daemon.daemon import Daemon, DaemonOptions
from kafka_etl.runtime.daemon.slot import Watch, WorkerSlot
from kafka_etl.runtime.daemon.version import RunOptions
from kafka_etl.runtime.mailbox import Mailbox
from kafka_etl.runtime.messages import LogSettings, Snapshot, Standing
from kafka_etl.runtime.recorder import Recorder
from kafka_etl.runtime.worker.worker import _TELL_EVERY

_SECONDS = 10.0
_COUNTERS = {(metric.name, metric.label): 1e6 for metric in METRICS} | {
    ("phase_seconds", str(n)): 1.5 for n in range(10)
}
_PIPELINE = """
name: bench
kafka: {bootstrap.servers: "localhost:9"}
source: {use: kafka, with: {topics: [a]}}
operators: []
sink: {use: kafka, with: {topic: b}}
dead_letter: {topic: c}
"""


class FakeChild:
    """A fork of this process that sends snapshots until it is killed."""

    def __init__(self, recorder: Path) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _speak(Connection(theirs.detach()), Recorder(recorder))
        theirs.close()
        self.mailbox = Mailbox(ours)
        self.received = self.mailbox.received

    @property
    def has_hung_up(self) -> bool:
        return self.mailbox.is_closed

    @property
    def is_garbled(self) -> bool:
        return self.mailbox.is_broken

    def send(self, value: object) -> None: ...

    def exit_status(self) -> int | None:
        done = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if done is None else 0

    def signal(self, _number: signal.Signals) -> None:
        os.kill(self.pid, signal.SIGKILL)

    kill = end = lambda self: os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.mailbox.close()


def _speak(connection: Connection[Any, Any], recorder: Recorder) -> None:
    while True:
        recorder.phase("idle")
        standing = Standing(partitions=100, lag=5, settled_to_ms=1)
        connection.send(Snapshot("running", 0, _COUNTERS, standing, joined=True))
        time.sleep(_TELL_EVERY)


def measure(workers: int, seconds: float = _SECONDS) -> float:
    """Processor time of the daemon, in percent of a core."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench.yaml").write_text(_PIPELINE)
        (document,) = load([folder / "bench.yaml"], env={}, overrides={}).documents
        spec = read_spec(document)
        assert not isinstance(spec, list), spec
        run = RunOptions(until_end=False, workers=workers, logs=LogSettings({}))
        options = DaemonOptions(
            run=run,
            state_folder=folder / "state",
            instance="bench",
            reload=lambda _: (document, spec),
            reload_all=lambda: ([], {}),
            look=lambda _: None,
        )
        daemon: Any = Daemon([(document, spec)], options)
        managed = daemon._pipelines["bench"]
        managed._slots = [_slot(folder / f"{n}.recorder") for n in range(workers)]
        signal.signal(signal.SIGALRM, lambda *_: managed.drain())
        signal.setitimer(signal.ITIMER_REAL, seconds)
        began = time.process_time()
        daemon.run()
        return (time.process_time() - began) / seconds * 100


def _slot(recorder: Path) -> WorkerSlot:
    task: Any = None
    child = cast("Child", FakeChild(recorder))
    return WorkerSlot(lambda _: task, recorder, Watch([]), child, get_logger("daemon"))


if __name__ == "__main__":
    for count in map(int, sys.argv[1:] or ["1", "64", "256"]):
        sys.stdout.write(f"{count} workers: {measure(count):.2f} % of a core\n")
