"""Puts a deliverer together: the sink of a destination outside of the cluster, and its words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kafka_etl.contracts import Deployment, Sender, Sink, Store, Writer
from kafka_etl.engine.sinks.claim_check import ClaimCheck
from kafka_etl.engine.sinks.followed import FollowedSink
from kafka_etl.engine.sinks.lanes import Lanes
from kafka_etl.engine.sinks.letters import LetterTable
from kafka_etl.engine.sinks.stored import StoredSink, StoreIdentity
from kafka_etl.engine.tasks.delivery_sink import Deliverer, FollowedDelivery, StoredDelivery
from kafka_etl.envelope import Encoded, encode_letter
from kafka_etl.errors import SinkFailed
from kafka_etl.invocation import DeadLetter
from kafka_etl.kafka.tasks.delivery_ledger import DeliveryLedger
from kafka_etl.kafka.tasks.settings import TaskDeliverySettings
from kafka_etl.tasks.deliveries import Receipts

Door = Sink | Sender | Writer | Store

_ANY_SIZE = 2**31


def make_deliverer(  # noqa: PLR0913 - the parts of the deliverer
    door: Door,
    settings: TaskDeliverySettings,
    deployment: Deployment,
    identity: StoreIdentity,
    *,
    has_letter_table: bool,
    patience: float | None,
) -> Sink:
    """Make the sink of a worker that delivers outcomes of tasks.

    Args:
        door: The door of the destination.
        settings: Settings of the worker's source.
        deployment: The worker's deployment.
        identity: Whose offsets a store keeps.
        has_letter_table: Whether a store has a table of dead letters.
        patience: Seconds to wait for a target that cannot be reached; None: no limit.

    Raises:
        SinkFailed: The sink takes no failures, or is none of a destination outside of the cluster.
    """
    receipts = Receipts()
    ledger = DeliveryLedger(deployment, settings.inbox, receipts)
    pulse = deployment.pulse
    writer = _writer_of(door, as_letters=settings.notices and has_letter_table)
    if writer is not None:
        encode = _encoder(writer, settings, deployment, patience) if settings.notices else None
        deliverer = Deliverer(settings.pipeline, receipts, encode)
        return FollowedDelivery(
            FollowedSink(writer, ledger, deliverer.identify, pulse, patience=patience), deliverer
        )
    if settings.notices or not isinstance(door, Store):
        raise SinkFailed(
            "failures of tasks cannot go to a sink that takes rows and offsets together only",
            "Name a queue, `http`, a store with tables, or a topic.",
        )
    deliverer = Deliverer(settings.pipeline, receipts, None)
    stored = StoredSink(door, ledger, identity, deliverer.identify, pulse, patience=patience)
    return StoredDelivery(stored, deliverer, ledger.read)


def outcomes_of(settings: TaskDeliverySettings, deployment: Deployment) -> Deployment:
    """The deployment for the door: envelopes name the task pipeline, not its deliverer."""
    about = replace(
        deployment.provenance, pipeline=settings.pipeline, versions={settings.operator: ""}
    )
    return replace(deployment, provenance=about)


def _writer_of(door: Door, *, as_letters: bool) -> Writer | None:
    """The door as a writer; None: a store, whose rows go together with offsets."""
    if isinstance(door, Sender):
        return Lanes(door)
    if isinstance(door, Writer):
        return door
    return LetterTable(door) if as_letters and isinstance(door, Store) else None


def _encoder(
    writer: Writer,
    settings: TaskDeliverySettings,
    deployment: Deployment,
    patience: float | None,
) -> Callable[[DeadLetter], Encoded]:
    """What encodes a dead letter, of a size that the target takes."""
    limit = writer.limits.row_bytes or _ANY_SIZE
    about = outcomes_of(settings, deployment).provenance
    url = settings.claim_check
    claim = ClaimCheck(url, deployment.pulse, patience=patience) if url else None
    return lambda letter: encode_letter(letter, about, "envelope", limit, claim)
