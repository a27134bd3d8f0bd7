"""The connection of a door: made, waited for, and made again after an error."""

from __future__ import annotations

from time import monotonic, sleep
from typing import Final, Protocol

from kafka_etl.contracts import Abandoned, Pulse, Unreachable
from kafka_etl.errors import KafkaEtlError, SinkBlocked, SinkFailed
from kafka_etl.invocation import ErrorInfo
from kafka_etl.log import get_logger
from kafka_etl.retry import Backoff

_PIECE: Final = 0.1
"""Seconds between two pulses."""
_BACKOFF: Final = Backoff(initial=0.2, max=10.0, jitter="none")
MEND_PATIENCE: Final = 300.0
"""Seconds for which a target refuses everybody, before the pipeline pauses."""


class Door(Protocol):
    """The part of a door that a connection uses."""

    def connect(self) -> None: ...

    def close(self) -> None: ...


class Connection:
    """Connects a door, and waits for a target that is away. Called on the commit thread.

    Args:
        door: The door.
        pulse: Called between the pieces of long waits.
        patience: Seconds to wait for a target that cannot be reached; None: without an end.
    """

    def __init__(self, door: Door, pulse: Pulse, *, patience: float | None = None) -> None:
        self._door = door
        self._pulse = pulse
        self._patience = patience
        self._is_open = False
        self._failures = 0
        self._failing_since: float | None = None
        self._log = get_logger("sink")

    def ensure(self) -> None:
        """Return when the door is connected.

        Raises:
            SinkFailed: The target stayed away for longer than `patience`.
            SinkBlocked: The target refuses everybody, for five minutes now.
            KafkaEtlError: No later try can succeed.
            Abandoned: The worker is stopping.
        """
        while not self._is_open:
            try:
                self._door.connect()
                self._is_open = True
            except (Abandoned, KafkaEtlError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever a target's client raises
                self.failed(error)

    def failed(self, error: Exception) -> None:
        """Drop the connection after an error of the target, and wait for the back-off.

        Raises: as `ensure`.
        """
        self.drop()
        now = monotonic()
        if self._failing_since is None:
            self._failing_since = now
        lasts = now - self._failing_since
        reason = said(error)
        if self._patience is not None and lasts > self._patience:
            raise SinkFailed(f"the sink's target stays away: {reason}") from error
        if isinstance(error, Unreachable) and error.mend and lasts > MEND_PATIENCE:
            raise SinkBlocked(f"the sink's target refuses everybody: {reason}") from error
        self._failures += 1
        self.rest(_BACKOFF.delay(self._failures, lambda: 1.0), f"the sink: {reason}")

    def worked(self) -> None:
        """A call has succeeded: the next failure is the first one."""
        self._failures, self._failing_since = 0, None

    def drop(self) -> None:
        """Close the door, if it is connected; the next `ensure` connects anew."""
        self._is_open = False
        try:
            self._door.close()
        except Exception as error:  # noqa: BLE001 - any error of a target; the connection is gone
            self._log.debug("closing the sink failed", error=said(error))

    def rest(self, seconds: float, reason: str) -> None:
        """Wait, with pulses; the reason becomes the pipeline's trouble."""
        until = monotonic() + seconds
        while (remaining := until - monotonic()) > 0:
            self._pulse(reason)
            sleep(min(_PIECE, remaining))


def said(error: BaseException) -> str:
    """An error in words, for logs and the pipeline's trouble: one line."""
    if isinstance(error, Unreachable):
        return error.reason
    info = ErrorInfo.of(error)
    return f"{info.type}: {info.message.splitlines()[0][:500]}"
