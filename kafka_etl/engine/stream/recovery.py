"""Recovery: what follows when a commit fails, or when something the pipeline needs is away."""

from __future__ import annotations

from collections.abc import Collection

from kafka_etl.contracts import Aborted, OffsetKeeper, OutcomeUnknown, Refusal, Unavailable
from kafka_etl.engine.stream.commit_protocol import CommitFailed, CommitProtocol
from kafka_etl.engine.stream.parts import StreamParts
from kafka_etl.engine.stream.uncommitted import Uncommitted
from kafka_etl.errors import DeadLetterRefused
from kafka_etl.log import get_logger
from kafka_etl.record import Partition, offset_of, partition_of
from kafka_etl.retry import Backoff


class Recovery:
    """The failure policy of a stream engine.

    Whatever was not committed is read again, in smaller batches. Failures in a row are spaced by a
    back-off; `healthy` ends the row.
    """

    def __init__(self, parts: StreamParts, protocol: CommitProtocol) -> None:
        self._parts = parts
        self._protocol = protocol
        self._backoff = Backoff(initial=0.1, max=5.0)
        self._failures = 0
        self._log = get_logger("engine")

    def healthy(self, trouble: str | None) -> None:
        """A commit succeeded; `trouble` is what still slows the pipeline down, if anything."""
        self._failures = 0
        self._parts.hooks.trouble(trouble)

    def after(self, failed: CommitFailed) -> None:
        """Go back to where the group stands.

        Raises:
            DeadLetterRefused: The sink refused a dead letter that came alone.
            Abandoned: The worker is stopping.
            Fenced: Another client keeps taking this worker's id.
        """
        match failed.cause:
            case Aborted() as abort:
                self.aborted(abort, failed.uncommitted)
            case OutcomeUnknown() as unknown:
                self._outcome_unknown(unknown, failed.uncommitted)

    def aborted(self, abort: Aborted, uncommitted: Uncommitted) -> None:
        """Nothing was committed: go back, and try a smaller batch."""
        parts = self._parts
        parts.counters.add("aborts")
        self._log.debug("aborted", records=uncommitted.records, reason=abort.reason)
        parts.source.rewind()
        parts.breaker.rewind()
        if abort.moved:
            self.place(parts.source.positions().keys() & abort.moved)
        else:
            parts.pace.failed(uncommitted.records)
        if abort.refusal is not None:
            self._refused(abort.refusal, uncommitted)
        elif not abort.routine:
            self._back_off(abort.reason)

    def unavailable(self, away: Unavailable) -> None:
        """No record is to blame: go back, and try again once the missing part is back."""
        self._parts.source.rewind()
        self._parts.breaker.rewind()
        self._back_off(away.reason)

    def _outcome_unknown(self, unknown: OutcomeUnknown, uncommitted: Uncommitted) -> None:
        """Open the sink anew, then read the committed offsets, which tell what became durable.

        Opening the sink ends a transaction that was left open.
        """
        parts = self._parts
        parts.breaker.rewind()
        if unknown.halve:
            parts.pace.failed(uncommitted.records)
        left_open: OutcomeUnknown | None = unknown
        while left_open is not None:
            parts.counters.add("outcomes_unknown")
            if left_open.fenced:
                parts.hooks.fenced(left_open.reason)
            self._back_off(left_open.reason)
            left_open = self._reopen()

    def _reopen(self) -> OutcomeUnknown | None:
        """Open the sink, and read on from where the offsets are kept.

        Returns:
            The error if the outcome of these calls is unknown, too.
        """
        source = self._parts.source
        try:
            self._protocol.call(self._parts.sink.open)
            if not self.place(source.positions().keys()):
                source.reload()
        except OutcomeUnknown as unknown:
            return unknown
        return None

    def place(self, partitions: Collection[Partition]) -> bool:
        """Read these partitions from where they stand in a sink that keeps the offsets.

        Returns:
            Whether the sink keeps the offsets.

        Raises:
            OutcomeUnknown: The sink's target is away.
        """
        source, keeper = self._parts.source, self._parts.sink
        if not isinstance(keeper, OffsetKeeper):
            return False
        source.rewind()
        known = {tp: at.next for tp, at in source.positions().items() if tp in partitions}
        source.place(self._protocol.call(lambda: keeper.standing(known)))
        return True

    def _refused(self, refusal: Refusal, uncommitted: Uncommitted) -> None:
        """Blame a record only if the record came alone: brokers refuse whole sets for one record.

        Where an operator mixes rows, a slice cannot be divided any further.
        """
        mixes = self._parts.invoker.chain.mixes
        together = len(uncommitted.slices) if mixes else uncommitted.records
        if together > 1:
            return
        if not any(len(settlement.outputs) for _, settlement in uncommitted.slices):
            raise DeadLetterRefused(f"a dead letter was refused: {refusal.code}: {refusal.message}")
        for batch, _ in uncommitted.slices:
            self._parts.quarantine.refuse(batch.records, refusal)
            for record in batch.records:
                at = f"{partition_of(record)}@{offset_of(record)}"
                self._log.warning("the sink refused a record", at=at, code=refusal.code)

    def _back_off(self, reason: str) -> None:
        self._failures += 1
        self._parts.hooks.trouble(reason)
        self._parts.hooks.sleep(self._backoff.delay(self._failures, self._parts.hooks.random))
