"""Careful mode: which record killed the worker, and how often.

A worker that dies inside an operator leaves behind which offsets it had in hand. Its successor
runs that range record by record; where operators work on several records at once, so many at a
time, and those that kill it again one by one. What it knows is committed as a note beside the
*unchanged* offset first: so the count of deaths is fenced, survives any process, and follows the
partition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sys import maxsize
from typing import Final

import orjson

from kafka_etl.contracts import Arrival
from kafka_etl.invocation import Condition
from kafka_etl.record import Offsets, Partition, SourceRecord, offset_of, partition_of

CRASHED: Final = Condition.WORKER_CRASHED

ANY: Final = maxsize
"""So many records may be run together as there are."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a worker that died inside an operator left behind.

    Attributes:
        ranges: Partition -> first and next offset it was working on.
        in_hand: The one record it was calling the operator with, if it was careful already.
        reason: How it died, in words.
        condition: WORKER_CRASHED, or TIMEOUT when it was killed for standing still.
    """

    ranges: Mapping[Partition, tuple[int, int]]
    in_hand: tuple[Partition, int] | None
    reason: str
    condition: Condition = CRASHED


@dataclass(frozen=True, slots=True)
class Suspect:
    """A range of one partition in which a record kills workers."""

    first: int
    next: int
    offset: int | None = None
    deaths: int = 0
    reason: str = ""
    condition: Condition = CRASHED

    def note(self) -> str:
        return orjson.dumps(
            {
                "suspect": [self.first, self.next],
                "offset": self.offset,
                "deaths": self.deaths,
                "reason": self.reason[:200],
                "condition": self.condition,
            }
        ).decode()

    @classmethod
    def from_note(cls, note: str) -> Suspect | None:
        """None for a note that is not ours: anyone may have committed the offset."""
        try:
            data = orjson.loads(note)
            first, following = data["suspect"]
            return cls(
                int(first),
                int(following),
                None if data["offset"] is None else int(data["offset"]),
                int(data["deaths"]),
                str(data.get("reason", "")),
                Condition(data.get("condition", CRASHED)),
            )
        except (orjson.JSONDecodeError, TypeError, ValueError, KeyError):
            return None


class CrashSuspects:
    """The suspects among the assigned partitions.

    Args:
        evidence: Of the predecessor's death, if it died inside an operator.
        max_deaths: On one offset, before its record is given up.
        by_range: Count deaths on the whole range: an operator mixes rows and cannot be given one.
        together: How many records the operators work on at once.
    """

    def __init__(
        self,
        evidence: Evidence | None,
        *,
        max_deaths: int,
        by_range: bool = False,
        together: int = 1,
    ) -> None:
        self._evidence = evidence
        self._ranges = dict(evidence.ranges) if evidence else {}
        self._max_deaths = max_deaths
        self._by_range = by_range
        self._together = together
        self._suspects: dict[Partition, Suspect] = {}
        self._unnoted: set[Partition] = set()

    def __bool__(self) -> bool:
        """Whether the worker must be careful now."""
        return bool(self._suspects)

    @property
    def evidence_is_noted(self) -> bool:
        """Whether partitions of the evidence have come, and the notes on them are committed."""
        if self._evidence is None or not self._evidence.ranges:
            return True
        return len(self._ranges) < len(self._evidence.ranges) and not self._unnoted

    def consider(self, arrivals: Mapping[Partition, Arrival]) -> dict[Partition, tuple[int, str]]:
        """Take in newly assigned partitions.

        Returns:
            Offsets, unchanged, and notes that must be committed before any of them is run.
        """
        notes: dict[Partition, tuple[int, str]] = {}
        for partition, arrival in arrivals.items():
            noted = Suspect.from_note(arrival.note)
            if noted is not None and noted.next <= arrival.offset:
                noted = None
            suspect = self._with_evidence(partition, arrival.offset, noted)
            if suspect is None and partition in self._unnoted:
                suspect = self._suspects.get(partition)  # the client went before the note was made
            if suspect is None or suspect.next <= arrival.offset:
                continue
            self._suspects[partition] = suspect
            if suspect != noted:
                notes[partition] = (arrival.offset, suspect.note())
        self._unnoted |= notes.keys()
        return notes

    def noted(self, progress: Offsets) -> None:
        """Notes were committed beside these offsets."""
        self._unnoted -= progress.keys()

    def _with_evidence(
        self, partition: Partition, at: int, noted: Suspect | None
    ) -> Suspect | None:
        first, following = self._ranges.pop(partition, (0, 0))
        if self._evidence is None or at >= following:
            return noted  # the death was elsewhere, or its range has been settled since
        reason, condition = self._evidence.reason, self._evidence.condition
        hand = self._evidence.in_hand
        if self._by_range:
            deaths = 1 + (noted.deaths if noted else 0)
            return Suspect(max(at, first), following, None, deaths, reason, condition)
        if hand is None or hand[0] != partition or hand[1] < at:
            if noted is not None and noted.offset is not None:
                return noted  # a count is worth more than a narrower range
            return Suspect(max(at, first), following, None, 0, reason, condition)
        again = noted is not None and noted.offset == hand[1]
        deaths = noted.deaths + 1 if noted is not None and again else 1
        following = max(following, noted.next if noted else 0)
        return Suspect(at, following, hand[1], deaths, reason, condition)

    def company(self, record: SourceRecord) -> int:
        """With how many records, itself included, this one may be run."""
        suspect = self._suspects.get(partition_of(record))
        if suspect is None or self._by_range:
            return ANY
        if not suspect.first <= offset_of(record) < suspect.next:
            return ANY
        narrow = suspect.offset is not None or suspect.next - suspect.first <= self._together
        return 1 if narrow else self._together

    def condemned(self, record: SourceRecord) -> Suspect | None:
        """The suspect, if this record has killed enough workers."""
        suspect = self._suspects.get(partition_of(record))
        if suspect is None or suspect.deaths < self._max_deaths:
            return None
        offset = offset_of(record)
        guilty = (
            suspect.first <= offset < suspect.next if self._by_range else offset == suspect.offset
        )
        return suspect if guilty else None

    def committed(self, progress: Offsets) -> None:
        """Progress was committed: ranges that lie behind it are no longer suspect."""
        for partition, suspect in list(self._suspects.items()):
            if progress.get(partition, -1) >= suspect.next:
                del self._suspects[partition]

    def notes(self, progress: Offsets) -> dict[Partition, str]:
        """Notes to commit along with this progress, so that the suspicion outlives the worker."""
        return {
            partition: suspect.note()
            for partition, suspect in self._suspects.items()
            if partition in progress and progress[partition] < suspect.next
        }

    def forget(self, partitions: frozenset[Partition]) -> None:
        """These partitions left; their next owner reads the notes."""
        self._unnoted -= partitions
        for partition in partitions:
            self._suspects.pop(partition, None)
