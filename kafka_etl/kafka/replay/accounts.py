"""The order of a replay, and the statuses that move with its offsets."""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from time import time_ns
from typing import Final

from kafka_etl.contracts import ClientSettings, OutcomeUnknown
from kafka_etl.dead_letters import Place
from kafka_etl.dead_letters.statuses import (
    Claim,
    LetterStatus,
    Status,
    Statuses,
    claims_of,
    key_of,
    status_record,
    status_topic,
)
from kafka_etl.errors import BrokersUnreachable, StatusesTaken
from kafka_etl.kafka.cluster.topics import read
from kafka_etl.kafka.settings import ReplaySettings
from kafka_etl.record import Offsets, Partition

RELEASED: Final = 2**52
"""What a release adds to an offset: the claims from there on are open again.

The mark is in the offset, because a store moves the offset in one step, which refuses the next
commit of a replay that still runs, and what the mark tells is known after any crash.
"""


class ReplayAccounts:
    """The claims of one replay, and what became of them; see `kafka_etl.contracts.Accounts`.

    The records of one partition are replayed in the order of their offsets, so that one offset says
    how far the replay is there. Of several letters of one record the newest is replayed, and all of
    them count as replayed.

    Args:
        settings: The dead-letter topic, the action and its run.
        reader: Settings of consumers, for the status topic.

    Attributes:
        order: One claim for each record, in the order of the replay.
    """

    def __init__(self, settings: ReplaySettings, reader: ClientSettings) -> None:
        self._letters = settings.topic
        self._action = settings.action
        self._run = settings.run
        self._reader = reader
        self._claims: dict[Partition, list[Claim]] = {}
        self._at: dict[Partition, int] = {}
        self._left_open: set[Place] = set()
        self._owed: set[Place] = set()
        self._paying: set[Place] = set()
        self.order: list[Claim] = []

    @property
    def topic(self) -> str:
        """Name of the status topic."""
        return status_topic(self._letters)

    def taken_over(self) -> None:
        """See `kafka_etl.contracts.Accounts`; the action must still be this run's."""
        try:
            account = self._statuses().actions.get(self._action)
        except BrokersUnreachable as away:
            raise OutcomeUnknown(away.what, halve=False) from away
        if account is None or account.run != self._run:
            raise StatusesTaken(
                f"replay {self._action} goes on elsewhere, or its letters were given back",
                f"See `kafka-etl dlq actions {self._letters}`.",
            )

    def read(self) -> None:
        """Begin with the claims that are left.

        Raises:
            BrokersUnreachable: No broker answers.
        """
        self.load(claims_of(self._statuses(), self._action, self._letters))

    def _statuses(self) -> Statuses:
        statuses = Statuses()
        statuses.take_in(read(self._reader, self.topic))
        return statuses

    def load(self, claims: Iterable[Claim]) -> None:
        """Begin with these claims: those that are not replayed yet."""
        by_partition: dict[Partition, list[Claim]] = defaultdict(list)
        for claim in claims:
            by_partition[partition_of_claim(claim)].append(claim)
        for found in by_partition.values():
            found.sort(key=lambda claim: (claim.record.offset, claim.letter))
        self._claims = dict(by_partition)
        self._at = dict.fromkeys(by_partition, 0)
        self._left_open = set()
        self._owed = set()
        newest = [_newest(found) for found in by_partition.values()]
        # Letters are nearly in the order of their records: the merge reads the topic once, about.
        self.order = list(heapq.merge(*newest, key=attrgetter("letter")))

    def begins(self) -> dict[Partition, int]:
        """The first offset of each partition that is to be replayed."""
        return {tp: found[0].record.offset for tp, found in self._claims.items()}

    def ends(self) -> dict[Partition, int]:
        """The offset after the last one to be replayed."""
        return {tp: found[-1].record.offset + 1 for tp, found in self._claims.items()}

    @property
    def is_done(self) -> bool:
        """Whether the status of each claim is durable."""
        return all(self._at[tp] == len(found) for tp, found in self._claims.items())

    def leave_open(self, record: Place) -> None:
        """The record is not replayed: the status of its letters becomes open again."""
        self._left_open.add(record)
        self._owed.add(record)

    @property
    def owes(self) -> bool:
        """See `kafka_etl.contracts.Accounts`; a store's offset does not tell what is left open."""
        return bool(self._owed)

    def due(self, progress: Offsets) -> Sequence[tuple[bytes, bytes | None]]:
        """See `kafka_etl.contracts.Accounts`."""
        replayed = Status(LetterStatus.REPLAYED, time_ns() // 1_000_000, self._action)
        self._paying = set(self._owed)
        changes: list[tuple[bytes, bytes | None]] = [
            _opened(claim) for record in self._paying for claim in self._of(record)
        ]
        for tp, offset in progress.items():
            found = self._claims.get(tp, ())
            replayed_to = offset - RELEASED if offset >= RELEASED else offset
            for claim in found[self._at.get(tp, 0) : self._before(tp, offset)]:
                if claim.record in self._left_open:
                    continue
                if claim.record.offset >= replayed_to:
                    changes.append(_opened(claim))
                else:
                    changes.append(status_record(claim.letter, replayed))
        return changes

    def written(self, progress: Offsets) -> None:
        """See `kafka_etl.contracts.Accounts`."""
        self._owed -= self._paying
        for tp, offset in progress.items():
            if tp in self._at:
                self._at[tp] = self._before(tp, offset)

    def _before(self, tp: Partition, offset: int) -> int:
        """Number of the partition's claims before an offset, but not less than are written."""
        found, at = self._claims.get(tp, []), self._at.get(tp, 0)
        while at < len(found) and found[at].record.offset < offset:
            at += 1
        return at

    def _of(self, record: Place) -> Sequence[Claim]:
        """The claims of one record."""
        found = self._claims.get(Partition(record.topic, record.partition), [])
        begin = bisect_left(found, record.offset, key=_offset)
        return found[begin : bisect_right(found, record.offset, key=_offset)]


def partition_of_claim(claim: Claim) -> Partition:
    """The partition of the record that failed."""
    return Partition(claim.record.topic, claim.record.partition)


def _offset(claim: Claim) -> int:
    return claim.record.offset


def _opened(claim: Claim) -> tuple[bytes, None]:
    """A status that was taken back: the letter is open."""
    return key_of(claim.letter), None


def _newest(claims: Sequence[Claim]) -> list[Claim]:
    """The newest letter of each record, in the order of offsets."""
    return list({claim.record.offset: claim for claim in claims}.values())
