"""The owners of the pipeline's partitions, as the keeper knows them: connections to its socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from kafka_etl.log import get_logger
from kafka_etl.runtime.daemon.control_socket import address_of
from kafka_etl.runtime.tasks.keeper.loop import Loop
from kafka_etl.tasks.keeping import (
    Attach,
    FromKeeper,
    FromOwner,
    Leaving,
    Logged,
    Said,
    pack,
    unpack_from_owner,
)

_AT_ONCE: Final = 256 * 1024
_MOST_UNSENT: Final = 256 * 1024 * 1024
"""Bytes that an owner may leave unread before the keeper hangs up."""
_MOST_UNSENT_LOGS: Final = 4 * 1024 * 1024
"""Unsent bytes with which an owner gets no logs any more: words come first."""
_log = get_logger("keeper")


class Owner:
    """A connection.

    Attributes:
        partitions: Partitions that the owner relays for; None: it has not said `Attach`.
        is_deaf: Whether the other end has closed its socket; there may still be something to read.
        is_closed: Whether there is nothing to read any more, or nothing that anybody understands.
    """

    def __init__(self, theirs: socket.socket) -> None:
        theirs.setblocking(False)
        self._socket = theirs
        self._arrived = bytearray()
        self._unsent = bytearray()
        self.partitions: frozenset[int] | None = None
        self.is_deaf = False
        self.is_closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def has_unsent(self) -> bool:
        return bool(self._unsent)

    @property
    def takes_logs(self) -> bool:
        """Whether the owner reads as fast as the keeper sends."""
        return len(self._unsent) < _MOST_UNSENT_LOGS

    def received(self) -> list[FromOwner]:
        """The messages that have arrived completely since the last call."""
        try:
            chunk = self._socket.recv(_AT_ONCE)
        except BlockingIOError:
            return []
        except OSError:
            chunk = b""
        self.is_closed = self.is_closed or not chunk
        self._arrived += chunk
        try:
            return unpack_from_owner(self._arrived)
        except msgspec.MsgspecError as error:
            _log.error("an owner says what is no message", error=str(error))
            self.is_closed = True
            return []

    def send(self, message: FromKeeper) -> None:
        """Send as much of a message as the socket takes now; `flush` sends the rest."""
        self._unsent += pack(message)
        if len(self._unsent) > _MOST_UNSENT:
            _log.error("an owner reads nothing", unsent=len(self._unsent))
            self.is_closed = True

    def flush(self) -> None:
        """Send as many of the unsent bytes as the socket takes now."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self.is_deaf = True
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def close(self) -> None:
        self._socket.close()


class Owners:
    """All connections, and the way of a word to one of them.

    Args:
        loop: The keeper's loop.
        path: Path of the socket.
        heard: Called with an owner and its message.
        lost: Called when an owner has hung up, after it was taken off the list.
    """

    def __init__(
        self,
        loop: Loop,
        path: Path,
        heard: Callable[[Owner, FromOwner], None],
        lost: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._path = path
        self._heard = heard
        self._lost = lost
        self._owners: list[Owner] = []
        self._listener = _listen(path)
        loop.watch(self._listener.fileno(), self._accept)

    @property
    def are_there(self) -> bool:
        """Whether any owner has said `Attach`."""
        return bool(self._attached())

    def attach(self, owner: Owner, attach: Attach) -> None:
        """The owner relays for these partitions from now on."""
        owner.partitions = frozenset(attach.partitions)
        self._owners.remove(owner)
        self._owners.append(owner)

    def of(self, partition: int) -> Owner | None:
        """The owner that a word of this partition goes to; None: there is no owner at all.

        That is the latest that has the partition, and without one any other: the inbox takes words
        from everybody.
        """
        attached = self._attached()
        return next(
            (o for o in reversed(attached) if o.partitions and partition in o.partitions),
            attached[-1] if attached else None,
        )

    def relay(self, said: Said) -> None:
        """Give a word to an owner; a word without an owner is dropped."""
        owner = self.of(said.partition)
        if owner is not None:
            owner.send(said)

    def log(self, piece: Logged) -> bool:
        """Give a piece of a log to an owner; returns whether there is one that takes it."""
        owner = self.of(piece.partition)
        if owner is None or not owner.takes_logs:
            return False
        owner.send(piece)
        return True

    def flush(self) -> None:
        """Send what is to be sent, and forget owners that have hung up."""
        for owner in list(self._owners):
            owner.flush()
            if owner.is_closed:
                self._hang_up(owner)
            else:
                self._watch(owner)

    def take_leave(self) -> None:
        """Tell all owners that the keeper ends in good order."""
        for owner in self._owners:
            owner.send(Leaving())
            owner.flush()

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        self._loop.forget(self._listener.fileno())
        self._listener.close()

    def _attached(self) -> list[Owner]:
        return [o for o in self._owners if o.partitions is not None and not o.is_deaf]

    def _accept(self) -> None:
        try:
            theirs, _ = self._listener.accept()
        except OSError:  # such as too many open files, which passes
            return
        owner = Owner(theirs)
        self._owners.append(owner)
        self._watch(owner)

    def _watch(self, owner: Owner) -> None:
        self._loop.watch(owner.fileno(), lambda: self._listen(owner), write=owner.has_unsent)

    def _listen(self, owner: Owner) -> None:
        for message in owner.received():
            self._heard(owner, message)
        if owner.is_closed:
            self._hang_up(owner)

    def _hang_up(self, owner: Owner) -> None:
        if owner in self._owners:
            self._owners.remove(owner)
            self._loop.forget(owner.fileno())
            owner.close()
            self._lost()


def _listen(path: Path) -> socket.socket:
    """Listen at a path; only our own user may connect. A killed keeper may have left the file."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with address_of(path) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    listener.listen(64)
    listener.setblocking(False)
    return listener
