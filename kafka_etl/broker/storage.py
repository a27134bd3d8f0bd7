"""Formats a folder as the data folder of a Kafka node."""

from __future__ import annotations

import base64
import tempfile
import uuid
from pathlib import Path
from typing import Final

from kafka_etl.broker.jars import cache_folder, kafka_version
from kafka_etl.broker.java import Jvm
from kafka_etl.broker.properties import Address, server_properties
from kafka_etl.errors import BrokerNotStarted

_IDENTITY: Final = "meta.properties"
_FEATURES: Final = "bootstrap.checkpoint"


def new_id() -> str:
    """A random id in Kafka's format, without a leading `-`, which would look like an option."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return new_id() if text.startswith("-") else text


def cluster_id_in(data: Path) -> str | None:
    """The id of the cluster to which a data folder belongs; None: the folder is not formatted."""
    try:
        lines = (data / _IDENTITY).read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return dict(line.split("=", 1) for line in lines if "=" in line).get("cluster.id")


def format_data(data: Path, node_id: int, cluster_id: str, jvm: Jvm) -> None:
    """Format a data folder like `kafka-storage format`, which takes a second for each node.

    The function writes the identity of the node, and the features of a new cluster. The features
    are the same for every cluster of one Kafka version, so `cache_folder()` keeps a copy.

    Raises:
        BrokerNotStarted: Kafka's storage tool failed to write the features.
        OSError: The folder cannot be written.
    """
    data.mkdir(parents=True, exist_ok=True)
    (data / _FEATURES).write_bytes(_features(jvm))
    identity = {
        "version": "1",
        "cluster.id": cluster_id,
        "node.id": str(node_id),
        "directory.id": new_id(),
    }
    unfinished = data / f".{_IDENTITY}"
    unfinished.write_text("".join(f"{k}={v}\n" for k, v in identity.items()), encoding="ascii")
    unfinished.replace(data / _IDENTITY)


def _features(jvm: Jvm) -> bytes:
    cached = cache_folder() / "format" / f"kafka-{kafka_version()}.checkpoint"
    if cached.exists():
        return cached.read_bytes()
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
        made = _format_for_real(Path(folder), jvm) / _FEATURES
        features = made.read_bytes()
        made.replace(cached)
    return features


def _format_for_real(folder: Path, jvm: Jvm) -> Path:
    data = folder / "data"
    nobody = Address(node_id=1, port=1, controller_port=2)
    properties = folder / "server.properties"
    text = server_properties(nobody, [nobody], data, security=None, overrides={})
    properties.write_text(text, encoding="ascii")
    options = ("format", "-t", new_id(), "-c", str(properties))
    result = jvm.run("kafka.tools.StorageTool", *options)
    if result.returncode:
        raise BrokerNotStarted(f"Kafka's storage tool failed: {result.stdout.strip()[-2000:]}")
    return data
