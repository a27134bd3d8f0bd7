"""Settling: pure functions from an outcome and the pipeline's policy to a settlement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from kafka_etl.invocation import (
    SHARED,
    Attempt,
    Condition,
    DeadLetter,
    ErrorInfo,
    Failure,
    Invocation,
    Outcome,
    Outputs,
    Refused,
    Settlement,
    printable,
)
from kafka_etl.record import Batch, Partition, next_offsets, partition_of


@dataclass(frozen=True, slots=True)
class Verdict:
    """A settlement, and the dead letter that stops a pipeline without a dead-letter topic."""

    settlement: Settlement
    stop: DeadLetter | None = None


def settle(invocation: Invocation, outcome: Outcome, *, dead_letters: bool, at_ms: int) -> Verdict:
    """Decide which part of an invocation becomes durable.

    With a place for dead letters: everything; each record is in the outputs, dropped on purpose, or
    a dead letter. Without one: the records before the first failed record; then the pipeline stops.
    """
    batch = invocation.batch
    letters = tuple(
        DeadLetter(batch.records[failure.index], failure, invocation.id, at_ms)
        for failure in outcome.failed
    )
    whole = Settlement(
        outcome.outputs,
        (),
        batch.progress,
        begins={tp: batch.begins[tp] for tp in batch.progress if tp in batch.begins},
        records=batch.records,
        slices=(len(batch),),
        invocation_id=invocation.id,
    )
    if not letters or dead_letters:
        return Verdict(replace(whole, dead_letters=letters))
    return Verdict(before(whole, outcome.failed[0].index), stop=letters[0])


def before(settlement: Settlement, index: int) -> Settlement:
    """The part of a settlement that its records before this one have made."""
    outputs = settlement.outputs
    origins = range(len(outputs)) if outputs.origins is None else outputs.origins
    if any(origin < 0 for origin in origins):  # the failed record has a part in these outputs
        return replace(settlement, outputs=outputs.take(()), dead_letters=(), progress={})
    kept = [row for row, origin in enumerate(origins) if origin < index]
    done = next_offsets(settlement.records[:index])
    early = {id(record) for record in settlement.records[:index]}
    return replace(
        settlement,
        outputs=outputs.take(kept),
        dead_letters=tuple(d for d in settlement.dead_letters if id(d.record) in early),
        progress=done,
        begins={tp: at for tp, at in settlement.begins.items() if tp in done},
    )


def refused(
    settlement: Settlement, rows: Mapping[int, Refused], at_ms: int, *, delivered: bool
) -> tuple[Settlement, list[Failure]]:
    """The settlement after the sink has refused some of its outputs.

    A record is all or a dead letter: its other outputs go out with the refused one, or are named in
    the letter where the target has them already (`delivered`). An output of many records makes one
    letter, and its records count as done.

    Args:
        settlement: The settlement that the sink was given.
        rows: Position of an output -> the target's verdict.
        at_ms: Present time, in milliseconds since the epoch.
        delivered: Whether the target has all other outputs.

    Returns:
        The rest, and the failures by the position of their record in the settlement.
    """
    outputs = settlement.outputs
    origins = list(range(len(outputs))) if outputs.origins is None else outputs.origins
    verdicts: dict[int, Refused] = {}
    for row in sorted(rows):
        verdicts.setdefault(origins[row], rows[row])
    places: dict[int, list[int]] = {origin: [] for origin in verdicts}
    counts: dict[int, int] = {}
    kept: list[int] = []
    for row, origin in enumerate(origins):
        if origin not in verdicts:
            kept.append(row)
        elif row not in rows:
            places[origin].append(counts.get(origin, 0))
        counts[origin] = counts.get(origin, 0) + 1
    failures: list[Failure] = []
    letters: list[DeadLetter] = []
    for origin, verdict in sorted(verdicts.items()):
        own = _records_of(settlement, origin)
        failure = _refusal(origin if origin >= 0 else own.start, verdict, at_ms)
        failures.append(failure)
        letters.append(
            DeadLetter(
                settlement.records[failure.index],
                failure,
                settlement.invocation_id,
                at_ms,
                tuple(places[origin]) if delivered else (),
                tuple(settlement.records[own.start + 1 : own.stop]),
            )
        )
    rest = Outputs() if delivered else outputs.take(kept)
    known = settlement.dead_letters
    return (
        replace(settlement, outputs=rest, dead_letters=(*known, *letters), lettered=len(known)),
        failures,
    )


def failures_of(settlement: Settlement) -> list[Failure]:
    """The failures of a settlement, by the position of their record in the settlement."""
    failed = {id(letter.record): letter.failure for letter in settlement.dead_letters}
    return [
        msgspec.structs.replace(failure, index=position)
        for position, record in enumerate(settlement.records)
        if (failure := failed.get(id(record))) is not None
    ]


def _records_of(settlement: Settlement, origin: int) -> range:
    """Positions of the records to which an output belongs."""
    if origin >= 0:
        return range(origin, origin + 1)
    number = SHARED - origin
    start = sum(settlement.slices[:number])
    return range(start, start + settlement.slices[number])


def _refusal(index: int, verdict: Refused, at_ms: int) -> Failure:
    condition = Condition.RECORD_TOO_LARGE if verdict.too_large else Condition.REFUSED
    error = ErrorInfo(verdict.code, printable(verdict.message))
    said = f"{error.type}: {error.message}"
    return Failure(index, condition, error, "sink", (Attempt(1, at_ms, at_ms, said),))


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
    rest = settlement_without(settlement, partitions)
    return replace(
        rest,
        outputs=remaining,
        records=[batch.records[index] for index in stay],
        slices=(len(stay),),
    )


def settlement_without(settlement: Settlement, partitions: frozenset[Partition]) -> Settlement:
    """The settlement without the progress and the dead letters of these partitions.

    The outputs stay: their target has them already.
    """
    if partitions.isdisjoint(settlement.progress):
        return settlement
    return replace(
        settlement,
        dead_letters=tuple(
            letter
            for letter in settlement.dead_letters
            if partition_of(letter.record) not in partitions
        ),
        progress={tp: at for tp, at in settlement.progress.items() if tp not in partitions},
        begins={tp: at for tp, at in settlement.begins.items() if tp not in partitions},
    )
