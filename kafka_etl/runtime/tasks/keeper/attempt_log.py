"""What attempts print, on its way to an owner: bounded in size, in rate, and in memory.

The first half of a log goes out as it comes. Of the rest, the last is kept in a ring that goes out
when the attempt has ended, behind a note of how much is missing between. Printing is never held up:
what has no room any more is left out.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from kafka_etl.tasks.keeping import Grant, Logged
from kafka_etl.tasks.log_records import Stream

_PIECE: Final = 16 * 1024
"""Bytes of a piece, at most."""
_TOGETHER_MS: Final = 1_000
"""Milliseconds within which prints make one piece."""
_AROUND: Final = 100
"""Bytes that a piece costs beside its data, so that a million short lines are bounded as well."""
_ATTEMPT_RATE: Final = 64 * 1024
"""Bytes a second of a running attempt."""
_HOST_RATE: Final = 10 * 1024 * 1024
"""Bytes a second of all attempts together."""
_ENDED: Final = 16 * 1024 * 1024
"""Bytes of logs of ended attempts that wait for an owner, at most."""
_STACKS: Final = 256 * 1024
"""Bytes of stacks that wait for an owner, at most, of one attempt."""
_FLUSH: Final = 0.2


class _Text:
    """Prints that make one piece, as far as they go."""

    __slots__ = ("at_ms", "data", "stream")

    def __init__(self, stream: Stream, at_ms: int, data: bytes) -> None:
        self.stream: Stream = stream
        self.at_ms = at_ms
        self.data = bytearray(data)

    @property
    def cost(self) -> int:
        return len(self.data) + _AROUND

    def takes(self, stream: Stream, at_ms: int) -> int:
        """Number of bytes that the piece takes of such a print."""
        if stream != self.stream or at_ms - self.at_ms > _TOGETHER_MS:
            return 0
        return max(0, _PIECE - len(self.data))


class AttemptLog:
    """What one attempt prints.

    Args:
        grant: The grant of the attempt.
        limit: Bytes of the whole log.
        now: The keeper's time, in seconds.
        now_ms: Present time, in milliseconds since the epoch.
    """

    def __init__(
        self, grant: Grant, limit: int, now: float, now_ms: Callable[[], int] | None = None
    ) -> None:
        self._grant = grant
        self._room = limit // 2
        self._ring_most = limit - limit // 2
        self._now_ms = now_ms or _now_ms
        self._stacks: deque[_Text] = deque()
        self._live: deque[_Text] = deque()
        self._ring: deque[_Text] = deque()
        self._ring_size = 0
        self._left_out = 0
        self._seq = 0
        self._allowed = float(_ATTEMPT_RATE)
        self._allowed_at = now
        self._is_over = False

    def write(self, stream: Stream, data: bytes) -> None:
        """Take in what was printed."""
        if not data or self._is_over:
            return
        at_ms = self._now_ms()
        if stream == "stack":
            self._show(data, at_ms)
            return
        if self._room > 0:
            room = max(0, self._room - _AROUND)
            self._room -= _add(self._live, stream, at_ms, data[:room])
            data = data[room:]
        if data:
            self._room = 0
            self._ring_size += _add(self._ring, stream, at_ms, data)
            while self._ring_size > self._ring_most:
                oldest = self._ring.popleft()
                self._ring_size -= oldest.cost
                self._left_out += len(oldest.data)

    def end(self) -> None:
        """Nothing is printed any more: the ring, too, may go out."""
        if self._is_over:
            return
        self._is_over = True
        if self._left_out:
            self._live.append(self._gap(self._left_out))
        self._live += self._ring
        self._ring.clear()
        if self._live or self._stacks or self._seq:
            self._live.append(_Text("end", self._now_ms(), b""))

    def shrink(self) -> None:
        """Leave out what has not gone out: nobody takes it fast enough."""
        self._left_out += sum(len(text.data) for text in self._live if text.stream != "gap")
        self._live.clear()
        self._live.append(self._gap(self._left_out))
        self._live.append(_Text("end", self._now_ms(), b""))

    @property
    def has_some(self) -> bool:
        """Whether there is something that may go out, now or soon."""
        return bool(self._live or self._stacks)

    @property
    def size(self) -> int:
        """Bytes that have not gone out, without those of the ring of an attempt that runs."""
        return sum(text.cost for text in self._live) + sum(text.cost for text in self._stacks)

    def next_piece(self, now: float) -> Logged | None:
        """The piece that may go out next; None: there is none, or not yet."""
        text = self._next(now)
        if text is None:
            return None
        grant = self._grant
        return Logged(
            token=grant.token,
            task=grant.task,
            partition=grant.partition,
            attempt=grant.attempt,
            seq=self._seq,
            stream=text.stream,
            at_ms=text.at_ms,
            data=bytes(text.data),
        )

    def went_out(self) -> None:
        """The piece that `next_piece` has returned is on its way."""
        self._seq += 1
        if self._stacks:
            self._stacks.popleft()
            return
        text = self._live.popleft()
        self._allowed -= text.cost
        if text.stream == "gap":
            self._left_out = 0

    def _next(self, now: float) -> _Text | None:
        if self._stacks:
            return self._stacks[0]
        grown = self._allowed + (now - self._allowed_at) * _ATTEMPT_RATE
        self._allowed, self._allowed_at = min(grown, float(_ATTEMPT_RATE)), now
        may = self._is_over or self._allowed > 0
        return self._live[0] if self._live and may else None

    def _show(self, data: bytes, at_ms: int) -> None:
        """Stacks overtake everything else: somebody waits for them."""
        if sum(len(text.data) for text in self._stacks) < _STACKS:
            _add(self._stacks, "stack", at_ms, data)

    def _gap(self, left_out: int) -> _Text:
        said = f"\n[{left_out:,} bytes are left out here]\n"
        return _Text("gap", self._now_ms(), said.encode())


def _add(texts: deque[_Text], stream: Stream, at_ms: int, data: bytes) -> int:
    """Add a print to the last piece, as far as that takes it, and to new ones; return its cost."""
    cost, at = 0, 0
    while at < len(data):
        takes = texts[-1].takes(stream, at_ms) if texts else 0
        if takes:
            texts[-1].data += data[at : at + takes]
        else:
            takes = _PIECE
            texts.append(_Text(stream, at_ms, data[at : at + _PIECE]))
            cost += _AROUND
        taken = min(takes, len(data) - at)
        at += taken
        cost += taken
    return cost


class Logs:
    """The logs of all attempts of a keeper.

    Args:
        limit: Bytes of the log of one attempt; 0: there are no logs.
        send: Gives a piece to an owner; returns whether there is an owner that takes it.
    """

    def __init__(self, limit: int, send: Callable[[Logged], bool]) -> None:
        self._limit = limit
        self._send = send
        self._running: dict[str, AttemptLog] = {}
        self._ended: deque[AttemptLog] = deque()
        self._allowed = float(_HOST_RATE)
        self._allowed_at = 0.0
        self._flush_at = 0.0

    def begin(self, grant: Grant, now: float) -> Callable[[Stream, bytes], None] | None:
        """An attempt begins; returns what takes its prints; None: nothing does."""
        if not self._limit:
            return None
        log = self._running[grant.token] = AttemptLog(grant, self._limit, now)
        return log.write

    def end(self, token: str) -> None:
        """The attempt has ended."""
        log = self._running.pop(token, None)
        if log is None:
            return
        log.end()
        if not log.has_some:
            return
        self._ended.append(log)
        waiting = sum(each.size for each in self._ended)
        for each in self._ended:
            if waiting <= _ENDED:
                break
            waiting -= each.size
            each.shrink()
            waiting += each.size

    def flush(self, now: float, *, at_once: bool = False) -> None:
        """Give owners what may go out now: a few times a second, since prints make larger pieces.

        Args:
            now: The keeper's time, in seconds.
            at_once: Whether this is the last call.
        """
        if now < self._flush_at and not at_once:
            return
        self._flush_at = now + _FLUSH
        grown = self._allowed + (now - self._allowed_at) * _HOST_RATE
        self._allowed, self._allowed_at = min(grown, float(_HOST_RATE)), now
        while self._ended and self._all_went_out(self._ended[0], now):
            self._ended.popleft()
        for log in self._running.values():
            if not self._all_went_out(log, now):
                break

    def next_flush(self, now: float) -> float | None:
        """When `flush` may have something to do; None: there is nothing."""
        waits = bool(self._ended) or any(log.has_some for log in self._running.values())
        return max(now, self._flush_at) if waits else None

    def _all_went_out(self, log: AttemptLog, now: float) -> bool:
        """Whether everything that may go out of a log did."""
        while (piece := log.next_piece(now)) is not None:
            if self._allowed <= 0 or not self._send(piece):
                return False
            log.went_out()
            self._allowed -= len(piece.data) + _AROUND
        return True


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
