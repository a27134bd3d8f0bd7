"""The two doors of the sink: a sender of records, and a writer of sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from kafka_etl.contracts import (
    TAKEN,
    Again,
    Limits,
    Refused,
    Row,
    RowOrder,
    Rows,
    Sender,
    Taken,
    Writer,
)
from kafka_etl_connectors.http.exchange import Exchange
from kafka_etl_connectors.http.requests import Outgoing, Requests
from kafka_etl_connectors.http.settings import HttpSettings


class SetRefused(Exception):
    """Raised by a writer whose server refuses a set without naming the bad record.

    The engine looks for the record by halves where the writer is `repeatable`.
    """


class HttpSender(Sender):
    """Sends each record as a request of its own.

    Args:
        settings: The sink's settings.
        folder: Folder of the pipeline file.
    """

    def __init__(self, settings: HttpSettings, folder: Path) -> None:
        self.concurrency = settings.concurrency
        self.ordered = settings.order == "key"
        self.repeatable = settings.idempotent
        self._requests = Requests(settings)
        self._exchange = Exchange(settings, folder, settings.concurrency)

    async def connect_async(self) -> None:
        """Read certificates and token.

        Raises:
            Unreachable: A file cannot be read.
        """
        self._exchange.open()

    async def close_async(self) -> None:
        """Close all connections."""
        await self._exchange.close()

    async def send(self, row: Row) -> Taken | Refused | Again:
        """Send one record; raises as `Sender.send`."""
        outgoing = self._requests.of_row(row)
        if isinstance(outgoing, Refused):
            return outgoing
        return await self._exchange.send(outgoing)


class HttpWriter(Writer):
    """Sends each set as one request: a JSON array, or lines.

    Args:
        settings: The sink's settings.
        folder: Folder of the pipeline file.
    """

    def __init__(self, settings: HttpSettings, folder: Path) -> None:
        self.limits = Limits(rows=settings.max_rows, bytes=settings.max_bytes)
        self.order = RowOrder.SET if settings.order == "key" else RowOrder.NONE
        self.repeatable = settings.idempotent or settings.atomic
        self._requests = Requests(settings)
        self._exchange = Exchange(settings, folder, connections=1)
        self._runner: asyncio.Runner | None = None
        self._break: Callable[[], object] | None = None

    def connect(self) -> None:
        """Read certificates and token.

        Raises:
            Unreachable: A file cannot be read.
        """
        if self._runner is None:
            self._runner = asyncio.Runner()
        self._exchange.open()

    def close(self) -> None:
        """Close the connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            # A connection that cannot be closed is gone.
            with suppress(Exception):
                runner.run(self._exchange.close())
            runner.close()

    def interrupt(self) -> None:
        """Break the call that is under way; its set is answered with Again."""
        broken = self._break
        if broken is not None:
            with suppress(RuntimeError):  # the loop was closed meanwhile: the call has ended
                broken()

    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        """Send a set.

        Raises:
            Unreachable: The server is away, or refuses everybody.
            SetRefused: The server refuses the set, of more than one record.
        """
        outgoing, refused = self._requests.of_rows(rows)
        verdicts: dict[int, Refused | Again] = dict(refused)
        sent = [position for position in range(len(rows)) if position not in refused]
        verdict = self._send(outgoing) if sent else TAKEN
        if isinstance(verdict, Refused) and len(sent) > 1:
            raise SetRefused(f"the server refuses a set of {len(sent)}: {verdict.code}")
        if isinstance(verdict, Refused | Again):
            verdicts |= dict.fromkeys(sent, verdict)
        return verdicts or TAKEN

    def _send(self, outgoing: Outgoing) -> Taken | Refused | Again:
        if self._runner is None:
            raise RuntimeError("`write` was called before `connect`")
        try:
            return self._runner.run(self._breakable(outgoing))
        except asyncio.CancelledError:
            return Again("the worker ends", patient=True)
        finally:
            self._break = None

    async def _breakable(self, outgoing: Outgoing) -> Taken | Refused | Again:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine that runs has a task
        self._break = lambda: loop.call_soon_threadsafe(task.cancel)
        return await self._exchange.send(outgoing)


def door(settings: HttpSettings, folder: Path) -> Sender | Writer:
    """The door for these settings."""
    made = HttpSender if settings.mode == "record" else HttpWriter
    return made(settings, folder)
