"""Values between the engine, the settling of outcomes, and the sink.

An `Invocation` is one slice of a batch that is given to the operators, an `Outcome` is the result,
and a `Settlement` is the part that the sink makes durable as one act. Calling user code, judging
the outcome and acting on the judgement happen in three places (engine, settle, sink). C
constructors make the objects of failed records, ten times as fast as those of a dataclass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, repeat
from types import TracebackType
from typing import Any, Final

import msgspec

from kafka_etl.record import Batch, Headers, Offsets, Partition, SourceRecord

_MOST_TEXT: Final = 20_000
"""Characters of an error's own text that a dead letter holds."""
_SHORT_TEXT: Final = 2_000
_MOST_NAME: Final = 500
_MOST_FRAMES: Final = 100
_MOST_FRAME: Final = 1_000

CAUSE: Final[Any] = BaseException.__cause__
CONTEXT: Final[Any] = BaseException.__context__
SUPPRESSED: Final[Any] = BaseException.__suppress_context__
TRACEBACK: Final[Any] = BaseException.__traceback__
"""The interpreter's own attributes: a class of a user may have properties under these names."""

_QUALNAME: Final[Callable[[type], str]] = type.__dict__["__qualname__"].__get__
_MODULE: Final[Callable[[type], Any]] = type.__dict__["__module__"].__get__

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
        """Describe `error` in bounded size; never raises, whatever the error's class does."""
        elsewhere = CAUSE.__get__(error)
        if type(elsewhere) is Elsewhere:
            return elsewhere.info
        return cls(
            type=type_name(error),
            message=_text_of(error),
            traceback=_format(TRACEBACK.__get__(error)),
            causes=tuple(described(cause, _SHORT_TEXT) for cause in _causes(error)),
        )


class Elsewhere(Exception):
    """The cause of an error from another process: the description made in that process."""

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
        index: Position of the record in its slice.
        condition: The reason of the failure.
        error: The error, as text.
        operator: Name of the operator that failed; empty: no operator failed.
        attempts: The attempts that ended with an error.
        deaths: Further attempts, each of which ended with the death of the process.
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
    """The result of an invocation: each of its records is in the outputs, dropped, or failed."""

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
        lease: The source's proof of membership, which the sink commits with the offsets.
        notes: Partition -> text beside the partition's offset, for the next owner.
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
    name = _QUALNAME(cls)
    try:
        module = _MODULE(cls)
    except AttributeError:  # the class has taken it away
        module = ""
    if type(module) is str and module not in {"", "builtins"}:
        name = f"{module}.{name}"
    return printable(_cut(name, _MOST_NAME))


def described(error: BaseException, limit: int = _MOST_TEXT) -> str:
    """Class and text of an error, in at most about so many characters; never raises."""
    return f"{type_name(error)}: {_cut(_text_of(error), limit)}"


def printable(text: str) -> str:
    """`text` as valid UTF-8: a lone surrogate in a message must not poison the dead letter."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _cut(text: str, limit: int) -> str:
    """The start of the text; `text` may be of a subclass of `str` whose methods are user code."""
    text = str.__str__(text)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def _text_of(error: BaseException) -> str:
    try:
        text = printable(_cut(str(error), _MOST_TEXT))
    except BaseException as broken:  # noqa: BLE001 - __str__ is user code like any other
        return f"<__str__ raised {type_name(broken)}>"
    if type(error) is KeyError and text:
        return f"{text} is not there"
    return text or f"{type_name(error).rpartition('.')[2]} without a text"


def _causes(error: BaseException, limit: int = 5) -> Iterator[BaseException]:
    seen = {id(error)}
    cause = _cause(error)
    while cause is not None and id(cause) not in seen and limit:
        yield cause
        seen.add(id(cause))
        limit -= 1
        cause = _cause(cause)


def _cause(error: BaseException) -> BaseException | None:
    """The cause that a traceback would show: `raise … from None` hides the context."""
    shown = CAUSE if SUPPRESSED.__get__(error) else CONTEXT
    cause: BaseException | None = shown.__get__(error)
    return cause


def _format(tb: TracebackType | None) -> str:
    """The frames of user code, one a line.

    `traceback.format_tb` costs many times as much, because it reads source files: one bad record
    in a hundred must not slow down the others. Of a deep recursion the begin and the end remain.
    """
    first: list[str] = []
    last: deque[str] = deque(maxlen=_MOST_FRAMES // 2)
    count = 0
    while tb is not None:
        if not _is_ours(tb):
            line = _frame(tb)
            (first if count < _MOST_FRAMES // 2 else last).append(line)
            count += 1
        tb = tb.tb_next
    left_out = count - len(first) - len(last)
    between = [f"  … {left_out:,} more frames"] if left_out else []
    return printable("\n".join([*first, *between, *last]))


def _is_ours(tb: TracebackType) -> bool:
    names: dict[str, Any] = tb.tb_frame.f_globals
    package: Any = names.get("__package__")
    return type(package) is str and package.startswith("kafka_etl.engine")


def _frame(tb: TracebackType) -> str:
    code = tb.tb_frame.f_code
    line = f'  File "{code.co_filename}", line {tb.tb_lineno}, in {code.co_name}'
    return _cut(line, _MOST_FRAME)
