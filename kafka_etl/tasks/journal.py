"""The records of a pipeline's journal: keys by kind, and the mark of how far an owner has read.

A key is one byte for the kind, followed by the task's id; a tombstone forgets what is under its
key. Two kinds belong to no task: the mark, one in each partition, and `meta`, in partition 0.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from kafka_etl.tasks.placing import Order

FORMAT: Final = 1
"""The format that this release writes."""


class Kind(Enum):
    """What a record of the journal holds, by the first byte of its key.

    `HEAD` is the present state of a task, `PROGRESS` how far its attempt is, `INPUT` an input that
    outlives the inbox, and `RESULT` the rows of a result that are still to be delivered.
    """

    HEAD = b"t"
    PROGRESS = b"p"
    INPUT = b"i"
    RESULT = b"r"
    MARK = b"a"
    META = b"meta"


class JournalKey(NamedTuple):
    """A key of the journal.

    Attributes:
        task: Id of the task; empty: the record belongs to no task.
    """

    kind: Kind
    task: str = ""


def head_key(task: str) -> bytes:
    """Key of a task's head."""
    return Kind.HEAD.value + task.encode()


def progress_key(task: str) -> bytes:
    """Key of how far a task's attempt is."""
    return Kind.PROGRESS.value + task.encode()


def input_key(task: str) -> bytes:
    """Key of a task's input that outlives the inbox."""
    return Kind.INPUT.value + task.encode()


def result_key(task: str) -> bytes:
    """Key of a task's result that is still to be delivered."""
    return Kind.RESULT.value + task.encode()


def mark_key() -> bytes:
    """Key of the mark; each partition has its own record under it."""
    return Kind.MARK.value


def meta_key() -> bytes:
    """Key of what is fixed for the life of the pipeline; its record is in partition 0."""
    return Kind.META.value


_OF_NO_TASK: Final = {kind.value: JournalKey(kind) for kind in (Kind.MARK, Kind.META)}
_OF_TASKS: Final = {
    kind.value: kind for kind in (Kind.HEAD, Kind.PROGRESS, Kind.INPUT, Kind.RESULT)
}


def parse_key(key: bytes | None) -> JournalKey | None:
    """The parts of a key; None: no key that this release knows."""
    if key is None:
        return None
    if key in _OF_NO_TASK:
        return _OF_NO_TASK[key]
    kind = _OF_TASKS.get(key[:1])
    if kind is None or len(key) == 1:
        return None
    try:
        return JournalKey(kind, key[1:].decode())
    except UnicodeDecodeError:
        return None


class BadMark(ValueError):
    """A record of the journal is no mark, or no `meta`, that this release can read."""


class Mark(msgspec.Struct, frozen=True):
    """How far an owner has read a partition of the inbox; each of its commits writes the mark anew.

    Attributes:
        inbox: The next offset of the inbox: all words before it have been taken.
        n: Number of the commit, which counts up from 1.
        writer: The owner that has committed.
        at_ms: When, by the owner's clock, in milliseconds since the epoch.
        v: Format of the record.
    """

    inbox: int
    n: int
    writer: str
    at_ms: int
    v: int = FORMAT


class Meta(msgspec.Struct, frozen=True):
    """What is fixed for the life of a pipeline's topics: the first record of the journal.

    Attributes:
        partitions: Number of partitions of inbox and journal.
        inbox: Kafka's id of the inbox; empty: the cluster has no such ids. Likewise `journal`.
        created_ms: In milliseconds since the epoch.
        order: Whether keys decide the partitions of tasks, or ids.
        v: Format of the journal.
    """

    partitions: int
    inbox: str
    journal: str
    created_ms: int
    order: Order = "none"
    v: int = FORMAT


class ProgressNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far an attempt is, as the journal has it.

    Attributes:
        token: Id of the attempt.
        fraction: From 0 to 1.
        at_ms: When the owner has heard of it, in milliseconds since the epoch.
    """

    token: str
    fraction: float
    text: str = ""
    at_ms: int = 0


def encode_mark(mark: Mark) -> bytes:
    """A mark as the journal has it."""
    return _encode(mark)


def decode_mark(data: bytes) -> Mark:
    """A mark from the journal.

    Raises:
        BadMark: The data is no mark, or one of a later format.
    """
    try:
        mark = _decode_mark(data)
    except msgspec.MsgspecError as error:
        raise BadMark(f"no mark of an owner: {error}") from error
    if mark.v > FORMAT:
        raise BadMark(f"a mark of format {mark.v}; this release reads up to {FORMAT}")
    return mark


def encode_meta(meta: Meta) -> bytes:
    """`meta` as the journal has it."""
    return _encode(meta)


def decode_meta(data: bytes) -> Meta:
    """`meta` from the journal.

    Raises:
        BadMark: The data is no `meta`, or one of a later format.
    """
    try:
        meta = _decode_meta(data)
    except msgspec.MsgspecError as error:
        raise BadMark(f"no `meta`: {error}") from error
    if meta.v > FORMAT:
        raise BadMark(f"format {meta.v}; this release reads up to {FORMAT}")
    return meta


def encode_progress(note: ProgressNote) -> bytes:
    """A note of progress as the journal has it."""
    return _encode(note)


def decode_progress(data: bytes) -> ProgressNote:
    """A note of progress from the journal.

    Raises:
        msgspec.MsgspecError: The data is no such note.
    """
    return _decode_progress(data)


_encode: Final = msgspec.json.Encoder().encode
_decode_meta: Final = msgspec.json.Decoder(Meta).decode
_decode_mark: Final = msgspec.json.Decoder(Mark).decode
_decode_progress: Final = msgspec.json.Decoder(ProgressNote).decode
