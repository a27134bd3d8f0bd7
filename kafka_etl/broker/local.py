"""The broker of `kafka-etl broker start|stop|status`, which outlives the command."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from kafka_etl.broker.cluster import Cluster
from kafka_etl.broker.jars import Progress, kafka_version
from kafka_etl.broker.ports import LOOPBACK, is_free
from kafka_etl.broker.process import Process
from kafka_etl.errors import BrokerNotStarted

USUAL_PORT: Final = 9092
_STATE: Final = "broker.json"
_STOP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """A broker that was started, as the file `broker.json` describes it.

    Attributes:
        pid: Process id of the broker.
        port: Port for clients, on the loopback address.
        version: Version of Kafka.
        log: Path of the log file.
    """

    pid: int
    port: int
    version: str
    log: str

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.port}"


def state_folder() -> Path:
    """The default folder of the broker's data and log."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "kafka-etl" / "broker"


def start(folder: Path | None = None, progress: Progress | None = None) -> LocalBroker:
    """Start the broker, unless the broker is running already.

    The broker gets its last port, or else 9092, or else any free port.

    Args:
        folder: Folder of data and log; default: `state_folder()`.
        progress: Called during the download of missing jars of Kafka.

    Raises: as `Cluster.start`.
    """
    folder = (folder or state_folder()).absolute()
    with _locked(folder):
        if running := status(folder):
            return running
        last = _read(folder)
        preferred = (last.port if last else USUAL_PORT, USUAL_PORT)
        port = next(filter(is_free, preferred), None)
        # Without the options for a quick start, because this broker may run for weeks.
        cluster = Cluster.start(folder, port=port, jvm=(), detached=True, progress=progress)
        (node,) = cluster.nodes
        broker = LocalBroker(node.pid or 0, node.port, kafka_version(), str(node.log))
        _write(folder, broker)
        return broker


def status(folder: Path | None = None) -> LocalBroker | None:
    """The running broker; None: no broker is running."""
    folder = (folder or state_folder()).absolute()
    broker = _read(folder)
    return broker if broker and _process(broker).running else None


def stop(folder: Path | None = None) -> LocalBroker | None:
    """Stop the broker, and keep its data.

    Returns:
        The broker that was stopped; None: no broker was running.
    """
    folder = (folder or state_folder()).absolute()
    with _locked(folder):
        if broker := status(folder):
            process = _process(broker)
            process.terminate()
            process.wait(_STOP_S)
            process.kill()
        return broker


def _process(broker: LocalBroker) -> Process:
    return Process(broker.pid, marker=str(Path(broker.log).with_name("server.properties")))


def _read(folder: Path) -> LocalBroker | None:
    """The broker that was last started in this folder; None: no broker, or a damaged file."""
    try:
        return LocalBroker(**json.loads((folder / _STATE).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):  # no file, or a damaged one
        return None


def _write(folder: Path, broker: LocalBroker) -> None:
    unfinished = folder / f".{_STATE}"
    unfinished.write_text(json.dumps(asdict(broker)), encoding="utf-8")
    unfinished.replace(folder / _STATE)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """Hold the lock of the folder, so that only one `start` or `stop` runs at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise BrokerNotStarted(
            f"{folder} cannot be written: {error.strerror}", "Set XDG_STATE_HOME to one that can."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
