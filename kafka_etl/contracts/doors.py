"""The three doors of a sink's author: `Sender`, `Writer` and `Store`.

- `Sender`: one row at a time, async. The framework runs many at once, keeps the order of each key,
  waits and tries again. Enough for HTTP, NATS or AMQP.
- `Writer`: a set of rows at once, blocking. Kafka's offsets follow what was acknowledged.
- `Store`: rows and the next offsets in one transaction of the target: exactly once.

Every call is made on the commit thread, one at a time, and may take as long as the target does: the
main thread serves Kafka meanwhile, and nothing is killed for a slow target. Verdicts are a row's,
exceptions are the target's: an exception never makes a dead letter of a row by itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import ClassVar, Final

from kafka_etl.contracts.rows import Row, Rows
from kafka_etl.invocation import Refused
from kafka_etl.record import Offsets, Partition


class Taken(Enum):
    """The class of `TAKEN`."""

    TAKEN = "TAKEN"

    def __repr__(self) -> str:
        return self.name


TAKEN: Final = Taken.TAKEN
"""The target has acknowledged the row, or every row of the set. Nothing else acknowledges one."""


@dataclass(frozen=True, slots=True)
class Again:
    """Verdict: the target did not take this row now; the row is tried again.

    Attributes:
        reason: For the log and the pipeline's state.
        after: Seconds that the whole target is left alone, at most 300; 0: the sink's back-off.
        patient: Whether the tries have no limit, as when the target says that it is busy.
    """

    reason: str
    after: float = 0.0
    patient: bool = False


class Unreachable(Exception):
    """Raised by a door: the target is away, or refuses everybody.

    No row is to blame and no attempt is used up. The framework connects anew after a back-off, and
    makes the same call again.

    Args:
        reason: For the pipeline's state.
        mend: Whether a wrong password, a missing table or a full disk is the reason, which a user
            has to mend: after 5 minutes the pipeline pauses.
    """

    def __init__(self, reason: str, *, mend: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.mend = mend


class Conflict(Exception):
    """Raised by a store: these partitions do not stand where the settlement begins.

    Nothing was written. Another worker has moved them, or this one has with a lost answer.

    Args:
        partitions: These partitions.
        lost: Why a rolling store has lost what was open of them; empty: somebody moved them.
    """

    def __init__(self, partitions: Collection[Partition], lost: str = "") -> None:
        super().__init__(lost or ", ".join(map(str, sorted(partitions))))
        self.partitions: frozenset[Partition] = frozenset(partitions)
        self.lost = lost


class RefusedRows(Exception):
    """Raised by a store that has written nothing: it will never take these rows.

    Args:
        rows: Position -> verdict of every bad row, all found in one pass; at least one.

    Raises:
        ValueError: No row is named: nothing would change, and the same commit would come for ever.
    """

    def __init__(self, rows: Mapping[int, Refused]) -> None:
        if not rows:
            raise ValueError("a store refused rows, but named none")
        super().__init__(f"{len(rows)} rows refused")
        self.rows: dict[int, Refused] = dict(rows)


class RowOrder(StrEnum):
    """Which order of rows the target keeps within a set.

    `KEY`: none, so a set never holds a key twice, and later rows of a key wait. `SET`: the rows of
    a set are applied in their order, and after `Again` the writer answers `Again` for the later
    rows of that key. `NONE`: no order is needed.
    """

    KEY = "key"
    SET = "set"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest set, and the largest row, that the target takes.

    Attributes:
        rows: Rows in a set.
        bytes: Bytes of the values of a set.
        row_bytes: Bytes of a row's value; a larger row becomes a dead letter unsent. None: any.
    """

    rows: int = 10_000
    bytes: int = 16 * 1024 * 1024
    row_bytes: int | None = None


class _Door(ABC):  # noqa: B024 - each door adds its own
    """What the doors have in common."""

    limits: Limits = Limits()

    def connect(self) -> None:  # noqa: B027 - nothing to connect by default
        """Connect to the target, for the first time or again after an error.

        Raises:
            Unreachable: The target is away; the call is repeated.
            KafkaEtlError: No later try can succeed; the pipeline stops.
            Exception: As `Unreachable`.
        """

    def close(self) -> None:  # noqa: B027 - nothing to let go of by default
        """Let go of the connection. Called before each further `connect`, and at the end.

        A rolling store keeps its open files.
        """

    def interrupt(self) -> None:  # noqa: B027 - by default a call ends by itself
        """Break the call that is under way; called on the main thread when the worker must end."""


class Sender(_Door):
    """Sends one row at a time, in an event loop of the framework.

    Attributes:
        concurrency: Rows that are on their way at once, each of another key.
        ordered: Whether rows of one key are sent one after the other.
        repeatable: Whether a row may be sent again without harm, because the target recognises it.
    """

    concurrency: int = 16
    ordered: bool = True
    repeatable: bool = False

    @abstractmethod
    async def send(self, row: Row) -> Taken | Refused | Again:
        """Send one row, and return when the target has answered. Cancelled on drain.

        Raises:
            Unreachable: The target is away, for every row.
            Exception: As `Again`: the row is tried again, and refused once the target has taken
                others meanwhile.
        """
        ...

    async def connect_async(self) -> None:
        """Connect within the event loop of `send`; raises as `connect`."""

    async def close_async(self) -> None:
        """Let go of the connection within the event loop of `send`."""


class Writer(_Door):
    """Writes sets of rows.

    Attributes:
        order: Which order the target keeps within a set.
        repeatable: Whether a set may be written again without harm, because the target takes a set
            as a whole or not at all, or recognises a row by its id. Only such sets are halved in
            search of a bad row.
    """

    order: RowOrder = RowOrder.KEY
    repeatable: bool = False

    @abstractmethod
    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        """Return when the target has answered for every row.

        Returns:
            `TAKEN`: the target has acknowledged all rows. A mapping of positions: it has
            acknowledged all others.

        Raises:
            Unreachable: The target is away; the set is written again.
            Exception: As `Unreachable`, until proven to be a row's fault.
        """
        ...


@dataclass(frozen=True, slots=True)
class StoredOffset:
    """Where a partition stands in a store.

    Attributes:
        next: The next offset to read.
        generation: Raised by `offsets reset` and by adopting another topic, never by a rebalance.
        topic_id: Kafka's id of the topic; empty: unknown.
        group: The consumer group that writes.
    """

    next: int
    generation: int = 0
    topic_id: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Move:
    """The move of one partition in a commit: a compare-and-set.

    Attributes:
        begin: The offset at which the partition must stand.
        next: The offset at which it stands afterwards.
        generation: The generation that it must have.
    """

    begin: int
    next: int
    generation: int = 0


class Store(_Door):
    """Keeps rows and next offsets together, in one transaction of the target.

    Attributes:
        kind: The target's name, such as `postgres`; in messages, and in the group's offsets.
    """

    kind: ClassVar[str] = "store"

    @abstractmethod
    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """Return where these partitions stand, in one round trip; unknown ones are left out."""
        ...

    @abstractmethod
    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """Write where partitions stand, without rows.

        Args:
            offsets: The new standing.
            overwrite: Whether a standing that is there already is replaced, or kept.
        """
        ...

    @abstractmethod
    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """Write the rows and move all partitions, in one transaction.

        The compare-and-set is one statement for all partitions, in the order of their names. After
        an exception the framework connects anew and asks for the offsets, so that a lost answer
        needs no care.

        Args:
            rows: The rows; may be empty.
            moves: The partitions; may move by 0.
            letters: Dead letters for the store's own table, as JSON; empty without such a table.

        Raises:
            RefusedRows: The target will never take these rows; nothing was written.
            Conflict: Some partitions stand elsewhere; nothing was written.
            Unreachable: The target is away.
            Exception: As `Unreachable`, until proven to be a row's fault.
        """
        ...


class RollingStore(Store):
    """A store that takes settlements into open files, and makes many durable at once.

    Open files outlive `close` and `connect`: only `roll` and `discard` end them. `commit` takes a
    settlement that begins where the open rows of each partition end, else it raises `Conflict`;
    without open rows it begins at the stored offset. Rows are encoded, and may
    be refused, only there.
    """

    @abstractmethod
    def due(self, *, final: bool, leaving: Collection[Partition] = ()) -> bool:
        """Whether `roll` with these arguments would close a file; asks nobody."""
        ...

    @abstractmethod
    def roll(self, *, final: bool, leaving: Collection[Partition] = ()) -> Offsets:
        """Close the files that are due, and return the durable offset of each partition closed.

        Args:
            final: Whether nothing more will come: all files are due.
            leaving: Partitions whose files are due, because another worker will own them.

        Raises:
            Conflict: The files of these partitions are void; `discard` is called next.
            Unreachable: The target is away; the files stay open.
            Exception: As `Unreachable`.
        """
        ...

    @abstractmethod
    def discard(self, partitions: Collection[Partition]) -> None:
        """Throw away what is open of these partitions."""
        ...
