"""Operators in processes of their own: one that hangs or dies costs the record in its hand.

A worker sends each process some records at a time and takes the results as they come; there is no
thread in between. What is in hand can be read from outside (`hand.py`), so that the death of a
process, or a call that takes too long, is blamed on one record; the others are given out again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from operator import itemgetter
from time import monotonic, monotonic_ns
from typing import Any, Final, Protocol

from kafka_etl.engine.pools.call_clock import SharedCallClock
from kafka_etl.engine.pools.pickling import Packed, Raised, packing_of, unpack_result
from kafka_etl.engine.rows.mapping import FAILED, Mapped
from kafka_etl.errors import OperatorDied, OperatorTimeout
from kafka_etl.functions.bind import BoundOperator
from kafka_etl.invocation import ErrorInfo
from kafka_etl.units import show_duration

_MOST_RECORDS: Final = 1024
_MOST_BYTES: Final = 1024 * 1024
"""How much a process is given at once, at most."""
_SHORT: Final = 10_000_000
_LONG: Final = 40_000_000
"""Nanoseconds: what a process is given at once should take between the two."""
_LOOK_EVERY: Final = 0.25
_STARTING_LIMIT: Final = 600.0
_CLOSING_LIMIT: Final = 10.0


class Process(Protocol):
    """A process that runs `kafka_etl.engine.pools.serve.serve` for one operator."""

    connection: Connection[Any, Any]

    def exit_status(self) -> int | None:
        """The exit status; None: the process runs."""
        ...

    def end(self) -> str:
        """Kill the process, wait for its end, and return how the process ended, in words."""
        ...

    def close(self) -> None:
        """Close the connection to a process that has ended."""
        ...


Spawn = Callable[[str, int], Process]
"""Starts a process for the operator of this name; the descriptor is that of its `CallClock`."""


class ProcessPool:
    """A pool of processes, as many as the operator's `concurrency`.

    Args:
        watching: Called several times a second during the wait for a call.
    """

    def __init__(self, operator: BoundOperator, spawn: Spawn, watching: Callable[[], None]) -> None:
        self._operator = operator
        self._watching = watching
        self._pack = packing_of(operator.shape).pack
        self._timeout = operator.timeout
        self._processes = [
            _OperatorProcess(operator.name, spawn) for _ in range(operator.concurrency)
        ]
        self._at_once = 1
        from kafka_etl.log import get_logger  # noqa: PLC0415 - slow, and most pools need no log

        self._log = get_logger("engine")

    def open(self) -> None:
        """Start the processes, and raise the error of the operator's `open`, if any."""
        for process in self._processes:
            process.start()
        while not all(process.is_ready for process in self._processes):
            self._listen(_Run([], deque()))

    def map(self, column: Sequence[Any], lanes: Sequence[Sequence[int]]) -> Mapped:
        if len(self._processes) == 1:
            lanes = [range(len(column))]
        run = _Run(column, deque(lanes))
        while run.todo or any(process.is_busy for process in self._processes):
            for process in self._processes:
                if process.process is None:
                    process.start()
                elif process.is_ready and not process.sent:
                    self._give(process, run)
            self._listen(run)
        return run.results, sorted(run.failed, key=itemgetter(0))

    def call(self, argument: Any) -> Any:
        """One call, of a batch operator."""
        results, failed = self.map([argument], [[0]])
        if failed:
            raise failed[0][1]
        return results[0]

    def end(self) -> None:
        """Have the operator closed in each process, and raise the first error of `close`."""
        resting = [
            process for process in self._processes if process.is_ready and not process.is_busy
        ]
        for process in resting:
            process.dismiss()
        until = monotonic() + _CLOSING_LIMIT
        answers = [process.farewell(until) for process in resting]
        self.close()
        for answer in answers:
            if isinstance(answer, Raised):
                raise answer.error

    def close(self) -> None:
        for process in self._processes:
            process.end()

    def _give(self, process: _OperatorProcess, run: _Run) -> None:
        """Send a process some records, of lanes that belong to that process from now on.

        The process gets half its share of the remaining lanes, so that all stay busy to the end.
        """
        left = len(run.todo)
        for_others = max(0, left - max(1, left // (2 * len(self._processes))))
        rows: list[int] = []
        packed: list[bytes] = []
        size = 0
        while (
            len(rows) < self._at_once
            and size < _MOST_BYTES
            and process.takes_from(run.todo, for_others)
        ):
            row = process.rows.popleft()
            try:
                argument = self._pack(run.column[row])
            except BaseException as error:  # noqa: BLE001 - of user code, whatever it is
                said = ErrorInfo.of(error).message
                what = (
                    f"the argument cannot be sent to the process of {self._operator.name}: {said}"
                )
                run.failed.append((row, TypeError(what)))
            else:
                rows.append(row)
                packed.append(argument)
                size += len(argument)
        if rows:
            process.give(rows, packed, self._operator.context.attempt)

    def _listen(self, run: _Run) -> None:
        """Wait until a process answers, dies, or is late; a quarter of a second at most."""
        awaited = {m.process.connection: m for m in self._processes if m.process and m.is_awaited}
        if not awaited:
            return
        left = min(process.remaining(self._timeout) for process in awaited.values())
        answered = wait(list(awaited), min(_LOOK_EVERY, max(0.0, left)))
        for connection, process in awaited.items():
            if connection in answered:
                self._take(process, run)
            elif process.remaining(self._timeout) < 0:
                process.kill_late()
            elif process.is_gone:
                self._bury(process, run)
        self._watching()

    def _take(self, process: _OperatorProcess, run: _Run) -> None:
        results = process.receive()
        if results is None:
            self._bury(process, run)
            return
        for packed in results:
            run.take(process.sent.popleft(), packed)
        if results and not process.sent:
            took = monotonic_ns() - process.given_at
            if took < _SHORT:
                self._at_once = min(self._at_once * 2, _MOST_RECORDS)
            elif took > _LONG:
                self._at_once = max(self._at_once // 2, 1)

    def _bury(self, process: _OperatorProcess, run: _Run) -> None:
        """Blame the record in hand, and give the others out again."""
        death = process.bury()
        name = self._operator.name
        if death.row is None and not death.proven:
            raise OperatorDied(f"the process of operator {name} died at its start: {death.how}")
        error = death.error(self._timeout)
        if death.row is not None:
            run.failed.append((death.row, error))
        if death.rest:
            run.todo.appendleft(death.rest)
        self._log.warning("an operator's process died", operator=name, reason=str(error))
        process.start()


@dataclass(slots=True)
class _Run:
    """One call of `map`: the rows to do, the results and the failed rows."""

    column: Sequence[Any]
    todo: deque[Sequence[int]]
    failed: list[tuple[int, BaseException]] = field(default_factory=list[tuple[int, BaseException]])
    results: list[Any] = field(default_factory=list[Any])

    def __post_init__(self) -> None:
        self.results = [FAILED] * len(self.column)

    def take(self, row: int, packed: Packed) -> None:
        try:
            result = unpack_result(packed, self.column[row])
        except BaseException as error:  # noqa: BLE001 - of user code, whatever it is
            what = f"the result cannot be read in the worker: {ErrorInfo.of(error).message}"
            self.failed.append((row, TypeError(what)))
        else:
            if isinstance(result, Raised):
                self.failed.append((row, result.error))
            else:
                self.results[row] = result


@dataclass(frozen=True, slots=True)
class _Death:
    """The facts about a process that died.

    Attributes:
        row: The row in hand; None: no row.
        late: Whether the process was killed because the row took too long.
        rest: The other rows that the process was given, or that were kept for the process.
        proven: Whether the process ever answered: a process that never does would die for ever.
    """

    how: str
    row: int | None
    late: bool
    rest: Sequence[int]
    proven: bool

    def error(self, timeout: float | None) -> Exception:
        """The error of the row in hand."""
        if self.late and timeout is not None:
            said = show_duration(timeout)
            return OperatorTimeout(
                f"it took longer than {said}, and the operator's process was killed"
            )
        return OperatorDied(f"the operator's process died: {self.how}")


class _OperatorProcess:
    """One of the processes of an operator, and its successors.

    Attributes:
        rows: To be sent, of lanes that are its own.
        sent: To be answered.
    """

    def __init__(self, name: str, spawn: Spawn) -> None:
        self._name = name
        self._spawn = spawn
        self._hand: SharedCallClock | None = None
        self._answered = 0
        self._proven = False
        self._late: int | None = None
        self._heard_at = 0
        self.process: Process | None = None
        self.rows: deque[int] = deque()
        self.sent: deque[int] = deque()
        self.is_ready = False
        self.given_at = 0

    @property
    def is_busy(self) -> bool:
        """Whether the process has rows to do, or rows are kept for the process."""
        return bool(self.sent or self.rows)

    @property
    def is_awaited(self) -> bool:
        return bool(self.sent) or not self.is_ready

    @property
    def is_gone(self) -> bool:
        return self.process is not None and self.process.exit_status() is not None

    def start(self) -> None:
        if self.process is None:
            self._hand = SharedCallClock()
            self._late, self._proven = None, False
            self._heard_at = monotonic_ns()
            self.process = self._spawn(self._name, self._hand.file)

    def takes_from(self, todo: deque[Sequence[int]], for_others: int) -> bool:
        """Whether there is a row for the process: of a lane of its own, or of a new lane."""
        if not self.rows and len(todo) > for_others:
            self.rows.extend(todo.popleft())
        return bool(self.rows)

    def give(self, rows: Sequence[int], packed: Sequence[bytes], attempt: int) -> None:
        self.sent.extend(rows)
        self._answered = 0
        self.given_at = self._heard_at = monotonic_ns()
        self._send((attempt, packed))

    def receive(self) -> Sequence[Packed] | None:
        """Receive results; an empty list: the process is ready; None: the process has died.

        Raises:
            BaseException: The error of the operator's `open`.
        """
        try:
            answer = self._connection.recv()
        except (EOFError, OSError):
            return None
        self._heard_at = monotonic_ns()
        if isinstance(answer, Raised):
            raise answer.error
        if not self.is_ready:
            self.is_ready = True
            return ()
        results: Sequence[Packed] = answer
        self._answered += len(results)
        self._proven = True
        return results

    def remaining(self, timeout: float | None) -> float:
        """Seconds until the call in hand is late."""
        limit = timeout if self.is_ready else _STARTING_LIMIT
        if limit is None or self._late is not None:
            return _LOOK_EVERY
        _, since = self._in_hand()
        return limit - (monotonic_ns() - since) / 1e9

    def kill_late(self) -> None:
        """Kill a process whose call is late; results that were sent can still be read."""
        if self.sent:
            self._late = self.sent[self._in_hand()[0]]
        if self.process is not None:
            self.process.end()

    def bury(self) -> _Death:
        how = "" if self.process is None else self.process.end()
        row = self._late if self._late in self.sent else None
        late = row is not None
        number, _ = self._read_hand()
        if self._late is None and number > self._answered:
            row = self.sent[number - 1 - self._answered]
        rest = [other for other in (*self.sent, *self.rows) if other != row]
        proven = self._proven
        self.end()
        return _Death(how, row, late, rest, proven)

    def dismiss(self) -> None:
        """Ask the process to close the operator and to end."""
        self._send(None)

    def farewell(self, until: float) -> Any:
        """The last message of the process: None or `Raised`; None if none arrives in time."""
        try:
            if self._connection.poll(max(0.0, until - monotonic())):
                return self._connection.recv()
        except (EOFError, OSError):
            pass
        return None

    def end(self) -> None:
        """Kill the process, and forget the rows that were kept for the process."""
        if self.process is not None:
            self.process.end()
            self.process.close()
        if self._hand is not None:
            self._hand.close()
        self.process, self._hand, self.is_ready = None, None, False
        self.sent.clear()
        self.rows.clear()

    def _in_hand(self) -> tuple[int, int]:
        """(place in `sent`, since when) of its call; one not begun counts from the last word."""
        number, since = self._read_hand()
        if number <= self._answered:
            return 0, self._heard_at
        return number - 1 - self._answered, since

    def _read_hand(self) -> tuple[int, int]:
        return (0, 0) if self._hand is None else self._hand.read()

    def _send(self, order: object) -> None:
        try:
            self._connection.send(order)
        except OSError:
            return  # it has died: that is heard when it is listened to

    @property
    def _connection(self) -> Connection[Any, Any]:
        if self.process is None:
            raise EOFError
        return self.process.connection
