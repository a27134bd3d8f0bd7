"""The offsets of a store, brought into line with the group's before any worker joins.

A partition that the store does not know begins where the group stands. What contradicts stops the
pipeline: a store never begins anew by itself.
"""

from __future__ import annotations

from dataclasses import replace

from kafka_etl.config.build import Pipeline
from kafka_etl.contracts import Deployment, Preflight, Pulse, Store, StoredOffset
from kafka_etl.engine.sinks.stored import StoreIdentity
from kafka_etl.errors import StoreOffsetsUnclear
from kafka_etl.record import Partition
from kafka_etl.runtime.worker.assemble import identity_of, make_door
from kafka_etl.runtime.worker.deployments import delivers_notices
from kafka_etl.runtime.worker.patience import until_reached


def prepare(
    pipeline: Pipeline, deployment: Deployment, found: Preflight, waiting: Pulse
) -> Preflight:
    """Place the partitions that the store of a pipeline does not know; other sinks need nothing.

    Args:
        pipeline: The pipeline.
        deployment: Where the pipeline runs.
        found: What preflight has found so far; its `ends` become those that the store lacks.
        waiting: Called with the obstacle while the store is away.

    Raises:
        BrokenPlugin: The plug-in built a wrong door.
        StoreOffsetsUnclear: Offsets of store and group contradict each other.
        SinkFailed: The store refuses the pipeline.
    """
    door = make_door(pipeline, deployment)
    if not isinstance(door, Store) or delivers_notices(pipeline):
        return found
    store, identity = door, identity_of(pipeline, deployment)

    def standing() -> dict[Partition, int]:
        try:
            store.connect()
            return _standing(store, identity, found)
        finally:
            store.close()

    stands = until_reached(standing, waiting)
    ends = {tp: end for tp, end in found.all_ends.items() if end > stands.get(tp, 0)}
    return replace(found, ends=ends)


def _standing(store: Store, identity: StoreIdentity, found: Preflight) -> dict[Partition, int]:
    """Where every partition stands in the store; unknown ones are placed."""
    stored = dict(store.offsets(tuple(found.begins)))
    missing: dict[Partition, StoredOffset] = {}
    for tp, at in found.begins.items():
        if tp in stored:
            _check(tp, stored[tp], identity, found)
            continue
        if found.notes_of_group.get(tp, "").startswith(identity.mark):
            raise StoreOffsetsUnclear(
                f"the store has lost its offsets: {identity.mark} stood at {at:,} of {tp} or behind"
            )
        topic_id = identity.topic_ids.get(tp.topic, "")
        missing[tp] = StoredOffset(at, 0, topic_id, identity.group)
    if missing:
        store.place(missing, overwrite=False)
        stored |= store.offsets(tuple(missing))
    return {tp: at.next for tp, at in stored.items()}


def _check(tp: Partition, at: StoredOffset, identity: StoreIdentity, found: Preflight) -> None:
    known = identity.topic_ids.get(tp.topic, "")
    end = found.all_ends.get(tp)
    if at.topic_id and known and at.topic_id != known:
        raise StoreOffsetsUnclear(
            f"{identity.mark} stands at offset {at.next:,} of {tp}, but the topic was made anew "
            f"since (its id was {at.topic_id}, and is {known})"
        )
    if end is not None and at.next > end:
        raise StoreOffsetsUnclear(
            f"{identity.mark} stands at offset {at.next:,} of {tp}, which ends at {end:,}"
        )
    if at.group and at.group != identity.group:
        raise StoreOffsetsUnclear(
            f"{identity.mark} is written by group {at.group}, and this pipeline is group "
            f"{identity.group}",
            "Give each pipeline offsets of its own: sink.with.offsets.name, or source.with.group.",
        )
