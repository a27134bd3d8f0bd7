"""The settings of a node, with less memory and shorter timeouts than Kafka's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafka_etl.broker.ports import LOOPBACK
from kafka_etl.broker.wire import Login

ADMIN: Final = "admin"

_SMALL: Final = {
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.num.partitions": "5",
    "share.coordinator.state.topic.num.partitions": "5",
    "log.cleaner.dedupe.buffer.size": str(4 << 20),  # the default takes 128 MB at the start
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # Nodes on one machine start together, and reach each other without delay.
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "200",
    # A killed node can return only after the end of its old session; the default is 9 s.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Id and ports of a node.

    Attributes:
        node_id: Id of the node, from 1.
        port: Port for clients and for other brokers.
        controller_port: Port for other controllers.
    """

    node_id: int
    port: int
    controller_port: int


@dataclass(frozen=True, slots=True)
class Security:
    """Users with passwords, which every node knows; the user `admin` has all rights.

    Attributes:
        users: User -> password; `admin` is among the users.
        acls: Whether the other users have only the rights that an ACL grants.
    """

    users: Mapping[str, str]
    acls: bool

    @property
    def admin(self) -> Login:
        return Login(ADMIN, self.users[ADMIN])


def server_properties(
    node: Address,
    cluster: Sequence[Address],
    data: Path,
    security: Security | None,
    overrides: Mapping[str, str],
) -> str:
    """The text of a node's `server.properties` file.

    Args:
        node: The node.
        cluster: All nodes of the cluster.
        data: Data folder of the node.
        security: Users and rights; None: clients need no login.
        overrides: Broker settings that complete or replace the others.
    """
    replicas = str(min(3, len(cluster)))
    in_sync = "2" if len(cluster) > 2 else "1"  # noqa: PLR2004 - a majority of three
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(node.node_id),
        "controller.quorum.voters": ",".join(
            f"{n.node_id}@{LOOPBACK}:{n.controller_port}" for n in cluster
        ),
        "log.dirs": str(data),
        **_listeners(node, security),
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        **_SMALL,
        **(_login_settings(security) if security else {}),
        **overrides,
    }
    return "".join(f"{name}={_escape(value)}\n" for name, value in settings.items())


def _listeners(node: Address, security: Security | None) -> dict[str, str]:
    protocol = "SASL_PLAINTEXT" if security else "PLAINTEXT"
    clients = f"CLIENTS://{LOOPBACK}:{node.port}"
    return {
        "listeners": f"{clients},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": f"CLIENTS:{protocol},CONTROLLER:{protocol}",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
    }


def _login_settings(security: Security) -> dict[str, str]:
    words = [
        "org.apache.kafka.common.security.plain.PlainLoginModule required",
        f"username={_quoted(ADMIN)}",
        f"password={_quoted(security.users[ADMIN])}",
        *(f"user_{name}={_quoted(password)}" for name, password in security.users.items()),
    ]
    jaas = " ".join(words) + ";"
    settings = {
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        "listener.name.clients.plain.sasl.jaas.config": jaas,
        "listener.name.controller.plain.sasl.jaas.config": jaas,
    }
    if security.acls:
        settings["authorizer.class.name"] = (
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        )
        settings["super.users"] = f"User:{ADMIN}"
    return settings


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escape(value: str) -> str:
    """Escape a value for a Java properties file: ASCII, and UTF-16 units for the rest."""
    return "".join(c if c.isascii() and c != "\\" else _utf16(c) for c in value)


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))
