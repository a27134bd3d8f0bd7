"""Offsets that a pipeline's sink keeps itself: shown and set beside those of the group."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from sys import stderr
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.contracts import Store, StoredOffset
    from kafka_etl.engine.sinks.stored import StoreIdentity
    from kafka_etl.kafka.cluster.admin import Admin
    from kafka_etl.kafka.cluster.offsets import Change, Standing
    from kafka_etl.record import Partition


class Keeper(NamedTuple):
    """The store of a pipeline, connected.

    Attributes:
        store: The store.
        identity: Whose offsets these are.
    """

    store: Store
    identity: StoreIdentity


@contextmanager
def keeper_of(
    path: Path, overrides: Mapping[str, str], admin: Admin, topics: Iterable[str]
) -> Generator[Keeper | None]:
    """Connect to the store of a pipeline; None: its sink keeps no offsets.

    Args:
        path: The pipeline file.
        overrides: Values of `--set`.
        admin: Admin client of the pipeline's cluster.
        topics: Topics of the pipeline's source.

    Raises:
        ConfigError: The file has findings.
        SinkFailed: The store cannot be reached.
    """
    from kafka_etl.config.build import build
    from kafka_etl.config.load import load
    from kafka_etl.contracts import Preflight, Store
    from kafka_etl.engine.sinks.connection import said
    from kafka_etl.errors import KafkaEtlError, SinkFailed
    from kafka_etl.plugins import PluginRegistry, importable
    from kafka_etl.runtime.worker.assemble import identity_of
    from kafka_etl.runtime.worker.deployments import deployment_of

    (document,) = load([path], env=os.environ, overrides=overrides).documents
    with importable(document.folder), redirect_stdout(stderr):
        pipeline = build(document, PluginRegistry.installed())
    admin.reach()
    admin.topics(topics, "READ")
    seen = Preflight(cluster=admin.cluster, topic_ids=admin.topic_ids)
    deployment = deployment_of(pipeline, f"offsets {pipeline.spec.name}", seen)
    store = pipeline.sink.build(pipeline.sink_settings, deployment)
    if not isinstance(store, Store):
        yield None
        return
    try:
        store.connect()
        yield Keeper(store, identity_of(pipeline, deployment))
    except KafkaEtlError:
        raise
    except Exception as error:
        raise SinkFailed(
            f"the sink's store: {said(error)}", "Try again when the store answers."
        ) from error
    finally:
        store.close()


def as_kept(keeper: Keeper, found: Sequence[Standing]) -> list[Standing]:
    """The standings of a group, with the store's offsets in place of the group's.

    A partition that the store does not know begins at the group's offset, unless that is a copy
    of one that the store has lost.
    """
    from kafka_etl.kafka.cluster.admin import Committed

    kept = keeper.store.offsets([standing.partition for standing in found])
    mark = keeper.identity.mark

    def committed(standing: Standing) -> Committed | None:
        at, of_group = kept.get(standing.partition), standing.committed
        if at is not None:
            return Committed(at.next, f"{mark}, generation {at.generation}")
        if of_group is None or of_group.note.startswith(mark):
            return None
        return Committed(of_group.offset, "of the group: the store begins here")

    return [replace(standing, committed=committed(standing)) for standing in found]


def place(keeper: Keeper, changes: Sequence[Change]) -> None:
    """Set the store's offsets, in a new generation: late workers of the old one write nothing."""
    from kafka_etl.contracts import StoredOffset

    kept = keeper.store.offsets([change.partition for change in changes])
    identity = keeper.identity

    def placed(change: Change) -> StoredOffset:
        old = kept.get(change.partition)
        return StoredOffset(
            change.new,
            0 if old is None else old.generation + 1,
            identity.topic_ids.get(change.partition.topic, ""),
            identity.group,
        )

    wanted: dict[Partition, StoredOffset] = {c.partition: placed(c) for c in changes}
    keeper.store.place(wanted, overwrite=True)
