"""A private Kafka cluster: real brokers on this machine, with all their files in one folder."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from kafka_etl.broker.jars import Progress, classpath
from kafka_etl.broker.java import QUICK, Jvm, StartupArchive, find_java
from kafka_etl.broker.node import Launch, Node
from kafka_etl.broker.ports import LOOPBACK, free_ports
from kafka_etl.broker.properties import ADMIN, Address, Security, server_properties
from kafka_etl.broker.storage import cluster_id_in, format_data, new_id
from kafka_etl.errors import BrokerNotStarted

_PORT_TRIES: Final = 3
_STOP_S: Final = 20.0
_STOP_TOGETHER_S: Final = 3.0


class Cluster:
    """One or more nodes, each of them broker and controller.

    Attributes:
        nodes: The nodes in the order of their ids, which count from 1.

    Args:
        nodes: The nodes in the order of their ids.
        security: Users and rights; None: clients need no login.
    """

    def __init__(self, nodes: Sequence[Node], security: Security | None) -> None:
        self.nodes = list(nodes)
        self._security = security

    @classmethod
    def start(  # noqa: PLR0913 - tests set each parameter alone
        cls,
        folder: Path,
        nodes: int = 1,
        *,
        settings: Mapping[str, str] | None = None,
        heap: str = "512m",
        jvm: Sequence[str] = QUICK,
        port: int | None = None,
        sasl_users: Mapping[str, str] | None = None,
        acls: bool = False,
        detached: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Start a cluster and wait until each node sees all nodes.

        Args:
            folder: Folder of settings, logs and data; data of an earlier cluster is used again.
            nodes: Number of nodes.
            settings: Broker settings that complete or replace the default settings.
            heap: Largest heap of each node, as Java's `-Xmx` takes it.
            jvm: Further JVM options; with the default a node starts quickly, but never reaches
                Java's full speed.
            port: Port of the first node; default: a free port. The other nodes get free ports.
            sasl_users: User -> password. Clients must log in (SASL_PLAINTEXT, PLAIN) if this or
                `acls` is given.
            acls: Whether users other than `admin` need rights.
            detached: Whether the nodes live on when this program ends.
            progress: Called during the download of missing jars of Kafka.

        Raises:
            BrokerNotStarted: A node did not start, or `folder` cannot be used.
            DownloadFailed: Jars of Kafka could not be downloaded.
            ExtraMissing: The extra `broker` is not installed.
        """
        if "," in str(folder):
            raise BrokerNotStarted(f"Kafka would take the comma in {folder} for two folders")
        folder = folder.absolute()
        security = _security(sasl_users, acls=acls)
        java = Jvm(find_java(), classpath(progress))
        launch = Launch(
            cluster_id=cluster_id_in(_data(folder, 1)) or new_id(),
            jvm=java,
            archive=StartupArchive(java),
            options=(f"-Xmx{heap}", *jvm),
            detached=detached,
            login=security.admin if security else None,
        )
        for tries_left in reversed(range(_PORT_TRIES)):
            addresses = _addresses(nodes, port)
            _write(folder, addresses, launch, security, settings or {})
            cluster = cls([Node(a, _home(folder, a.node_id), launch) for a in addresses], security)
            try:
                cluster._bring_up(record=not detached)
            except BrokerNotStarted:
                if not (tries_left and any(node.found_its_port_taken for node in cluster.nodes)):
                    raise
            else:
                return cluster
        raise AssertionError("the last try returns or raises")

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, for a client's `bootstrap.servers`."""
        return ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def client_settings(self, user: str = ADMIN) -> dict[str, str]:
        """The settings with which a client connects, as `user` if the cluster has users.

        Raises:
            KeyError: The cluster has users, but no such user.
        """
        settings = {"bootstrap.servers": self.bootstrap}
        if self._security:
            settings |= {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": user,
                "sasl.password": self._security.users[user],
            }
        return settings

    def stop(self) -> None:
        """Stop all nodes at the same time; their data stays."""
        # Without a majority of controllers the last nodes wait in vain for permission to stop.
        patience_s = _STOP_TOGETHER_S if len(self.nodes) > 1 else _STOP_S
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Node.stop, self.nodes, repeat(patience_s)))

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _bring_up(self, *, record: bool) -> None:
        try:
            for node in self.nodes:
                node.launch(record=record and node is self.nodes[0])
            for node in self.nodes:
                node.wait_until_it_sees({each.id for each in self.nodes})
        except BaseException:
            self.kill()
            raise


def _security(users: Mapping[str, str] | None, *, acls: bool) -> Security | None:
    if users is None and not acls:
        return None
    return Security({ADMIN: secrets.token_hex(), **(users or {})}, acls)


def _addresses(nodes: int, port: int | None) -> list[Address]:
    found = free_ports(2 * nodes)
    ports = [port or found[0], *found[1:nodes]]
    return [
        Address(i, own, controller)
        for i, (own, controller) in enumerate(zip(ports, found[nodes:], strict=True), start=1)
    ]


def _write(
    folder: Path,
    addresses: Sequence[Address],
    launch: Launch,
    security: Security | None,
    settings: Mapping[str, str],
) -> None:
    """Write the settings and the data folders of the nodes."""
    try:
        for address in addresses:
            home = _home(folder, address.node_id)
            data = _data(folder, address.node_id)
            if cluster_id_in(data) is None:
                format_data(data, address.node_id, launch.cluster_id, launch.jvm)
            text = server_properties(address, addresses, data, security, settings)
            (home / "server.properties").write_text(text, encoding="ascii")
    except OSError as error:
        raise BrokerNotStarted(
            f"{folder} could not be made ready for Kafka: {error.filename}: {error.strerror}",
            "Choose a folder that can be written.",
        ) from error


def _home(folder: Path, node_id: int) -> Path:
    return folder / f"node-{node_id}"


def _data(folder: Path, node_id: int) -> Path:
    return _home(folder, node_id) / "data"
