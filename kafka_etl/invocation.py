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
from typing import Any, Final, NamedTuple

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
    """Outputs in columns of equal length, in the order of their origins.

    Attributes:
        values: Encoded values; None is a tombstone. For a table sink: tuples in the order of the
            table's columns; empty while `table` is set.
        table: The values of a table sink as an Arrow table; None: in `values`.
        keys: Keys, with which the sink chooses the partition.
        headers: None when no output has any.
        timestamps: Milliseconds; None for the sink's own.
        topics: Where outputs go, such as a topic; None when all go to the sink's own place; an
            entry of None likewise.
        partitions: Partitions of a Kafka topic, -1: by the key; None when all are.
        origins: Index of the source record in its slice, or SHARED; None: output i is of record i.
        size: Bytes of the values.
    """

    values: list[Any] = field(default_factory=list[Any])
    keys: list[Any] = field(default_factory=list[Any])
    headers: list[Headers | None] | None = None
    timestamps: list[int] | None = None
    topics: list[str | None] | None = None
    partitions: list[int] | None = None
    origins: list[int] | None = None
    size: int = 0
    table: Any = None

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, positions: Sequence[int]) -> Outputs:
        """The outputs at these positions, in this order."""

        def pick(column: list[Any] | None) -> list[Any] | None:
            return None if column is None else [column[p] for p in positions]

        values = [] if self.table is not None else [self.values[p] for p in positions]
        return Outputs(
            values=values,
            keys=[self.keys[p] for p in positions],
            headers=pick(self.headers),
            timestamps=pick(self.timestamps),
            topics=pick(self.topics),
            partitions=pick(self.partitions),
            origins=list(positions) if self.origins is None else pick(self.origins),
            size=_size_of(values) or self.size * len(positions) // max(1, len(self)),
            table=None if self.table is None else self.table.take(list(positions)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """The parts one after the other. Origins are left out: they are those of a slice."""
        if len(parts) == 1:
            return parts[0]
        tables = [part.table for part in parts if len(part)]
        table = None
        if tables and all(table is not None for table in tables):
            table = tables[0] if len(tables) == 1 else _concatenated(tables)
        values = (
            [] if table is not None else list(chain.from_iterable(_tuples(part) for part in parts))
        )

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
            values=values,
            table=table,
            keys=list(chain.from_iterable(part.keys for part in parts)),
            headers=column("headers", None),
            timestamps=column("timestamps", 0),
            topics=column("topics", None),
            partitions=column("partitions", -1),
            size=sum(part.size for part in parts),
        )


def _size_of(values: list[Any]) -> int:
    """Bytes of encoded values; 0 for rows of a table, whose size is an estimate."""
    return sum(len(v) for v in values if isinstance(v, bytes))


def _concatenated(tables: list[Any]) -> Any:
    from pyarrow import concat_tables  # noqa: PLC0415 - an extra, which has made the tables

    return concat_tables(tables)


def _tuples(part: Outputs) -> list[Any]:
    """The values of a part; a part with a table is turned into tuples beside parts without."""
    if part.table is None:
        return part.values
    return list(zip(*(column.to_pylist() for column in part.table.columns), strict=True))


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


@dataclass(frozen=True, slots=True)
class Refused:
    """Verdict of a sink: the target will never take this row, which becomes a dead letter.

    Attributes:
        code: The target's own name for the refusal, such as `400` or `23514`.
        message: The target's words.
        too_large: Whether the row's size is the reason.
    """

    code: str
    message: str
    too_large: bool = False


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that failed for good, with everything about the invocation that failed.

    Attributes:
        delivered: Outputs of the record, counted from 0, that the sink's target has taken all the
            same: it cannot take a part back.
        others: Further records that failed as one with this one: an output of all of them did.
    """

    record: SourceRecord
    failure: Failure
    invocation_id: str
    at_ms: int
    delivered: tuple[int, ...] = ()
    others: tuple[SourceRecord, ...] = ()


class Tenure(NamedTuple):
    """The worker's hold on its partitions at a moment during a commit.

    Attributes:
        lease: The source's proof of membership.
        departed: Partitions that left since the commit began: nothing of them may be committed.
    """

    lease: object
    departed: frozenset[Partition] = frozenset()


@dataclass(frozen=True, slots=True)
class Settlement:
    """Outputs, dead letters and progress that become durable together or not at all.

    Attributes:
        begins: Partition of `progress` -> the offset at which the settlement begins there.
        records: The source records of the settlement, to which the outputs' origins point.
        slices: Number of records of each slice. In a settlement of several slices, an origin below
            0 is an output of all records of a slice: -1 of the first slice, -2 of the second.
        lease: The source's proof of membership when the commit began.
        tenure: Tells the present proof, and which partitions have left since; any thread may ask.
        notes: Partition -> text beside the partition's offset, for the next owner.
        invocation_id: Name of the first slice.
        lettered: Dead letters, from the first, that the settlement had before the sink refused some
            of its outputs. Whoever writes dead letters ahead of the commit has written these.
    """

    outputs: Outputs
    dead_letters: tuple[DeadLetter, ...]
    progress: Offsets
    lease: object = None
    notes: Mapping[Partition, str] = field(default_factory=dict[Partition, str])
    begins: Offsets = field(default_factory=dict[Partition, int])
    records: Sequence[SourceRecord] = ()
    slices: tuple[int, ...] = ()
    tenure: Callable[[], Tenure] | None = None
    invocation_id: str = ""
    lettered: int = 0

    @classmethod
    def joined(cls, parts: Sequence[Settlement]) -> Settlement:
        """Settlements of consecutive slices as one; the newest progress and lease count."""
        progress: dict[Partition, int] = {}
        begins: dict[Partition, int] = {}
        for part in parts:
            progress.update(part.progress)
            begins = {**part.begins, **begins}
        outputs = Outputs.joined([part.outputs for part in parts])
        if len(parts) > 1:
            outputs.origins = _joined_origins(parts)
        records = parts[0].records
        if len(parts) > 1:
            records = list(chain.from_iterable(part.records for part in parts))
        return cls(
            outputs=outputs,
            dead_letters=tuple(chain.from_iterable(part.dead_letters for part in parts)),
            progress=progress,
            lease=parts[-1].lease,
            begins=begins,
            records=records,
            slices=tuple(len(part.records) for part in parts),
            invocation_id=parts[0].invocation_id,
        )

    def sources(self) -> list[SourceRecord | None]:
        """The source record of each output; None where an output belongs to many records."""
        origins, records = self.outputs.origins, self.records
        if origins is None:
            return list(records)
        return [None if origin < 0 else records[origin] for origin in origins]

    def new_letters(self) -> tuple[DeadLetter, ...]:
        """The dead letters to write ahead of the commit, each once for a commit."""
        return self.dead_letters[self.lettered :]

    def held(self) -> Tenure:
        """The worker's present hold on its partitions."""
        return Tenure(self.lease) if self.tenure is None else self.tenure()


def _joined_origins(parts: Sequence[Settlement]) -> list[int] | None:
    """Origins in the joined records; None: one output of each record, in order."""
    if all(part.outputs.origins is None for part in parts):
        return None
    origins: list[int] = []
    first = 0
    for number, part in enumerate(parts):
        given = part.outputs.origins
        own: Sequence[int] = range(len(part.outputs)) if given is None else given
        origins += [SHARED - number if one == SHARED else first + one for one in own]
        first += len(part.records)
    return origins


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
