"""The writer: rows to messages, messages to requests, and the service's answers to verdicts."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator, Mapping
from typing import Final

from kafka_etl.contracts import (
    TAKEN,
    Again,
    Limits,
    Refused,
    Row,
    RowOrder,
    Rows,
    Taken,
    Unreachable,
    Writer,
)
from kafka_etl.envelope import OutputTooLarge, Provenance, encode_success
from kafka_etl_connectors.mns.client import Judged, ServiceError, Target
from kafka_etl_connectors.mns.settings import BATCH, BODY, MnsSettings

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""

Bodies = Mapping[int, str]
"""Position of a row -> the body of its message."""


class MnsWriter(Writer):
    """Sends rows as messages, in requests of at most 16.

    A queue keeps no order of its messages, so a set needs none. Messages of a request that the
    service took stay taken: only the others are named in the answer.

    Args:
        settings: Address, credentials, target and format.
        about: Where the rows come from; stands in envelopes.
    """

    order = RowOrder.NONE
    repeatable = False

    def __init__(self, settings: MnsSettings, about: Provenance) -> None:
        size = settings.body_bytes
        self.limits = Limits(rows=BATCH, bytes=size, row_bytes=size)
        self._settings = settings
        self._about = about
        self._target: Target | None = None

    def connect(self) -> None:
        """Make the client, which connects with the first request."""
        self._target = Target(self._settings)

    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        """Send the rows; see `Writer.write`."""
        verdicts: dict[int, Refused | Again] = {}
        bodies: dict[int, str] = {}
        for row in rows:
            made = self._body(row)
            if isinstance(made, Refused):
                verdicts[row.position] = made
            else:
                bodies[row.position] = made
        taken = 0
        waiting = list(_requests(bodies, BATCH if self._connected().in_batches else 1))
        while waiting:
            request = waiting.pop(0)
            judged = self._send(request)
            away = next((one for one in judged.values() if isinstance(one, Unreachable)), None)
            taken += len(request) - len(judged)
            if away is not None and not taken:
                raise away
            verdicts |= {position: _of_row(one) for position, one in judged.items()}
            if away is not None or any(isinstance(one, Again) for one in judged.values()):
                reason = "an earlier message of the set was not taken"
                later = (position for one in waiting for position in one)
                verdicts |= dict.fromkeys(later, Again(reason, patient=True))
                break
        return verdicts or TAKEN

    def close(self) -> None:
        """Close the connection."""
        if self._target is not None:
            self._target.close()

    def interrupt(self) -> None:
        """Break the request that is under way."""
        if self._target is not None:
            self._target.interrupt()

    def _connected(self) -> Target:
        if self._target is None:
            raise Unreachable("the sink mns is not connected")
        return self._target

    def _send(self, request: Bodies) -> Mapping[int, Judged]:
        """Send one request; returns what the errors mean by the rows' positions.

        A request that is refused as a whole delivers nothing and names no message: each message is
        then sent alone.
        """
        positions = list(request)
        try:
            judged = self._connected().send(list(request.values()))
        except ServiceError as error:
            if not isinstance(error.judged, Refused) or len(request) == 1:
                return dict.fromkeys(positions, error.judged)
            alone: dict[int, Judged] = {}
            for position, body in request.items():
                alone |= self._send({position: body})
            return alone
        return {positions[at]: one for at, one in judged.items()}

    def _body(self, row: Row) -> str | Refused:
        """The body of a row's message, or why there can be none."""
        value: bytes | None = row.value
        if self._settings.format == "envelope":
            try:
                value = self._envelope(row)
            except OutputTooLarge as error:
                return Refused("RecordTooLarge", str(error), too_large=True)
        if not value:
            return Refused("MessageBodyInvalid", "a message must have a body; the value has none")
        if len(value) > self._settings.body_bytes:
            message = f"{len(value):,} bytes; a message holds {self._settings.body_bytes:,}"
            return Refused("RecordTooLarge", message, too_large=True)
        if self._settings.encoding == "base64":
            return base64.b64encode(value).decode()
        return _plain(value)

    def _envelope(self, row: Row) -> bytes:
        return encode_success(
            row.source,
            row.value,
            self._about,
            self._settings.body_bytes,
            request_id=row.id or "",
            at_ms=time.time_ns() // 1_000_000,
        )


def _plain(value: bytes) -> str | Refused:
    """The value as a body that is not encoded."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Refused("NoText", "`encoding: text` needs UTF-8; `encoding: base64` takes all")
    if _NO_XML.search(text):
        return Refused("NoText", "XML cannot hold a character; `encoding: base64` takes all")
    return text


def _of_row(judged: Judged) -> Refused | Again:
    """A verdict on a row; the row waits where the whole target was away after others were taken."""
    if isinstance(judged, Unreachable):
        return Again(judged.reason, patient=True)
    return judged


def _requests(bodies: Bodies, most: int) -> Iterator[Bodies]:
    """Cut messages into requests of at most `most` messages and 64 KiB of bodies."""
    request: dict[int, str] = {}
    size = 0
    for position, body in bodies.items():
        more = len(body.encode())
        if request and (len(request) >= most or size + more > BODY):
            yield request
            request, size = {}, 0
        request[position] = body
        size += more
    if request:
        yield request
