"""Careful mode: which record killed the worker, and how often.

A worker that dies inside an operator leaves the offsets in hand in its flight recorder. The
worker's successor runs this range of offsets record by record. Where operators work on several
records at once, the successor first runs that many together, and one by one only the records of a
range that kills the worker again.

Before any of these records is run, the suspicion and the count of deaths are committed as a note
beside the *unchanged* offset of the partition. The note is therefore protected by fencing, survives
every process, and follows the partition to its next owner.
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
"""Stands for: any number of records may be run together."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The recorded state of a worker that died inside an operator.

    Attributes:
        ranges: Partition -> first and next offset of the slice in hand.
        in_hand: Partition and offset of a record that was run alone; None: several records were in
            hand, and any record of `ranges` may be to blame.
        reason: How the worker died, as a text.
        condition: WORKER_CRASHED, or TIMEOUT when the daemon killed a worker that stood still.
    """

    ranges: Mapping[Partition, tuple[int, int]]
    in_hand: tuple[Partition, int] | None
    reason: str
    condition: Condition = CRASHED


@dataclass(frozen=True, slots=True)
class Suspect:
    """A range of offsets of one partition in which a record kills workers.

    Attributes:
        first: First offset of the range.
        next: Offset after the range.
        offset: Offset of the record that killed a worker; None: any record of the range may have.
        deaths: Deaths counted on `offset`, or on the whole range where `offset` is None.
        reason: How the last worker died, as a text.
        condition: Condition of the dead letter that the record may become.
    """

    first: int
    next: int
    offset: int | None = None
    deaths: int = 0
    reason: str = ""
    condition: Condition = CRASHED

    def note(self) -> str:
        """The suspect as a note to commit beside an offset; `from_note` reads the note."""
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
        """The suspect in a note; None: another program committed the offset with its own note.

        A sink that keeps the offsets puts its mark before the note.
        """
        try:
            data = orjson.loads(note[max(0, note.find("{")) :])
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
        evidence: Evidence of the predecessor's death; None: it did not die inside an operator.
        max_deaths: Deaths on one offset after which the record becomes a dead letter.
        by_range: Whether deaths are counted on the whole range: an operator mixes rows, and cannot
            be given one record alone.
        together: Number of records that the operators work on at once.
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
        """Whether the worker must be in careful mode."""
        return bool(self._suspects)

    @property
    def evidence_is_noted(self) -> bool:
        """Whether the evidence is no longer needed.

        True without evidence, and once a partition of the evidence was assigned and every note so
        far is committed. The worker reports the answer to its daemon.
        """
        if self._evidence is None or not self._evidence.ranges:
            return True
        return len(self._ranges) < len(self._evidence.ranges) and not self._unnoted

    def consider(self, arrivals: Mapping[Partition, Arrival]) -> dict[Partition, tuple[int, str]]:
        """Look for suspects in newly assigned partitions, from their notes and the evidence.

        Returns:
            Partition -> its unchanged offset and a note. All must be committed before a record of
            these partitions is run.
        """
        notes: dict[Partition, tuple[int, str]] = {}
        for partition, arrival in arrivals.items():
            noted = Suspect.from_note(arrival.note)
            if noted is not None and noted.next <= arrival.offset:
                noted = None
            suspect = self._with_evidence(partition, arrival.offset, noted)
            if suspect is None and partition in self._unnoted:
                # The partition came back, as with a new client, before its note was committed.
                suspect = self._suspects.get(partition)
            if suspect is None or suspect.next <= arrival.offset:
                continue
            self._suspects[partition] = suspect
            if suspect != noted:
                notes[partition] = (arrival.offset, suspect.note())
        self._unnoted |= notes.keys()
        return notes

    def noted(self, progress: Offsets) -> None:
        """Take in that the notes of these partitions are committed."""
        self._unnoted -= progress.keys()

    def _with_evidence(
        self, partition: Partition, at: int, noted: Suspect | None
    ) -> Suspect | None:
        first, following = self._ranges.pop(partition, (0, 0))
        if self._evidence is None or at >= following:
            return noted  # the worker died in another partition, or the range is settled by now
        reason, condition = self._evidence.reason, self._evidence.condition
        hand = self._evidence.in_hand
        if self._by_range:
            deaths = 1 + (noted.deaths if noted else 0)
            return Suspect(max(at, first), following, None, deaths, reason, condition)
        if hand is None or hand[0] != partition or hand[1] < at:
            if noted is not None and noted.offset is not None:
                return noted  # a count of deaths is worth more than a narrower range
            return Suspect(max(at, first), following, None, 0, reason, condition)
        again = noted is not None and noted.offset == hand[1]
        deaths = noted.deaths + 1 if noted is not None and again else 1
        following = max(following, noted.next if noted else 0)
        return Suspect(at, following, hand[1], deaths, reason, condition)

    def company(self, record: SourceRecord) -> int:
        """How many records, this one included, may be run together: 1, `together` or ANY."""
        suspect = self._suspects.get(partition_of(record))
        if suspect is None or self._by_range:
            return ANY
        if not suspect.first <= offset_of(record) < suspect.next:
            return ANY
        narrow = suspect.offset is not None or suspect.next - suspect.first <= self._together
        return 1 if narrow else self._together

    def condemned(self, record: SourceRecord) -> Suspect | None:
        """The suspect, if the record has reached `max_deaths`; None: the record may be run."""
        suspect = self._suspects.get(partition_of(record))
        if suspect is None or suspect.deaths < self._max_deaths:
            return None
        offset = offset_of(record)
        guilty = (
            suspect.first <= offset < suspect.next if self._by_range else offset == suspect.offset
        )
        return suspect if guilty else None

    def committed(self, progress: Offsets) -> None:
        """Drop the suspects whose ranges end at or before these committed offsets."""
        for partition, suspect in list(self._suspects.items()):
            if progress.get(partition, -1) >= suspect.next:
                del self._suspects[partition]

    def notes(self, progress: Offsets) -> dict[Partition, str]:
        """The notes to commit beside these offsets, so that suspects outlive the worker."""
        return {
            partition: suspect.note()
            for partition, suspect in self._suspects.items()
            if partition in progress and progress[partition] < suspect.next
        }

    def forget(self, partitions: frozenset[Partition]) -> None:
        """Drop the suspects of partitions that left; the next owner reads their notes."""
        self._unnoted -= partitions
        for partition in partitions:
            self._suspects.pop(partition, None)
