"""Preflight: a server that keeps what was written, and a target of the right type."""

from __future__ import annotations

from typing import Any, cast

import redis

from kafka_etl.contracts import Deployment, Preflight
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.redis.errors import target
from kafka_etl_connectors.redis.session import client_of
from kafka_etl_connectors.redis.settings import RedisSettings


def check(settings: RedisSettings, deployment: Deployment) -> Preflight:
    """Look at the server and at the target.

    Raises:
        Unreachable: The server is away, or refuses the user.
        SinkFailed: The server may forget keys, is a replica, or has a key of another type.
    """
    try:
        client = client_of(
            settings, deployment.folder, f"kafka-etl {deployment.pipeline} preflight"
        )
    except OSError as error:
        raise SinkFailed(f"a file of certificates: {error}", "Correct its path.") from error
    try:
        with client:
            client.ping()
            notes = [*_policy(client, settings.place), *_persistence(client)]
            _type(client, settings)
    except redis.RedisError as error:
        raise target(error, settings.place) from error
    except OSError as error:
        raise SinkFailed(
            f"Redis at {settings.place}: {error}", "Correct the files of TLS."
        ) from error
    return Preflight(notes=tuple(notes))


def _policy(client: Any, place: str) -> list[str]:
    """Check that the server never throws keys away; a note where it does not say."""
    try:
        memory: dict[str, Any] = client.info("memory")
    except redis.ResponseError:
        memory = {}
    policy = memory.get("maxmemory_policy")
    if policy is None:
        note = "the server does not tell its `maxmemory-policy` (INFO is denied); it must be "
        return [f"{note}noeviction, else offsets may vanish"]
    if policy != "noeviction":
        raise SinkFailed(
            f"Redis at {place} has maxmemory-policy {policy}: rows and offsets may vanish",
            "CONFIG SET maxmemory-policy noeviction, or name another server.",
        )
    return []


def _persistence(client: Any) -> list[str]:
    try:
        facts: dict[str, Any] = client.info()
    except redis.ResponseError:
        return []
    if facts.get("role") == "slave":
        raise SinkFailed("the server is a replica", "Name the primary under sink.with.")
    if facts.get("cluster_enabled"):
        raise SinkFailed(
            "the server is a node of a cluster, which this sink does not follow",
            "Name a server that is not part of a cluster.",
        )
    if not facts.get("aof_enabled"):
        note = "`appendonly` is off: a crash of the server takes back the rows since its last "
        return [f"{note}snapshot, and the offsets with them; those rows are then written again"]
    return []


def _type(client: Any, settings: RedisSettings) -> None:
    """Check the type of the target's key.

    Raises:
        SinkFailed: The key is there, and something else.
    """
    if settings.into == "string":
        return
    found = cast("bytes", client.type(settings.target)).decode()
    if found not in ("none", settings.into):
        raise SinkFailed(
            f"key {settings.target} is a {found}, not a {settings.into}",
            "Correct `into` or `name`, or delete the key.",
        )
