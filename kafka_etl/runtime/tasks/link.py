"""An owner's connection to the keeper of its host; see `kafka_etl.engine.tasks.executors`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from kafka_etl.log import get_logger
from kafka_etl.runtime.daemon.control_socket import address_of
from kafka_etl.tasks.keeping import FromKeeper, FromOwner, Leaving, pack, unpack_from_keeper

_AT_ONCE: Final = 256 * 1024
_AGAIN: Final = 0.5
"""Seconds between two tries to connect."""


class KeeperSocket:
    """The keeper's socket, from the owner's side; no method waits.

    Args:
        path: Where the keeper listens.
        clock: Time on the monotonic clock, in seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._clock = clock
        self._socket: socket.socket | None = None
        self._next_try = 0.0
        self._arrived = bytearray()
        self._unsent = bytearray()
        self._was_lost = ""
        self._is_leaving = False
        self._log = get_logger("owner")

    @property
    def connected(self) -> bool:
        return self._socket is not None

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def fileno(self) -> int | None:
        """The socket's descriptor; None: there is no connection.

        Another thread may be losing the connection at this moment.
        """
        ours = self._socket
        file = -1 if ours is None else ours.fileno()
        return file if file >= 0 else None

    def send(self, message: FromOwner) -> None:
        if self._socket is None:
            return
        self._unsent += pack(message)
        self._flush()

    def exchange(self) -> list[FromKeeper]:
        self._connect()
        self._flush()
        self._read()
        try:
            said = unpack_from_keeper(self._arrived)
        except msgspec.MsgspecError as error:
            self._lose(f"it says what nobody understands: {error}")
            said = []
        self._is_leaving = self._is_leaving or any(isinstance(one, Leaving) for one in said)
        self._tell_loss()
        return said

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> None:
        if self._socket is not None or self._clock() < self._next_try:
            return
        self._next_try = self._clock() + _AGAIN
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with address_of(self._path) as address:
                ours.connect(address)
        except OSError:
            ours.close()
            return
        ours.setblocking(False)
        self._socket = ours
        self._arrived.clear()
        self._unsent.clear()
        self._is_leaving = False

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            with suppress(BlockingIOError):
                while self._unsent:
                    sent = self._socket.send(self._unsent)
                    del self._unsent[:sent]
        except OSError as error:
            self._lose(str(error))

    def _read(self) -> None:
        try:
            with suppress(BlockingIOError):
                while self._socket is not None:
                    chunk = self._socket.recv(_AT_ONCE)
                    if not chunk:
                        self._lose("it has closed the connection")
                        return
                    self._arrived += chunk
        except OSError as error:
            self._lose(str(error))

    def _lose(self, why: str) -> None:
        self._was_lost = why
        self.close()

    def _tell_loss(self) -> None:
        """Tell that the connection was lost, unless the keeper has taken its leave."""
        if self._was_lost and not self._is_leaving:
            self._log.warning("the keeper is away", reason=self._was_lost)
        self._was_lost = ""
