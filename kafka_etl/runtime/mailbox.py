"""Values to and from another process, for a loop that never waits for one of them.

The other end is a `multiprocessing.connection.Connection`; the framing here is that of such a
connection: a length of four bytes, or -1 and a length of eight, then the pickled value.
"""

from __future__ import annotations

import pickle
import socket
import struct
from contextlib import suppress
from typing import Any, Final

_LENGTH: Final = struct.Struct("!i")
_LONG_LENGTH: Final = struct.Struct("!Q")
_LONGEST: Final = 0x7FFFFFFF
_LARGEST: Final = 1024 * 1024 * 1024
"""Bytes of a value; more is the length of no value."""
_AT_ONCE: Final = 256 * 1024
_MOST_AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes read from one process before the others have their turn."""


class Mailbox:
    """What has arrived in part waits for its rest, and what does not fit waits to be sent.

    Attributes:
        is_closed: Whether the other process is known to have let go of its end.
        is_broken: Whether bytes came that are no value: user code wrote into the connection.
    """

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._arrived = bytearray()
        self._unsent = bytearray()
        self.is_closed = False
        self.is_broken = False

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` is to be called once the socket takes bytes again."""
        return bool(self._unsent) and not self.is_closed

    def send(self, value: object) -> None:
        """Send a value, or as much of it as the socket takes now; `flush` sends the rest."""
        body = pickle.dumps(value)
        if len(body) > _LONGEST:
            self._unsent += _LENGTH.pack(-1) + _LONG_LENGTH.pack(len(body))
        else:
            self._unsent += _LENGTH.pack(len(body))
        self._unsent += body
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes of what is unsent."""
        with suppress(BlockingIOError):
            while self._unsent:
                try:
                    sent = self._socket.send(self._unsent, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    raise
                except OSError:  # a process that is gone is noticed by its exit status
                    self._unsent.clear()
                    return
                del self._unsent[:sent]

    def received(self) -> list[Any]:
        """Every value that has arrived in full."""
        self._read()
        values: list[Any] = []
        at = 0
        try:
            while (span := self._span(at)) is not None:
                first, at = span
                with memoryview(self._arrived) as arrived:
                    values.append(pickle.loads(arrived[first:at]))  # noqa: S301 - our own process
        except Exception:  # noqa: BLE001 - bytes of anybody's may raise anything
            self.is_broken = True
        if self.is_broken:
            at = len(self._arrived)
        del self._arrived[:at]
        return values

    def close(self) -> None:
        """Let go of our end."""
        self._socket.close()

    def _read(self) -> None:
        read = 0
        while not self.is_closed and read < _MOST_AT_ONCE:
            try:
                chunk = self._socket.recv(_AT_ONCE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            self.is_closed = not chunk
            self._arrived += chunk
            read += len(chunk)
            if len(chunk) < _AT_ONCE:
                return

    def _span(self, at: int) -> tuple[int, int] | None:
        """Where the value whose frame begins at `at` begins and ends; None: it is not all here."""
        first = at + _LENGTH.size
        if len(self._arrived) < first:
            return None
        (length,) = _LENGTH.unpack_from(self._arrived, at)
        if length < 0:
            at, first = first, first + _LONG_LENGTH.size
            if len(self._arrived) < first:
                return None
            (length,) = _LONG_LENGTH.unpack_from(self._arrived, at)
        if length > _LARGEST:
            raise ValueError(length)
        return (first, first + length) if len(self._arrived) >= first + length else None
