"""The keeper's words on their way to the inbox, in a thread of the owner's process.

What an attempt says is in the inbox a moment later, whatever the owner does meanwhile: waits for
words, or for a commit. So a result comes back to the owner as a word that ends its wait.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from threading import Event, Lock, Thread
from typing import Final, Protocol

from kafka_etl.runtime.tasks.link import KeeperSocket
from kafka_etl.tasks.keeping import Acknowledged, FromKeeper, FromOwner, Holding, Logged, Said

_UNHEARD: Final = 0.2
"""Seconds of a wait for words, and between two looks for a keeper."""
_UNACKNOWLEDGED: Final = 0.005
"""Seconds of a wait while words are on their way to the inbox."""
_LAST: Final = 5.0
"""Seconds that the thread may take to end."""


class Relay(Protocol):
    """Writes words to the inbox, outside of the owner's transactions."""

    def write(self, said: Said) -> None: ...

    def acknowledged(self) -> list[Acknowledged]:
        """The words that their keeper waits for, and that Kafka has had since the last call."""
        ...

    @property
    def is_busy(self) -> bool:
        """Whether words are on their way."""
        ...

    def close(self) -> None: ...


class LogWriter(Protocol):
    """Writes what attempts print; no method but `close` waits."""

    def write(self, piece: Logged) -> None:
        """Write a piece; one that finds no room is dropped."""
        ...

    def poll(self) -> None:
        """Have the client work."""
        ...

    def close(self) -> None: ...


class RelayingLink:
    """See `kafka_etl.engine.tasks.executors.KeeperLink`.

    Args:
        keeper: The keeper's socket.
        relay: Writes the keeper's words.
        logs: Writes what attempts print; None: nobody does.
    """

    def __init__(self, keeper: KeeperSocket, relay: Relay, logs: LogWriter | None = None) -> None:
        self._keeper = keeper
        self._relay = relay
        self._logs = logs
        self._lock = Lock()
        self._heard: list[FromKeeper] = []
        self._is_lost = True
        self._is_over = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    @property
    def connected(self) -> bool:
        return self._keeper.connected and not self._is_lost

    def send(self, message: FromOwner) -> None:
        with self._lock:
            self._send([message])

    def exchange(self) -> list[FromKeeper]:
        if self._error is not None:
            raise RuntimeError("the relay of words has failed") from self._error
        with self._lock:
            # Only an owner that has seen the loss is connected again: it has to attach anew.
            self._is_lost = self._is_lost and self._keeper.connected
            heard, self._heard = self._heard, []
        return heard

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(_LAST)
        self._keeper.close()

    # The thread

    def _run(self) -> None:
        try:
            while not self._is_over.is_set():
                self._turn()
            self._relay.close()
            if self._logs is not None:
                self._logs.close()
        except BaseException as error:  # noqa: BLE001 - raised where the owner looks next
            self._error = error

    def _turn(self) -> None:
        self._wait()
        with self._lock:
            said = [] if self._is_lost else self._exchange()
        for message in said:
            if isinstance(message, Said):
                self._relay.write(message)
            elif isinstance(message, Logged) and self._logs is not None:
                self._logs.write(message)
        if self._logs is not None:
            self._logs.poll()
        heard = [m for m in said if isinstance(m, Holding) or (isinstance(m, Said) and m.last)]
        acknowledged = self._relay.acknowledged()
        if heard or acknowledged:
            with self._lock:
                self._heard += heard
                self._send(acknowledged)

    def _exchange(self) -> list[FromKeeper]:
        was_connected = self._keeper.connected
        said = self._keeper.exchange()
        self._is_lost = was_connected and not self._keeper.connected
        return said

    def _send(self, to_tell: Sequence[FromOwner]) -> None:
        was_connected = self._keeper.connected
        for message in to_tell:
            self._keeper.send(message)
        self._is_lost = self._is_lost or (was_connected and not self._keeper.connected)

    def _wait(self) -> None:
        seconds = _UNACKNOWLEDGED if self._relay.is_busy else _UNHEARD
        file = self._keeper.fileno()
        if file is None:
            self._is_over.wait(seconds)
            return
        poll = select.poll()
        poll.register(file, select.POLLIN | (select.POLLOUT if self._keeper.has_unsent else 0))
        poll.poll(seconds * 1000)
