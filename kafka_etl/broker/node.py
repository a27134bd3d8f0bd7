"""One Kafka node, which is both broker and controller: start, stop, kill, suspend."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafka_etl.broker import process
from kafka_etl.broker.java import Jvm, StartupArchive
from kafka_etl.broker.process import Process
from kafka_etl.broker.properties import Address
from kafka_etl.broker.wire import Login, ask
from kafka_etl.errors import BrokerNotStarted

_START_S: Final = 60.0
_RECORDING_S: Final = 60.0
_FAREWELL_S: Final = 1.0
_ENDED_AS_ASKED: Final = 128 + signal.SIGTERM
_ASK_AGAIN_S: Final = 0.02
_LAST_LINES: Final = 20
_ADDRESS_IN_USE: Final = "Address already in use"


@dataclass(frozen=True, slots=True)
class Launch:
    """The settings that all nodes of a cluster share.

    Attributes:
        cluster_id: Id of the cluster.
        jvm: Java with Kafka's jars.
        archive: Archive of Kafka's classes for a quick start.
        options: JVM options.
        detached: Whether nodes live on when the program that started them ends.
        login: Login of a user who may ask for the cluster's nodes; None: no login is needed.
    """

    cluster_id: str
    jvm: Jvm
    archive: StartupArchive
    options: Sequence[str]
    detached: bool
    login: Login | None


class Node:
    """A node of a `Cluster`, which keeps its ports and its data when the node is restarted.

    Args:
        address: Id and ports of the node.
        folder: Folder of the node, with `server.properties`, the log and the data.
        launch: Settings that all nodes of the cluster share.
    """

    def __init__(self, address: Address, folder: Path, launch: Launch) -> None:
        self.id = address.node_id
        self.port = address.port
        self.folder = folder
        self._launch = launch
        self._process: Process | None = None
        self._guard: Process | None = None
        self._recording = False
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """Process id of the node; None: the node is not running."""
        return self._process.pid if self._process and self._process.running else None

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    @property
    def found_its_port_taken(self) -> bool:
        """Whether the node ended because another program had taken its port."""
        return not self.pid and _ADDRESS_IN_USE in self._log_text()

    def start(self) -> None:
        """Start the node, and wait until the node is registered in its cluster.

        Raises:
            BrokerNotStarted: The node ended, or is not ready after 60 s.
        """
        self.launch()
        try:
            self.wait_until_it_sees({self.id})
        except BaseException:
            self.kill()
            raise

    def launch(self, *, record: bool = False) -> None:
        """Start the node without waiting; `record`: write a class archive for later starts."""
        if self.pid:
            return
        properties = str(self.folder / "server.properties")
        jvm, archive = self._launch.jvm, self._launch.archive
        start_up = archive.use()
        self._recording = record and not start_up
        if self._recording:
            start_up = archive.record()
        command = jvm.command([*self._launch.options, *start_up], "kafka.Kafka", properties)
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._dismiss_guard()
        self._process = process.spawn(command, properties, jvm.environment(), self.log)
        if not self._launch.detached:
            self._guard = process.guard(self._process, properties)

    def wait_until_it_sees(self, node_ids: set[int]) -> None:
        """Wait until these nodes are registered in the cluster, according to this node.

        Raises:
            BrokerNotStarted: The node ended, or does not see these nodes after 60 s.
        """
        deadline = time.monotonic() + _START_S
        while not self._sees(node_ids):
            if not (self._process and self._process.running):
                status = self._process.exit_code if self._process else None
                raise self._not_started(f"ended while starting, with status {status}")
            if time.monotonic() > deadline:
                raise self._not_started(f"was not ready after {_START_S:.0f} s")
            time.sleep(_ASK_AGAIN_S)

    def stop(self, patience_s: float = 20.0) -> None:
        """Send SIGTERM, and SIGKILL if the node has not ended after `patience_s` seconds.

        A node that records a class archive gets 60 s. A node whose data is safe gets one more
        second.
        """
        if self._process:
            patience_s = _RECORDING_S if self._recording else patience_s
            self._process.terminate()
            self._process.wait(patience_s, or_until=self._only_says_farewell)
            if self._only_says_farewell():
                self._process.wait(_FAREWELL_S)
            self._process.kill()
            if self._recording and self._process.exit_code == _ENDED_AS_ASKED:
                self._launch.archive.keep()
        self._dismiss_guard()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end of the node."""
        if self._process:
            self._process.kill()
        self._dismiss_guard()

    def suspend(self) -> None:
        """Send SIGSTOP: the node exists, but does not answer."""
        if self._process:
            self._process.suspend()

    def resume(self) -> None:
        if self._process:
            self._process.signal(signal.SIGCONT)

    def _sees(self, node_ids: set[int]) -> bool:
        try:
            view = ask(self.port, self._launch.login)
        except OSError:
            return False
        return view.cluster_id == self._launch.cluster_id and view.brokers >= node_ids

    def _only_says_farewell(self) -> bool:
        """Whether the data is safe, and the node only waits to leave a quorum, perhaps in vain."""
        return not self._recording and (self.folder / "data" / ".kafka_cleanshutdown").exists()

    def _dismiss_guard(self) -> None:
        if self._guard:
            self._guard.kill()
            self._guard = None

    def _log_text(self) -> str:
        """The log of the node since its last start."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[self._log_start :].decode(errors="replace")

    def _not_started(self, what: str) -> BrokerNotStarted:
        lines = self._log_text().splitlines()[-_LAST_LINES:]
        last = "\n".join(f"    {line}" for line in lines)
        return BrokerNotStarted(f"Kafka node {self.id} {what}; the end of {self.log}:\n{last}")
