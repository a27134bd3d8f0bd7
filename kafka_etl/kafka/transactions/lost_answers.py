"""Whether a producer may have a request of an earlier transaction still on its way to a broker.

The client repeats a request of a transaction on its own, and reports neither the first sending nor
the second. A broker that gets both may act on the late one in the middle of a *later* transaction
of the same producer: a late commit makes half of that transaction durable.

When the client repeats a request (librdkafka 2.16, `rdkafka_txnmgr.c`, `rdkafka_broker.c`):

1. The broker answered "not now": CONCURRENT_TRANSACTIONS, NOT_COORDINATOR, a coordinator that is
   loading. The request has arrived, was answered and is over. No harm comes of repeating it.
2. The connection was lost before the answer came. The client connects again at once and repeats
   the request: five milliseconds later on a near network. The error callback is not called.
3. No answer came within `socket.timeout.ms`. The client closes the connection, then does as in 2.

Only 2 and 3 leave a request on its way. The time that a call took does not show 2 or 3: to repeat
a request on a near network takes less time than to send a request once on a far network. But the
client's log names every lost connection and every request without an answer, before the request is
sent again: the lines FAIL and REQTMOUT. FAIL is a line for debugging, so the producer
logs with `debug=broker`: about five lines for each transaction.

A line that comes between two transactions is of no importance: the brokers have answered all
requests of the earlier transaction, and a broker closes a connection that was idle for ten minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from kafka_etl.client_log import client_logger

_DEBUG: Final = "broker"
_TELLING: Final = frozenset({"FAIL", "REQTMOUT"})
_BOOTSTRAP: Final = "/bootstrap: "
"""Mark of a connection to an address in `bootstrap.servers`, which carries no transaction."""
_SHOWN: Final = (*[logging.CRITICAL] * 3, logging.ERROR, logging.WARNING, *[logging.INFO] * 2)
"""Python's log level for each of the client's levels 0 to 6; level 7 is for debugging."""


class LostAnswers:
    """The reader of one producer's log.

    The client calls `log` on the thread that calls the producer: the engine's thread, or the thread
    that waits for a commit. No two threads call the producer at the same time.

    Attributes:
        suspected: Whether an answer may have been lost; only a new producer of the same id fences
            a request that is still on its way.

    Args:
        settings: Settings of the producer.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.suspected = False
        self._watches = False
        self._debugged = str(settings.get("debug") or "")
        level = int(settings.get("log_level", len(_SHOWN)))
        self._least = _SHOWN[max(0, min(level, len(_SHOWN) - 1))]

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that make the client log lost connections, beside the user's `debug`."""
        contexts = [self._debugged] if self._debugged else []
        return {"debug": ",".join([*contexts, _DEBUG]), "log_level": 7}

    def log(self, level: int, text: str, facility: str, client: str, line: str, /) -> None:
        """Read a line of the client's log, and pass the line on if the user asked for its level."""
        if facility in _TELLING and self._watches and _BOOTSTRAP not in line:
            self.suspected = True
        if level >= self._least or (self._debugged and level == logging.DEBUG):
            client_logger().log(level, text, facility, client, line)

    def suspect(self) -> None:
        """Note that an answer may have been lost, for a reason that the log does not show."""
        self.suspected = True

    def watch(self) -> None:
        """Heed log lines from now on: a transaction begins."""
        self._watches = True

    def rest(self) -> None:
        """Ignore log lines from now on: a transaction has ended well, with all its lines read."""
        self._watches = False
