"""The three doors to a target in memory, which fails as a test says.

All doors pass their suites (`WriterContract`, `SenderContract`, `StoreContract`,
`RollingStoreContract`). Doors are called on one thread and the target may be read on another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from threading import Event, RLock
from time import monotonic
from typing import Any, ClassVar, NamedTuple

from kafka_etl.contracts import (
    TAKEN,
    Again,
    Conflict,
    Limits,
    Move,
    Refused,
    RefusedRows,
    RollingStore,
    Row,
    RowOrder,
    Rows,
    Sender,
    Store,
    StoredOffset,
    Taken,
    Unreachable,
    Writer,
)
from kafka_etl.record import Offsets, Partition


class Lost(Enum):
    """When the connection of a call breaks; the caller cannot tell one from the other."""

    BEFORE = "nothing was done"
    AFTER = "everything was done"


class Kept(NamedTuple):
    """A row in the target."""

    value: Any
    key: Any
    id: str | None
    destination: str | None


def _takes(_value: Any) -> None:
    """Neither refuse a value nor fail because of one."""


class MemoryTarget:
    """A target in memory, shared by doors; the attributes below are for tests to read and set.

    Attributes:
        rows: The rows, in order of their arrival.
        offsets: Where partitions stand.
        letters: The store's own dead letters.
        verdict: Value -> the target's verdict; None: the target takes the value.
        fails: Value -> the exception that every call with the value raises; None: no exception.
        delay: Seconds that each call takes.
        away: The number of next calls, `connect` included, that raise `Unreachable`.
        lost: For each of the next calls with rows or moves: which way the answer is lost, or None.
        rivals: For each of the next commits: what another worker places just before; may be empty.
        torn: The number of next rolls that end half-way, with orphans.
        orphans: Rows of torn rolls, which no reader sees.
        connects: Number of successful calls of `connect`.
        calls: Number of calls with rows or moves.
    """

    def __init__(self) -> None:
        self.rows: list[Kept] = []
        self.offsets: dict[Partition, StoredOffset] = {}
        self.letters: list[bytes] = []
        self.verdict: Callable[[Any], Refused | Again | None] = _takes
        self.fails: Callable[[Any], Exception | None] = _takes
        self.delay: float = 0.0
        self.away: int = 0
        self.lost: deque[Lost | None] = deque()
        self.rivals: deque[Mapping[Partition, StoredOffset]] = deque()
        self.torn = 0
        self.orphans: list[Kept] = []
        self.connects = 0
        self.calls: int = 0
        self.lock: RLock = RLock()

    @property
    def values(self) -> list[Any]:
        """The values in the target, in order of their arrival."""
        with self.lock:
            return [row.value for row in self.rows]

    def reach(self) -> None:
        """Fail if the target is away now."""
        with self.lock:
            if self.away > 0:
                self.away -= 1
                raise Unreachable("the target in memory is away")

    def begin(self) -> Lost | None:
        """Begin a call with rows or moves; return how its answer is to be lost.

        Raises:
            Unreachable: The target is away.
            ConnectionError: The connection breaks before anything is done.
        """
        with self.lock:
            self.reach()
            self.calls += 1
            lost = self.lost.popleft() if self.lost else None
        if lost is Lost.BEFORE:
            raise ConnectionError("the connection broke")
        return lost

    def judge(self, rows: Rows) -> dict[int, Refused | Again]:
        """Return the verdicts on rows that the target does not take.

        Raises:
            Exception: As `fails` says of a value.
        """
        verdicts: dict[int, Refused | Again] = {}
        for position, value in enumerate(_values(rows)):
            error = self.fails(value)
            if error is not None:
                raise error
            verdict = self.verdict(value)
            if verdict is not None:
                verdicts[position] = verdict
        return verdicts


class _Connection:
    """The connection of one door: waits, interrupts, and calls without a connection."""

    def __init__(self, target: MemoryTarget) -> None:
        self.target = target
        self._interrupted = Event()
        self._open = False

    def open(self) -> None:
        self.target.reach()
        self._interrupted.clear()
        self._open = True
        with self.target.lock:
            self.target.connects += 1

    def close(self) -> None:
        self._open = False

    def interrupt(self) -> None:
        self._interrupted.set()

    def need(self) -> None:
        if not self._open:
            raise RuntimeError("the door is not connected: `connect` was not called, or not again")

    def wait(self) -> None:
        """Take as long as the target does.

        Raises:
            Unreachable: The door was interrupted meanwhile.
        """
        self.need()
        if self._interrupted.wait(self.target.delay):
            raise Unreachable("interrupted")


def _end(lost: Lost | None) -> None:
    if lost is Lost.AFTER:
        raise ConnectionError("the connection broke")


class MemoryWriter(Writer):
    """A writer to a target in memory.

    Args:
        target: The target.
        order: See `Writer`.
        repeatable: Whether the target takes a set as a whole and knows rows by their ids.
        limits: See `Writer`.
    """

    def __init__(
        self,
        target: MemoryTarget,
        *,
        order: RowOrder = RowOrder.KEY,
        repeatable: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.target = target
        self.order = order
        self.repeatable = repeatable
        self.limits: Limits = limits or Limits()
        self._connection = _Connection(target)

    def connect(self) -> None:
        self._connection.open()

    def close(self) -> None:
        self._connection.close()

    def interrupt(self) -> None:
        self._connection.interrupt()

    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        self._connection.wait()
        lost = self.target.begin()
        with self.target.lock:
            verdicts = self.target.judge(rows)
            if self.order is RowOrder.SET:
                _hold_later_rows(rows, verdicts)
            known = {row.id for row in self.target.rows} if self.repeatable else set[str | None]()
            self.target.rows += [
                row
                for position, row in enumerate(_kept(rows))
                if position not in verdicts and (row.id is None or row.id not in known)
            ]
        _end(lost)
        return verdicts or TAKEN


class MemorySender(Sender):
    """A sender to a target in memory; see `MemoryTarget`."""

    def __init__(self, target: MemoryTarget) -> None:
        self.target = target
        self._connection = _Connection(target)

    def connect(self) -> None:
        self._connection.open()

    def close(self) -> None:
        self._connection.close()

    def interrupt(self) -> None:
        self._connection.interrupt()

    async def send(self, row: Row) -> Taken | Refused | Again:
        self._connection.need()
        await asyncio.sleep(self.target.delay)
        lost = self.target.begin()
        with self.target.lock:
            error = self.target.fails(row.value)
            if error is not None:
                raise error
            verdict = self.target.verdict(row.value)
            if verdict is None:
                self.target.rows.append(Kept(row.value, row.key, row.id, row.destination))
        _end(lost)
        return TAKEN if verdict is None else verdict


class MemoryStore(Store):
    """A store in memory.

    Args:
        target: The target.
        upsert: Whether a row replaces the one with its key, and None deletes that one.
    """

    kind: ClassVar[str] = "memory"

    def __init__(self, target: MemoryTarget, *, upsert: bool = False) -> None:
        self.target = target
        self.upsert = upsert
        self.connection: _Connection = _Connection(target)

    def connect(self) -> None:
        self.connection.open()

    def close(self) -> None:
        self.connection.close()

    def interrupt(self) -> None:
        self.connection.interrupt()

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        self.connection.wait()
        self.target.reach()
        with self.target.lock:
            known = self.target.offsets
            return {tp: known[tp] for tp in partitions if tp in known}

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        self.connection.wait()
        self.target.reach()
        with self.target.lock:
            if overwrite:
                self.target.offsets.update(offsets)
            else:
                self.target.offsets = {**offsets, **self.target.offsets}

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        self.connection.wait()
        lost = self.target.begin()
        with self.target.lock:
            self._let_rivals_move()
            _compare(self.target.offsets, moves)
            _raise_refusals(self.target.judge(rows))
            self._apply(_kept(rows), moves, letters)
        _end(lost)

    def _let_rivals_move(self) -> None:
        if self.target.rivals:
            self.target.offsets.update(self.target.rivals.popleft())

    def _apply(
        self, rows: Sequence[Kept], moves: Mapping[Partition, Move], letters: Sequence[bytes]
    ) -> None:
        target = self.target
        if self.upsert:
            last = {row.key: row for row in rows}
            target.rows = [row for row in target.rows if row.key not in last]
            target.rows += [row for row in last.values() if row.value is not None]
        else:
            target.rows += rows
        target.letters += letters
        for tp, move in moves.items():
            target.offsets[tp] = replace(target.offsets[tp], next=move.next)


class MemoryRollingStore(MemoryStore, RollingStore):
    """A rolling store in memory: what was committed is durable after the next roll.

    Args:
        target: The target.
        every: Seconds between the first commit into a file and the roll.
    """

    kind: ClassVar[str] = "rolling-memory"

    def __init__(self, target: MemoryTarget, *, every: float = 60.0) -> None:
        super().__init__(target)
        self._every = every
        self._opened: float | None = None
        self._open: list[tuple[list[Kept], dict[Partition, Move], list[bytes]]] = []

    @property
    def open_rows(self) -> list[Any]:
        """The values that were taken and are not durable."""
        return [row.value for rows, _, _ in self._open for row in rows]

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        self.connection.wait()
        lost = self.target.begin()
        with self.target.lock:
            self._let_rivals_move()
            _compare(self._taken(), moves)
            _raise_refusals(self.target.judge(rows))
        if self._opened is None:
            self._opened = monotonic()
        self._open.append((_kept(rows), dict(moves), list(letters)))
        _end(lost)

    def due(self, *, final: bool, leaving: Collection[Partition] = ()) -> bool:
        if not self._open:
            return False
        old = self._opened is not None and monotonic() >= self._opened + self._every
        return final or old or not self._first_moves().keys().isdisjoint(leaving)

    def roll(self, *, final: bool, leaving: Collection[Partition] = ()) -> Offsets:
        if not self.due(final=final, leaving=leaving):
            return {}
        self.connection.wait()
        lost = self.target.begin()
        with self.target.lock:
            self._let_rivals_move()
            _compare(self.target.offsets, self._first_moves())
            self._tear()
            durable: dict[Partition, int] = {}
            for rows, moves, letters in self._open:
                self._apply(rows, moves, letters)
                durable |= {tp: move.next for tp, move in moves.items()}
        if lost is None:
            self._forget()
        _end(lost)
        return durable

    def discard(self, partitions: Collection[Partition]) -> None:
        """Throw away all settlements with these partitions, and whatever was taken after them."""
        for at, (_, moves, _) in enumerate(self._open):
            if not moves.keys().isdisjoint(partitions):
                del self._open[at:]
                break
        if not self._open:
            self._forget()

    def _taken(self) -> dict[Partition, StoredOffset]:
        """Where partitions will stand after the next roll."""
        taken = dict(self.target.offsets)
        for _, moves, _ in self._open:
            for tp, move in moves.items():
                if tp in taken:
                    taken[tp] = replace(taken[tp], next=move.next)
        return taken

    def _first_moves(self) -> dict[Partition, Move]:
        first: dict[Partition, Move] = {}
        for _, moves, _ in self._open:
            first = {**moves, **first}
        return first

    def _tear(self) -> None:
        if self.target.torn > 0:
            self.target.torn -= 1
            rows = [row for rows, _, _ in self._open for row in rows]
            self.target.orphans += rows[: (len(rows) + 1) // 2]
            raise Unreachable("the roll was torn")

    def _forget(self) -> None:
        self._open, self._opened = [], None


def _compare(standing: Mapping[Partition, StoredOffset], moves: Mapping[Partition, Move]) -> None:
    """Raise `Conflict` for the partitions that do not stand where their moves begin."""
    moved: list[Partition] = []
    for tp, move in moves.items():
        at = standing.get(tp)
        if at is None or (at.next, at.generation) != (move.begin, move.generation):
            moved.append(tp)
    if moved:
        raise Conflict(moved)


def _raise_refusals(verdicts: Mapping[int, Refused | Again]) -> None:
    refused = {at: verdict for at, verdict in verdicts.items() if isinstance(verdict, Refused)}
    if refused:
        raise RefusedRows(refused)
    for verdict in verdicts.values():
        raise Unreachable(str(verdict))


def _hold_later_rows(rows: Rows, verdicts: dict[int, Refused | Again]) -> None:
    """Answer `Again` for each row whose key has an earlier row with that answer."""
    held: dict[Any, Again] = {}
    for position, key in enumerate(rows.keys):
        verdict = verdicts.get(position)
        if key is None or isinstance(verdict, Refused):
            continue
        if key in held:
            verdicts[position] = held[key]
        elif verdict is not None:
            held[key] = verdict


def _values(rows: Rows) -> Sequence[Any]:
    """The values of rows; those of an Arrow table as tuples."""
    if rows.table is None:
        return rows.values
    return list(zip(*(column.to_pylist() for column in rows.table.columns), strict=True))


def _kept(rows: Rows) -> list[Kept]:
    places = rows.destinations or [None] * len(rows)
    return list(map(Kept, _values(rows), rows.keys, rows.ids, places))
