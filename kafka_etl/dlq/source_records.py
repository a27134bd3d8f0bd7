"""Records of the source, as far as retention has left them: the one that failed, and those near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kafka_etl.dead_letters import Place, StoredLetter
from kafka_etl.dead_letters.cuts import cut_parts, restored
from kafka_etl.errors import NoSuchLetter
from kafka_etl.kafka.cluster.admin import reached
from kafka_etl.kafka.cluster.topics import (
    existing_partitions,
    first_records,
    last_records,
    record_at,
    whole,
)
from kafka_etl.record import Partition, SourceRecord

_NEAR: Final = 2

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Records of the source around the one that failed, in the order of their offsets.

    Attributes:
        before: At most two.
        itself: The record; None: retention or compaction has taken it.
        after: At most two.
        begin: First offset that the partition still has.
        end: Offset after the last record of the partition.
    """

    before: Sequence[SourceRecord]
    itself: SourceRecord | None
    after: Sequence[SourceRecord]
    begin: int
    end: int


def neighbours_of(place: Place, admin: Settings, consumer: Settings) -> Neighbours:
    """Read the records around a place of the source.

    Args:
        place: The place.
        admin: Settings of admin clients.
        consumer: Settings of consumers.

    Raises:
        TopicMissing: The topic, or its partition, does not exist.
        KafkaEtlError: A broker refuses the request, or no broker answers.
    """
    partition, begin, end = _range_of(place, admin)
    at = place.offset
    before = {partition: (begin, min(at, end))}
    after = {partition: (max(at + 1, begin), end)}
    return Neighbours(
        before=last_records(consumer, before, _NEAR) if begin < at else (),
        itself=record_at(consumer, partition, at) if begin <= at < end else None,
        after=first_records(consumer, after, _NEAR) if at + 1 < end else (),
        begin=begin,
        end=end,
    )


def with_all_parts(letter: StoredLetter, admin: Settings, consumer: Settings) -> StoredLetter:
    """The dead letter; parts that were cut because of its size are read from the source.

    Args:
        letter: The dead letter.
        admin: Settings of admin clients.
        consumer: Settings of consumers.

    Raises:
        NoSuchLetter: A part was cut, and the source no longer has the record.
        KafkaEtlError: A broker refuses the request, or no broker answers.
    """
    cut = cut_parts(letter)
    if not cut:
        return letter
    partition, begin, end = _range_of(letter.source, admin)
    lacks = f"dead letter {letter.at.id} lacks the {' and the '.join(cut)} of its record"
    wanted = letter.source.offset
    found = record_at(consumer, partition, wanted) if begin <= wanted < end else None
    if found is None:
        raise NoSuchLetter(
            f"{lacks}, which was too large, and retention has taken the record {letter.source}",
            "Nothing can bring the record back; `kafka-etl dlq show` has what is left.",
        )
    whole_letter = restored(letter, found)
    if whole_letter is None:
        raise NoSuchLetter(
            f"{lacks}, which was too large, and {letter.source} is another record now",
            "The topic was made anew: nothing can bring the record back.",
        )
    return whole_letter


def _range_of(place: Place, admin: Settings) -> tuple[Partition, int, int]:
    client = reached(admin)
    partition = Partition(place.topic, place.partition)
    partitions = existing_partitions(client, place.topic)
    begin, end = whole(client, partitions).get(partition, (0, 0))
    return partition, begin, end
