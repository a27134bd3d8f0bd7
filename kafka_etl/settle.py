"""Settling: pure functions from an outcome and the pipeline's policy to a settlement."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kafka_etl.invocation import SHARED, DeadLetter, Failure, Invocation, Outcome, Settlement
from kafka_etl.record import Batch, Partition, next_offsets, partition_of


@dataclass(frozen=True, slots=True)
class Verdict:
    """A settlement, and the dead letter that stops a pipeline without a dead-letter topic."""

    settlement: Settlement
    stop: DeadLetter | None = None


def settle(invocation: Invocation, outcome: Outcome, *, dead_letters: bool, at_ms: int) -> Verdict:
    """Decide which part of an invocation becomes durable.

    With a dead-letter topic: everything; each record is in the outputs, dropped on purpose, or a
    dead letter. Without one: the records before the first failed record; then the pipeline stops.
    """
    batch = invocation.batch
    letters = tuple(
        DeadLetter(batch.records[failure.index], failure, invocation.id, at_ms)
        for failure in outcome.failed
    )
    if not letters or dead_letters:
        return Verdict(Settlement(outcome.outputs, letters, batch.progress))
    return Verdict(_before(batch, outcome, outcome.failed[0]), stop=letters[0])


def _before(batch: Batch, outcome: Outcome, failure: Failure) -> Settlement:
    origins = outcome.outputs.origins
    if origins is None:
        origins = list(range(len(outcome.outputs)))
    if SHARED in origins:  # the failed record has a part in these outputs
        return Settlement(outcome.outputs.take(()), (), {})
    kept = [row for row, index in enumerate(origins) if index < failure.index]
    return Settlement(outcome.outputs.take(kept), (), next_offsets(batch.records[: failure.index]))


def excluding(
    batch: Batch, settlement: Settlement, partitions: frozenset[Partition]
) -> Settlement | None:
    """The rest of a settlement after these partitions have left.

    The origins of the rest are positions in `batch.without(partitions)`.

    Returns:
        The rest; None: some outputs belong to all records of the slice, and cannot be divided.
    """
    if partitions.isdisjoint(settlement.progress):
        return settlement
    outputs = settlement.outputs
    origins = range(len(outputs)) if outputs.origins is None else outputs.origins
    if SHARED in origins:
        return None
    stay = [
        index
        for index, record in enumerate(batch.records)
        if partition_of(record) not in partitions
    ]
    positions = {index: position for position, index in enumerate(stay)}
    remaining = outputs.take([row for row, index in enumerate(origins) if index in positions])
    remaining.origins = [positions[index] for index in remaining.origins or ()]
    return replace(
        settlement,
        outputs=remaining,
        dead_letters=tuple(
            letter
            for letter in settlement.dead_letters
            if partition_of(letter.record) not in partitions
        ),
        progress={tp: at for tp, at in settlement.progress.items() if tp not in partitions},
    )
