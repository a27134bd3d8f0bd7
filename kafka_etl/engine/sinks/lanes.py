"""Lanes: the rows of a set on their way at once, the rows of one key one after the other.

`Lanes` makes a `Writer` of a `Sender`. A lane holds the rows of one key, or a single row without a
key; as many lanes run at once as the sender's `concurrency` says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, cast

from kafka_etl.contracts import (
    TAKEN,
    Again,
    Refused,
    Row,
    RowOrder,
    Rows,
    Sender,
    Taken,
    Unreachable,
    Writer,
)

_Verdict = Taken | Refused | Again

_GRACE: Final = 5.0
"""Seconds that rows on their way have after another row found the target away.

A row whose answer is not waited for may have been taken, and would be sent a second time.
"""

_INTERRUPTED: Final = "the worker ends"


class Lanes(Writer):
    """A writer that sends each row of a set by itself, with a `Sender`.

    The event loop is the writer's own and runs in the calling thread, only during calls; it stays
    open from `connect` to `close`, and so do the sender's connections.

    Args:
        sender: The sender.
    """

    def __init__(self, sender: Sender) -> None:
        self.limits = sender.limits
        self.order = RowOrder.SET if sender.ordered else RowOrder.NONE
        self.repeatable = sender.repeatable
        self._sender = sender
        self._runner: asyncio.Runner | None = None
        self._break: Callable[[], object] | None = None

    def connect(self) -> None:
        """Open an event loop, and connect the sender within.

        Raises: as `Writer.connect`.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        self._sender.connect()
        try:
            self._runner.run(self._connect())
        except asyncio.CancelledError:
            raise Unreachable(_INTERRUPTED) from None
        finally:
            self._break = None

    async def _connect(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        self._break = lambda: loop.call_soon_threadsafe(task.cancel)
        await self._sender.connect_async()

    def close(self) -> None:
        """Let go of the sender's connections and of the event loop."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        # A connection that cannot be closed is gone: the next `connect` must not fail for that.
        with suppress(Exception):
            runner.run(self._sender.close_async())
        with suppress(Exception):
            self._sender.close()
        runner.close()

    def interrupt(self) -> None:
        """Break the call that is under way; its rows without an answer are answered with Again."""
        self._sender.interrupt()
        broken = self._break
        if broken is not None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: the call has ended
                broken()

    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        """Send all rows, at most `concurrency` at once.

        After `Again` the later rows of the key are answered with Again, too. Where a row is told to
        leave the target alone for some seconds, no further row is sent. An exception of `send` is
        the row's Again.

        Raises:
            Unreachable: The target is away, and no row had an answer before. After any answer the
                other rows are answered with Again, so that nothing acknowledged is sent twice.
            TypeError: `send` returned something other than a verdict.
            RuntimeError: Called without `connect`.
        """
        if self._runner is None:
            raise RuntimeError("`write` was called before `connect`")
        call = _Call(self._sender, rows)
        try:
            self._runner.run(self._run(call))
        finally:
            self._break = None
        return call.result()

    def _run(self, call: _Call) -> Coroutine[Any, Any, None]:
        async def run() -> None:
            loop = asyncio.get_running_loop()
            self._break = lambda: loop.call_soon_threadsafe(call.cancel, _INTERRUPTED)
            await call.run()

        return run()


class _Call:
    """One set of rows on its way.

    Args:
        sender: Sends the rows.
        rows: The rows.
    """

    def __init__(self, sender: Sender, rows: Rows) -> None:
        self._sender = sender
        self._rows = rows
        self._verdicts: list[_Verdict | None] = [None] * len(rows)
        self._todo = deque(_lanes(rows, ordered=sender.ordered))
        self._workers: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = ""
        self._after = 0.0
        self._cancelled = False
        self._away: Unreachable | None = None

    async def run(self) -> None:
        """Send rows until all have an answer, or until the rest has to wait.

        Raises:
            TypeError: `send` returned something other than a verdict.
        """
        if not self._todo or self._cancelled:
            return
        count = min(self._sender.concurrency, len(self._todo))
        self._workers = [asyncio.create_task(self._work()) for _ in range(count)]
        _, pending = await asyncio.wait(self._workers, return_when=asyncio.FIRST_EXCEPTION)
        if pending:
            self.cancel("another row ended the call")
            await asyncio.wait(pending)
        if self._timer is not None:
            self._timer.cancel()
        for worker in self._workers:
            if not worker.cancelled():
                worker.result()

    def cancel(self, reason: str) -> None:
        """Stop waiting for answers; runs in the event loop."""
        self._stop(reason)
        self._cancelled = True
        for worker in self._workers:
            worker.cancel()

    def result(self) -> Taken | Mapping[int, Refused | Again]:
        """What `Writer.write` returns.

        Raises:
            Unreachable: The target is away, and no row had an answer before.
        """
        if self._away is not None and not any(self._verdicts):
            raise self._away
        rest = Again(self._stopped, self._after, patient=True)
        verdicts = {
            position: rest if verdict is None else verdict
            for position, verdict in enumerate(self._verdicts)
            if verdict is not TAKEN
        }
        return verdicts or TAKEN

    async def _work(self) -> None:
        while self._todo and not self._stopped:
            await self._send_lane(self._todo.popleft())

    async def _send_lane(self, lane: Sequence[int]) -> None:
        """Send the rows of one lane; after Again the rest of the lane waits."""
        for at, position in enumerate(lane):
            if self._stopped:
                return
            verdict = await self._send(position)
            self._verdicts[position] = verdict
            if isinstance(verdict, Again):
                # Not tried, so no try of theirs counts; they wait for the row's reason, as long.
                waits = replace(verdict, patient=True)
                for later in lane[at + 1 :]:
                    self._verdicts[later] = waits
                if verdict.after:
                    self._stop(verdict.reason or "the target is busy", verdict.after)
                return

    async def _send(self, position: int) -> _Verdict | None:
        """Return the answer to one row; None: the target is away."""
        try:
            sent = await self._sender.send(Row(self._rows, position))
        except Unreachable as away:
            self._note(away)
            return None
        except asyncio.CancelledError:
            if self._cancelled:
                raise
            # Raised by the sender itself: without an answer the row would be sent for ever.
            return Again("the sender cancelled the row")
        except Exception as error:  # noqa: BLE001 - the row's, until the engine knows better
            return Again(f"{type(error).__name__}: {error}")
        verdict = cast("object", sent)  # an author may have forgotten the return
        if verdict is TAKEN or isinstance(verdict, Refused | Again):
            return sent
        name = type(self._sender).__name__
        raise TypeError(f"{name}.send returned {verdict!r}; return TAKEN, Refused or Again")

    def _note(self, away: Unreachable) -> None:
        """Send no further row, and give those on their way time for an answer."""
        if self._away is None:
            self._away = away
            self._stop(away.reason or "the target is away")
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GRACE, self.cancel, self._stopped)

    def _stop(self, reason: str, after: float = 0.0) -> None:
        """Begin no further row; the first reason is the one that waiting rows are told."""
        if not self._stopped:
            self._stopped, self._after = reason, after


def _lanes(rows: Rows, *, ordered: bool) -> list[list[int]]:
    """The positions of each lane, longest first, so that no long lane is left alone at the end."""
    if not ordered:
        return [[position] for position in range(len(rows))]
    by_key: dict[Hashable, list[int]] = {}
    for position, key in enumerate(rows.keys):
        # A row without a key has no order: its lane is named by its position.
        by_key.setdefault((position,) if key is None else key, []).append(position)
    return sorted(by_key.values(), key=len, reverse=True)
