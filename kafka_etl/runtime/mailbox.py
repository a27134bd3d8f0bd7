"""A socket end that sends and receives pickled values without blocking, for the daemon's loop.

The other end is a `multiprocessing.connection.Connection`, and the framing is the one of such a
connection: a length of four bytes, or -1 and a length of eight bytes, then the pickled value.
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
"""The most bytes that one call reads from one process, so that no process starves the others."""


class Mailbox:
    """A non-blocking end of a socket, with buffers for values that are sent or received in part.

    Attributes:
        is_closed: Whether a read has found that the other process closed its end.
        is_broken: Whether the socket carried bytes that are no value: user code in the other
            process wrote into the connection.
    """

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self._arrived = bytearray()
        self._unsent = bytearray()
        self.is_closed = False
        self.is_broken = False

    def fileno(self) -> int:
        """Return the socket's descriptor, so that a selector can register the mailbox."""
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        """Whether bytes wait to be sent: call `flush` once the socket is writable again."""
        return bool(self._unsent) and not self.is_closed

    def send(self, value: object) -> None:
        """Send as much of a value as the socket takes now; `flush` sends the rest."""
        body = pickle.dumps(value)
        if len(body) > _LONGEST:
            self._unsent += _LENGTH.pack(-1) + _LONG_LENGTH.pack(len(body))
        else:
            self._unsent += _LENGTH.pack(len(body))
        self._unsent += body
        self.flush()

    def flush(self) -> None:
        """Send as many of the unsent bytes as the socket takes now."""
        with suppress(BlockingIOError):
            while self._unsent:
                try:
                    sent = self._socket.send(self._unsent, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    raise
                except OSError:  # the process is dead, which the daemon sees by its exit status
                    self._unsent.clear()
                    return
                del self._unsent[:sent]

    def received(self) -> list[Any]:
        """Return the values that have arrived completely since the last call."""
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
        """Close our end of the socket."""
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
        """Begin and end, in the buffer, of the value whose frame starts at `at`.

        None: the frame has not arrived completely.
        """
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
