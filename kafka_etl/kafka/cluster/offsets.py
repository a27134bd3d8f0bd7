"""The committed offsets of a consumer group, and the changes that a user orders.

Pure functions decide which offsets to set; `Admin` asks the cluster and sets them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from kafka_etl.errors import GroupInUse, GroupUnknown, OffsetsUnclear, TopicMissing
from kafka_etl.kafka.cluster.admin import Admin, Committed, Member
from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.record import Partition
from kafka_etl.units import parse_duration

_COUNT: Final = re.compile(r"[+-]\d{1,18}")
_OFFSET: Final = re.compile(r"\d{1,18}")


class Target(NamedTuple):
    """The place to which a user sets the offsets of a group.

    Attributes:
        kind: `by`: a distance from the committed offset. `time`: the first record of that time or
            later.
        number: The offset for `offset`, the distance for `by`, and milliseconds since the epoch
            for `time`; otherwise 0.
    """

    kind: Literal["earliest", "latest", "offset", "by", "time"]
    number: int = 0


def parse_target(text: str, now: datetime) -> Target:
    """Parse the value of `--to`.

    Args:
        text: `earliest`, `latest`, an offset, a distance with a sign such as `+100`, a time in ISO
            format (UTC without a time zone), or a duration before now such as `-2h`.
        now: The present time.

    Raises:
        OffsetsUnclear: The text is none of these.
    """
    if text == "earliest":
        return Target("earliest")
    if text == "latest":
        return Target("latest")
    if _OFFSET.fullmatch(text):
        return Target("offset", int(text))
    if _COUNT.fullmatch(text):
        return Target("by", int(text))
    try:
        if text.startswith("-"):
            moment = now.timestamp() - parse_duration(text[1:])
        else:
            moment = _in_utc(datetime.fromisoformat(text)).timestamp()
    except (ValueError, OverflowError) as error:
        raise OffsetsUnclear(f"`{text}` is no place in a topic") from error
    return Target("time", int(moment * 1000))


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Standing:
    """The committed offset of a group in a partition, beside the ends of the partition.

    Attributes:
        partition: The partition.
        committed: The group's committed offset; None: the group has committed no offset here.
        begin: The first offset whose record is not deleted yet.
        end: The offset after the last committed record.
    """

    partition: Partition
    committed: Committed | None
    begin: int
    end: int

    @property
    def lag(self) -> int | None:
        """Number of offsets that the group has still to read; None: no offset is committed."""
        if self.committed is None:
            return None
        return max(0, self.end - max(self.committed.offset, self.begin))

    @property
    def note(self) -> str:
        """A remark about the partition; empty: none."""
        if self.committed is None:
            return "nothing committed"
        offset = self.committed.offset
        notes = [self.committed.note] if self.committed.note else []
        if offset < self.begin:
            notes.append(f"{self.begin - offset:,} offsets were deleted before they were read")
        if offset > self.end:
            notes.append("beyond the end: was the topic made anew?")
        return "; ".join(notes)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the committed offset of a partition.

    Attributes:
        partition: The partition.
        old: The committed offset before the change; None: no offset was committed.
        new: The offset to commit.
    """

    partition: Partition
    old: int | None
    new: int

    @property
    def effect(self) -> str:
        """The records that are read again or skipped, at most: offsets also stand for markers."""
        if self.old is None:
            return "nothing was committed before"
        if self.new == self.old:
            return "as it is"
        if self.new < self.old:
            return f"up to {self.old - self.new:,} records are read again"
        return f"up to {self.new - self.old:,} records are skipped"


def planned(
    standings: Iterable[Standing], target: Target, found: Mapping[Partition, int]
) -> list[Change]:
    """The offsets to set, each within the beginning and the end of its partition.

    Args:
        standings: The present offsets of the group.
        target: The place to which the offsets are set.
        found: For a time: partition -> the first offset at or after that time; -1: none.

    Raises:
        OffsetsUnclear: The target is a distance, and the group has no offset to count from.
    """
    return [
        Change(
            standing.partition,
            None if standing.committed is None else standing.committed.offset,
            min(max(_wanted(standing, target, found), standing.begin), standing.end),
        )
        for standing in standings
    ]


def _wanted(standing: Standing, target: Target, found: Mapping[Partition, int]) -> int:
    match target.kind:
        case "earliest":
            return standing.begin
        case "latest":
            return standing.end
        case "offset":
            return target.number
        case "time":
            offset = found.get(standing.partition, -1)
            return offset if offset >= 0 else standing.end
        case "by":
            if standing.committed is None:
                raise OffsetsUnclear(
                    f"the group has committed nothing in {standing.partition}: there is nothing "
                    "to count from",
                    "Say `earliest`, `latest`, an offset or a time, or leave this partition out.",
                )
            return standing.committed.offset + target.number


# Asking and setting


def partitions_of_source(admin: Admin, settings: KafkaSourceSettings) -> list[Partition]:
    """The existing partitions that a pipeline's source reads.

    Raises:
        TopicMissing: None of the source's topics exists.
    """
    names = settings.topics
    if settings.pattern is not None:
        names = tuple(filter(settings.reads, admin.all_topics()))
    existing = admin.topics(names, "READ")
    found = [
        Partition(topic, number) for topic in sorted(existing) for number in range(existing[topic])
    ]
    if not found:
        raise TopicMissing(
            f"none of the source's topics exists: {', '.join(settings.topics)}",
            "Correct source.with.topics.",
        )
    return found


def standings(
    admin: Admin, group: str, source: Iterable[Partition], wanted: Sequence[str]
) -> list[Standing]:
    """The offsets of a group in the partitions that exist, by partition.

    Args:
        admin: An admin client of the cluster.
        group: The group.
        source: Partitions that the group reads, with a committed offset or without.
        wanted: TOPIC or TOPIC:PARTITION; empty: all partitions that the group reads.

    Raises:
        GroupUnknown: `wanted` is empty, and none of the group's partitions exists.
        TopicMissing: A topic or partition of `wanted` does not exist, or the group does not read
            the topic.
    """
    committed = admin.all_committed(group)
    known = {*source, *committed}
    existing = admin.topics({*(tp.topic for tp in known), *map(_topic_of, wanted)}, "READ")
    partitions = _chosen(known, wanted, existing) if wanted else sorted(known)
    partitions = [tp for tp in partitions if tp.number < existing.get(tp.topic, 0)]
    if not partitions:
        raise GroupUnknown(f"group {group} has committed no offsets of topics that exist")
    begins, ends = admin.earliest(partitions), admin.latest(partitions)
    return [Standing(tp, committed.get(tp), begins[tp], ends[tp]) for tp in partitions]


def _topic_of(text: str) -> str:
    """The topic in TOPIC or TOPIC:PARTITION."""
    topic, separator, _ = text.rpartition(":")
    return topic if separator else text


def _chosen(
    known: Iterable[Partition], wanted: Sequence[str], existing: Mapping[str, int]
) -> list[Partition]:
    chosen: set[Partition] = set()
    for text in wanted:
        topic, separator, number = text.rpartition(":")
        if not separator:
            topic, number = text, ""
        if not existing.get(topic) or (number and not number.isdecimal()):
            raise TopicMissing(f"topic {text} does not exist", "Say TOPIC or TOPIC:PARTITION.")
        numbers = [int(number)] if number else range(existing[topic])
        if number and int(number) >= existing[topic]:
            raise TopicMissing(
                f"topic {topic} has partitions 0 to {existing[topic] - 1}", "Correct its number."
            )
        chosen.update(Partition(topic, n) for n in numbers)
    topics = {tp.topic for tp in known}
    strangers = {tp.topic for tp in chosen} - topics
    if topics and strangers:
        raise TopicMissing(
            f"the group does not read {', '.join(sorted(strangers))}; it reads "
            f"{', '.join(sorted(topics))}",
            "Correct `--topic`.",
        )
    return sorted(chosen)


def require_empty(admin: Admin, group: str) -> None:
    """Require the group to have no members.

    Raises:
        GroupInUse: The group has members, and offsets of a group in use cannot be set.
    """
    members = admin.members(group)
    if members:
        raise GroupInUse(f"group {group} has {_named(members)}: nothing was changed")


def set_offsets(admin: Admin, group: str, changes: Iterable[Change]) -> None:
    """Commit the new offsets of a group without members.

    Raises:
        GroupInUse: A member has joined the group meanwhile.
    """
    if not admin.commit(group, {change.partition: change.new for change in changes}):
        # Not "nothing": requests before the refused one may have set their 1,000 offsets.
        joined = _named(admin.members(group))
        raise GroupInUse(f"group {group} has got {joined} meanwhile: not every offset was set")


def _named(members: Iterable[Member]) -> str:
    told = [f"{m.client} on {m.host.lstrip('/')}{' (static)' if m.static else ''}" for m in members]
    return f"{len(told)} member{'' if len(told) == 1 else 's'} ({'; '.join(sorted(told))})"
