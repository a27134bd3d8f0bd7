"""Present time as the brokers have it: the age of a task counts from when a broker appended it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from kafka_etl.log import get_logger
from kafka_etl.tasks.keeping import Instant

_HEARD: Final = 16
"""How many of the brokers' timestamps count: the best of the last ones, for answers may be late."""
_FAR: Final = 60_000
"""Milliseconds between two clocks that an operator of the host should know of."""


class BrokerClock:
    """The brokers' clock, as acknowledged records tell the time.

    Until a record is acknowledged, the clock is that of the host. Afterwards the host's clock does
    not count, so that two hosts whose clocks differ agree on what has expired.

    Args:
        now: The host's clocks.
    """

    def __init__(self, now: Callable[[], Instant] = Instant.now) -> None:
        self._now = now
        self._ahead: deque[int] = deque(maxlen=_HEARD)
        self._has_said = False
        self._log = get_logger("owner")

    def now_ms(self) -> int:
        """Present time, in milliseconds since the epoch."""
        now = self._now()
        return int(now.boot * 1000) + max(self._ahead) if self._ahead else int(now.wall * 1000)

    def told(self, record: Message) -> None:
        """A record was acknowledged, which has its broker's timestamp if the topic says so."""
        kind, appended_ms = record.timestamp()
        if kind == TIMESTAMP_LOG_APPEND_TIME:
            self.appended(appended_ms)

    def appended(self, at_ms: int) -> None:
        """A broker appended a record just now, or a moment ago."""
        now = self._now()
        self._ahead.append(at_ms - int(now.boot * 1000))
        apart = int(now.wall * 1000) - self.now_ms()
        if abs(apart) < _FAR:
            self._has_said = False
        elif not self._has_said:
            self._has_said = True
            self._log.warning(
                "this host's clock differs from the brokers': tasks go by the brokers'",
                ahead_seconds=round(apart / 1000),
                next="Set the clocks of hosts and brokers by NTP.",
            )
