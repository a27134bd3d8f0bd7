"""A settlement cut into parts, each of them one script that moves the offsets by what it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kafka_etl.contracts import Move, Rows
from kafka_etl.record import Partition, SourceRecord, offset_of, partition_of
from kafka_etl_connectors.redis.commands import Command

_ROWS: Final = 1_000
"""Rows of a part. A script holds up every other client of the server."""
_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """Rows and moves that belong together.

    Attributes:
        commands: The rows.
        moves: Partitions, from where they stand to behind the last record of this part. The first
            part holds all partitions, the others only those that move.
    """

    commands: Sequence[Command] = ()
    moves: Mapping[Partition, Move] = field(default_factory=dict[Partition, Move])


def parts_of(
    rows: Rows,
    commands: Sequence[Command],
    moves: Mapping[Partition, Move],
    *,
    at_most: int = _ROWS,
    size: int = _BYTES,
) -> list[Part]:
    """Cut a settlement behind whole records.

    A settlement is not cut if some of its rows belong to many records, or are not in the order of
    the offsets: there is no offset then behind which everything is still to come.

    Args:
        rows: The rows.
        commands: Their commands.
        moves: The moves of the whole settlement.
        at_most: Rows of a part; a single record may have more.
        size: Bytes of a part; likewise.
    """
    cuts = _cuts(rows.sources, commands, at_most, size)
    stands = dict(moves)
    parts: list[Part] = []
    begin = 0
    for end in (*cuts, len(commands)):
        reached: dict[Partition, int] = {}
        for source in rows.sources[begin:end]:
            if source is not None:
                reached[partition_of(source)] = offset_of(source) + 1
        if end == len(commands):
            reached = {tp: move.next for tp, move in moves.items()}
        changed: dict[Partition, Move] = {}
        for tp, move in stands.items():
            after = min(max(reached.get(tp, move.begin), move.begin), moves[tp].next)
            if after != move.begin or not parts:
                changed[tp] = replace(move, next=after)
                stands[tp] = replace(move, begin=after)
        parts.append(Part(commands[begin:end], changed))
        begin = end
    return parts


def _cuts(
    sources: Sequence[SourceRecord | None], commands: Sequence[Command], at_most: int, size: int
) -> list[int]:
    """The positions before which a new part begins."""
    if len(commands) <= at_most and sum(command.size for command in commands) <= size:
        return []
    cuts: list[int] = []
    last: dict[Partition, int] = {}
    rows = weight = 0
    begin = 0
    before: SourceRecord | None = None
    for position, source in enumerate(sources):
        if source is None or offset_of(source) < last.get(partition_of(source), 0):
            return []
        last[partition_of(source)] = offset_of(source)
        if source is not before:
            begin, before = position, source
        rows, weight = rows + 1, weight + commands[position].size
        is_full = rows > at_most or weight > size
        if is_full and begin > (cuts[-1] if cuts else 0):
            cuts.append(begin)
            rows = position - begin + 1
            weight = sum(command.size for command in commands[begin : position + 1])
    return cuts
