"""What the engine asks of user code, what came of it, and what shall be made durable.

An `Invocation` is one slice of a batch given to the operators, an `Outcome` says what came of
it, a `Settlement` is what the sink must make durable as one act. All are values: calling user
code, judging it and acting on the judgement are three places (engine, settle, sink). What there
is one of for each bad record is made by C constructors, ten times as fast as a dataclass's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, repeat
from types import TracebackType
from typing import Any, Final

import msgspec

from kafka_etl.record import Batch, Headers, Offsets, Partition, SourceRecord

SHARED: Final = -1
"""Origin of an output that belongs to every record of its invocation."""


class Condition(StrEnum):
    """Why a record became a dead letter: a closed list."""

    DECODE_ERROR = "DecodeError"
    OPERATOR_ERROR = "OperatorError"
    TIMEOUT = "Timeout"
    WORKER_CRASHED = "WorkerCrashed"
    ENCODE_ERROR = "EncodeError"
    RECORD_TOO_LARGE = "RecordTooLarge"
    REFUSED = "Refused"
    STOPPED = "Stopped"
    EXPIRED = "Expired"
    INVALID = "Invalid"


class ErrorInfo(msgspec.Struct, frozen=True):
    """An exception as text, safe to encode and to send anywhere."""

    type: str
    message: str
    traceback: str = ""
    causes: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> ErrorInfo:
        """Describe `error`; never raises, whatever its class does in `__str__`."""
        if isinstance(error.__cause__, Elsewhere):
            return error.__cause__.info
        return cls(
            type=type_name(error),
            message=_text_of(error),
            traceback=_format(error.__traceback__),
            causes=tuple(f"{type_name(e)}: {_text_of(e)}" for e in _causes(error)),
        )


class Elsewhere(Exception):
    """The cause of an error that came from another process: what it was there."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(f"{info.type}: {info.message}\n{info.traceback}")
        self.info = info


class Attempt(msgspec.Struct, frozen=True):
    """One try at a record. Times are milliseconds since the epoch."""

    number: int
    started_ms: int
    ended_ms: int
    error: str


class Failure(msgspec.Struct, frozen=True):
    """A record that failed for good.

    Attributes:
        deaths: Further attempts, of which nobody was left to tell.
    """

    index: int
    condition: Condition
    error: ErrorInfo
    operator: str = ""
    attempts: tuple[Attempt, ...] = ()
    deaths: int = 0


@dataclass(slots=True)
class Outputs:
    """Encoded outputs in columns of equal length, in the order of their origins.

    Attributes:
        values: Encoded values; None is a tombstone.
        keys: Keys, with which the sink chooses the partition.
        headers: None when no output has any.
        timestamps: Milliseconds; None for the sink's own.
        topics: None when all go to the sink's topic; an entry of None likewise.
        origins: Index of the source record in its slice or SHARED; None: output i is of record i.
        size: Bytes of the values.
    """

    values: list[bytes | None] = field(default_factory=list[bytes | None])
    keys: list[bytes | None] = field(default_factory=list[bytes | None])
    headers: list[Headers | None] | None = None
    timestamps: list[int] | None = None
    topics: list[str | None] | None = None
    origins: list[int] | None = None
    size: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def take(self, positions: Sequence[int]) -> Outputs:
        """The outputs at these positions, in this order."""

        def pick(column: list[Any] | None) -> list[Any] | None:
            return None if column is None else [column[p] for p in positions]

        values = [self.values[p] for p in positions]
        return Outputs(
            values=values,
            keys=[self.keys[p] for p in positions],
            headers=pick(self.headers),
            timestamps=pick(self.timestamps),
            topics=pick(self.topics),
            origins=list(positions) if self.origins is None else pick(self.origins),
            size=sum(len(v) for v in values if v is not None),
        )

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """The parts one after the other. Origins are left out: they are those of a slice."""
        if len(parts) == 1:
            return parts[0]

        def column(name: str, missing: Any) -> list[Any] | None:
            columns = [getattr(part, name) for part in parts]
            if all(c is None for c in columns):
                return None
            filled = (
                repeat(missing, len(part)) if c is None else c
                for part, c in zip(parts, columns, strict=True)
            )
            return list(chain.from_iterable(filled))

        return cls(
            values=list(chain.from_iterable(part.values for part in parts)),
            keys=list(chain.from_iterable(part.keys for part in parts)),
            headers=column("headers", None),
            timestamps=column("timestamps", 0),
            topics=column("topics", None),
            size=sum(part.size for part in parts),
        )


@dataclass(frozen=True, slots=True)
class Invocation:
    """One slice given to the operators."""

    id: str
    batch: Batch
    started_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an invocation: each of its records is in the outputs, dropped, or failed."""

    outputs: Outputs
    failed: tuple[Failure, ...] = ()
    dropped: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that failed for good, with everything about the invocation that failed."""

    record: SourceRecord
    failure: Failure
    invocation_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """Outputs, dead letters and progress that become durable together or not at all.

    Attributes:
        lease: The source's proof of membership, handed back to it through the sink.
        notes: A line to keep beside a partition's offset, for its next owner.
    """

    outputs: Outputs
    dead_letters: tuple[DeadLetter, ...]
    progress: Offsets
    lease: object = None
    notes: Mapping[Partition, str] = field(default_factory=dict[Partition, str])

    @classmethod
    def joined(cls, parts: Sequence[Settlement]) -> Settlement:
        """Settlements of consecutive slices as one; the newest progress and lease count."""
        progress: dict[Partition, int] = {}
        for part in parts:
            progress.update(part.progress)
        return cls(
            outputs=Outputs.joined([part.outputs for part in parts]),
            dead_letters=tuple(chain.from_iterable(part.dead_letters for part in parts)),
            progress=progress,
            lease=parts[-1].lease,
        )


def type_name(error: BaseException) -> str:
    """The class with its module, as a reader would write it: `ValueError`, `shop.ops.NoStock`."""
    cls = type(error)
    name = cls.__qualname__
    return printable(name if cls.__module__ == "builtins" else f"{cls.__module__}.{name}")


def printable(text: str) -> str:
    """`text` as valid UTF-8: a lone surrogate in a message must not poison the dead letter."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _text_of(error: BaseException) -> str:
    try:
        text = printable(str(error))
    except BaseException as broken:  # noqa: BLE001 - __str__ is user code like any other
        return f"<__str__ raised {type_name(broken)}>"
    if type(error) is KeyError and text:
        return f"{text} is not there"
    return text or f"{printable(type(error).__name__)} without a text"


def _causes(error: BaseException, limit: int = 5) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = _cause(error)
    while cause is not None and id(cause) not in seen and limit:
        yield cause
        seen.add(id(cause))
        limit -= 1
        cause = _cause(cause)


def _cause(error: BaseException) -> BaseException | None:
    """As a traceback would show it: `raise … from None` hides what was before."""
    return error.__cause__ if error.__suppress_context__ else error.__context__


def _format(tb: TracebackType | None) -> str:
    """The frames of user code, one a line.

    `traceback.format_tb` costs many times as much, because it reads source files: one bad record
    in a hundred must not slow down the others.
    """
    lines: list[str] = []
    while tb is not None:
        code = tb.tb_frame.f_code
        if not str(tb.tb_frame.f_globals.get("__package__")).startswith("kafka_etl.engine"):
            lines.append(f'  File "{code.co_filename}", line {tb.tb_lineno}, in {code.co_name}')
        tb = tb.tb_next
    return printable("\n".join(lines))
