"""What became of each dead letter: records of a compacted topic beside the letters.

The topic `LETTERS.status` has one partition, so all changes have one order. A record with the key
`PARTITION/OFFSET` is the status of the dead letter there; a letter without one is open. A record
with the key `action/ID` is the account of one bulk action: who, why, which filter, how far.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from kafka_etl.dead_letters.letter import Place
from kafka_etl.record import SourceRecord, offset_of, partition_of

SUFFIX: Final = ".status"
_ACTION: Final = b"action/"
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")
_LONGEST: Final = 249
"""Characters of the longest name of a topic that Kafka takes."""


class LetterStatus(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYING = "replaying"
    REPLAYED = "replayed"
    DROPPED = "dropped"


class ActionState(StrEnum):
    """How far a bulk action is."""

    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"


class LetterPlace(NamedTuple):
    """Place of a dead letter in its topic."""

    partition: int
    offset: int

    @classmethod
    def of(cls, record: SourceRecord) -> LetterPlace:
        """The place of a record of the dead-letter topic."""
        return cls(partition_of(record).number, offset_of(record))

    def __str__(self) -> str:
        return f"{self.partition}/{self.offset}"


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """The status of one dead letter.

    Attributes:
        at_ms: Time of the change, in milliseconds since the epoch.
        action: Id of the bulk action that made the change.
        source: Where the record is that failed: topic, partition and offset; None: unknown.
        value: The corrected value that the action replays; None: the letter's own.
    """

    status: LetterStatus
    at_ms: int
    action: str = ""
    source: tuple[str, int, int] | None = None
    value: bytes | None = None


class BulkAction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The account of one bulk action, which is also its audit record.

    Attributes:
        kind: `replay` or `drop`.
        actor: `USER@HOST` of whoever gave the command.
        reason: Why, in the words of the actor.
        where: The selection, in words.
        count: Number of dead letters that were selected.
        plan: Digest of the selection that was previewed.
        run: Id of the latest run of the replay: earlier ones must not move its letters any more.
        pipeline: Name of the pipeline that replays; empty: none.
        to: Where records are replayed to: `pipeline`, or a topic.
        transform: Operators before those of the pipeline.
        reset: Whether records that go to a topic lose the history of their failures.
        replayed: Number of dead letters that were replayed so far.
        failed: Number of these that failed again.
    """

    id: str
    kind: str
    state: ActionState
    begun_ms: int
    actor: str
    reason: str
    where: str
    count: int
    plan: str
    run: str = ""
    pipeline: str = ""
    to: str = "pipeline"
    transform: tuple[str, ...] = ()
    reset: bool = False
    ended_ms: int = 0
    replayed: int = 0
    failed: int = 0

    @property
    def instance(self) -> str:
        """The instance that the daemon of a replay runs as."""
        return f"replay-{self.id}"


class Statuses:
    """All statuses and bulk actions of one dead-letter topic, as its status topic tells them."""

    def __init__(self) -> None:
        self.letters: dict[LetterPlace, Status] = {}
        self.actions: dict[str, BulkAction] = {}

    def take_in(self, records: Iterable[SourceRecord]) -> None:
        """Take in records of the status topic, in their order; foreign records are ignored."""
        for record in records:
            self._take_in(record.key(), record.value())

    def _take_in(self, key: bytes | None, value: bytes | None) -> None:
        if key is None:
            return
        if value is None:
            if (place := place_from(key)) is not None:
                self.letters.pop(place, None)
            return
        try:
            if key.startswith(_ACTION):
                action = _action_from(value)
                self.actions[action.id] = action
            elif (place := place_from(key)) is not None:
                self.letters[place] = _status_from(value)
        except msgspec.MsgspecError:
            return

    def of(self, place: LetterPlace) -> LetterStatus:
        """The status of a dead letter."""
        known = self.letters.get(place)
        return LetterStatus.OPEN if known is None else known.status

    def claimed(self, action: str) -> dict[LetterPlace, Status]:
        """The dead letters that the action is still to replay."""
        return {
            place: status
            for place, status in self.letters.items()
            if status.status is LetterStatus.REPLAYING and status.action == action
        }


class Claim(NamedTuple):
    """One dead letter that an action is to replay.

    Attributes:
        letter: Place of the letter.
        record: Where the record was; for an unknown or lost source, where the letter is.
        value: The corrected value; None: the letter's own.
    """

    letter: LetterPlace
    record: Place
    value: bytes | None


def claims_of(statuses: Statuses, action: str, letters: str) -> list[Claim]:
    """The dead letters of the topic `letters` that an action is still to replay."""
    return [
        Claim(
            place,
            Place(letters, *place) if status.source is None else Place(*status.source),
            status.value,
        )
        for place, status in statuses.claimed(action).items()
    ]


def status_topic(letters: str) -> str:
    """Name of the status topic of a dead-letter topic."""
    return letters[: _LONGEST - len(SUFFIX)] + SUFFIX


def key_of(place: LetterPlace) -> bytes:
    return str(place).encode()


def place_from(key: bytes) -> LetterPlace | None:
    """The place in a key of a status; None: the key is none."""
    partition, slash, offset = key.partition(b"/")
    if not (slash and _NUMBER.fullmatch(partition) and _NUMBER.fullmatch(offset)):
        return None
    return LetterPlace(int(partition), int(offset))


def status_record(place: LetterPlace, status: Status) -> tuple[bytes, bytes]:
    """Key and value of a status."""
    return key_of(place), _encode(status)


def action_record(action: BulkAction) -> tuple[bytes, bytes]:
    """Key and value of a bulk action."""
    return _ACTION + action.id.encode(), _encode(action)


def _encode(what: Any) -> bytes:
    return msgspec.json.encode(what)


_status_from: Final = msgspec.json.Decoder(Status).decode
_action_from: Final = msgspec.json.Decoder(BulkAction).decode
