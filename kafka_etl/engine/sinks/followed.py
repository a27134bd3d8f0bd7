"""A sink made of a writer: rows are acknowledged first, then offsets are committed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from kafka_etl.contracts import Pulse, Rows, RowsRefused, Writer
from kafka_etl.contracts.rows import Identify
from kafka_etl.engine.sinks.connection import Connection
from kafka_etl.engine.sinks.delivery import Delivery
from kafka_etl.invocation import Outputs, Settlement
from kafka_etl.settle import settlement_without


class OffsetLedger(Protocol):
    """Where offsets and dead letters are committed in one Kafka transaction."""

    @property
    def owes(self) -> bool:
        """Whether the source has records that must be durable before its offsets move."""
        ...

    def open(self) -> None: ...

    def begin(self, settlement: Settlement) -> Callable[[], None]: ...

    def close(self) -> None: ...


class FollowedSink:
    """Delivers rows to a writer, then commits offsets and dead letters in one transaction.

    Args:
        writer: The target.
        ledger: Where offsets and dead letters go.
        identify: Names a source record, for the ids of rows.
        pulse: Called between the pieces of long waits.
        patience: Seconds to wait for a target that cannot be reached; None: without an end.
    """

    def __init__(
        self,
        writer: Writer,
        ledger: OffsetLedger,
        identify: Identify,
        pulse: Pulse,
        *,
        patience: float | None = None,
    ) -> None:
        self._writer = writer
        self._ledger = ledger
        self._identify = identify
        self._connection = Connection(writer, pulse, patience=patience)
        self._delivery = Delivery(writer, self._connection)

    def open(self) -> None:
        """Connect the writer, waiting for a target that is away, then open the ledger."""
        self._connection.ensure()
        self._ledger.open()

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`; everything is done on the commit thread."""
        return lambda: self._commit(settlement)

    def interrupt(self) -> None:
        """Break the writer's call under way; called on the main thread."""
        self._writer.interrupt()

    def close(self) -> None:
        """Let go of the target and the ledger."""
        self._connection.drop()
        self._ledger.close()

    def _commit(self, settlement: Settlement) -> None:
        if len(settlement.outputs):
            rows = Rows(settlement.outputs, settlement.sources(), self._identify)
            refused = self._delivery.deliver(rows)
            if refused:
                raise RowsRefused(refused, delivered=True)
        # The proof of membership is read now: writing may have taken long, and partitions that left
        # meanwhile are their next owner's.
        held = settlement.held()
        rest = settlement_without(settlement, held.departed)
        self._ledger.begin(replace(rest, outputs=Outputs(), lease=held.lease))()
