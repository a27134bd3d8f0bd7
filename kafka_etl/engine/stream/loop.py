"""The loop of a stream pipeline: one batch from the source to the sink, again and again."""

from __future__ import annotations

from time import perf_counter
from typing import Final

from kafka_etl.contracts import Abandoned, Aborted, OffsetKeeper, OutcomeUnknown, Unavailable
from kafka_etl.engine.stream.commit_protocol import (
    CommitFailed,
    CommitProtocol,
    record_failed,
)
from kafka_etl.engine.stream.membership import Membership
from kafka_etl.engine.stream.parts import StreamParts
from kafka_etl.engine.stream.recovery import Recovery
from kafka_etl.engine.stream.uncommitted import Uncommitted
from kafka_etl.errors import BreakerTripped, KafkaEtlError
from kafka_etl.invocation import Invocation, Outcome, Outputs, Settlement
from kafka_etl.log import get_logger
from kafka_etl.record import Batch, Offsets, offset_of, partition_of
from kafka_etl.settle import settle

_RETRIES_TOLD: Final = 3.0
"""Seconds of waits before retries, in slices without one in between, that make a trouble."""
_CAREFUL: Final = 0.1
"""Seconds of work after which finished slices are committed while a record may kill the worker."""


class StreamEngine:
    """Moves batches from a source through the operators to a sink, each record exactly once.

    `step` is the whole path: gather, run, settle, commit, advance. Records that were not committed
    are read again. User code never runs inside a transaction of its own outputs, so user code may
    take its time.

    A pipeline that is behind does not wait for its commits: the next batch is run while the commit
    of the last one is under way (commit_protocol.py).

    All methods are called by the worker, on its main thread.
    """

    def __init__(self, parts: StreamParts) -> None:
        self._parts = parts
        self._membership = Membership(
            parts.source,
            parts.quarantine,
            parts.counters,
            parts.hooks.clock,
            self._place if isinstance(parts.sink, OffsetKeeper) else None,
        )
        self._protocol = CommitProtocol(parts, self._membership, self._healthy)
        self._recovery = Recovery(parts, self._protocol)
        self._is_idle = False
        self._waited = 0.0
        self._retried = 0.0
        self._retry_trouble: str | None = None
        self._log = get_logger("engine")

    def step(self) -> None:
        """Gather one batch and settle it.

        Raises:
            KafkaEtlError: The pipeline must pause or stop; uncommitted records are read again.
            Reconnect: The source needs a new client.
            Abandoned: The worker is stopping; everything finished is committed.
        """
        uncommitted = Uncommitted(self._parts.hooks.clock())
        try:
            batch = self._gather()
            if not self._is_behind(batch):
                self._protocol.join()
            self._protocol.commit_notes()
            self._is_idle = batch is None
            if batch is None:
                self._protocol.tick()
            else:
                self._process(batch, uncommitted)
        except CommitFailed as failed:
            self._recovery.after(failed)
        except Aborted as abort:  # a partition of this batch left before the commit
            self._join()
            self._recovery.aborted(abort, uncommitted)
        except Unavailable as away:
            self._join()
            self._recovery.unavailable(away)

    def idle(self) -> None:
        """Keep the membership alive without fetching: the pipeline is paused."""
        self._join()
        self._parts.recorder.phase("idle")
        try:
            self._protocol.serve()
            self._protocol.tick(paused=True)
        except CommitFailed as failed:
            self._recovery.after(failed)
        self._parts.hooks.sleep(0.1)

    def close_open(self) -> None:
        """Have the sink make durable what it has taken, if there is nothing to read.

        For a run to the end, which would else wait until the sink's open files are old enough.

        Raises: as `step`.
        """
        if not self._is_idle:
            return
        try:
            self._protocol.join()
            self._protocol.tick(final=True)
        except CommitFailed as failed:
            self._recovery.after(failed)

    def end(self) -> None:
        """Wait for the commit under way, because the next source begins at the committed offsets.

        What a sink has taken and not yet made durable becomes durable, too.

        Called before the worker closes its source.

        Raises:
            Abandoned: The worker is stopping, and there was no time to wait.
        """
        try:
            self._protocol.join()
            self._protocol.tick(final=True)
        except CommitFailed as failed:
            self._log.debug("not committed", reason=failed.cause.reason)
        finally:
            self._parts.breaker.rewind()

    def wait(self, seconds: float, reason: str) -> None:
        """Wait before the next attempt at failed records, keeping the membership alive.

        A pipeline that waits in slice after slice says so in its state: `reason`.
        """
        parts = self._parts
        parts.recorder.phase("wait")
        parts.counters.add("retry_waves")
        # Partitions may leave during the wait: the next commit must serve the client first.
        self._membership.doubt()
        deadline = parts.hooks.clock() + seconds
        while (remaining := deadline - parts.hooks.clock()) > 0:
            parts.source.serve()
            parts.hooks.sleep(min(remaining, 0.2))
        self._waited += seconds
        self._retried += seconds
        if self._retried > _RETRIES_TOLD:
            self._retry_trouble = reason
            parts.hooks.trouble(reason)

    def _join(self) -> None:
        """Wait for the commit under way; if that commit fails, recover from its failure."""
        try:
            self._protocol.join()
        except CommitFailed as failed:
            self._recovery.after(failed)

    def _healthy(self) -> None:
        """A commit succeeded; retries in slice after slice stay a trouble all the same."""
        self._recovery.healthy(self._retry_trouble)

    def _place(self, arrivals: Offsets) -> Offsets:
        """Read new partitions from where they stand in the sink; returns those offsets."""
        keeper = self._parts.sink
        if not isinstance(keeper, OffsetKeeper):
            return arrivals
        try:
            standing = self._protocol.call(lambda: keeper.standing(arrivals))
        except OutcomeUnknown as away:
            nothing = Uncommitted(self._parts.hooks.clock())
            raise CommitFailed(away, nothing) from away
        self._parts.source.place(standing)
        return standing

    def _gather(self) -> Batch | None:
        parts = self._parts
        parts.recorder.phase("gather")
        started = perf_counter()
        batch = parts.source.poll(parts.pace.limit)
        parts.counters.add("phase_seconds", perf_counter() - started, "gather")
        self._protocol.note_changes()
        return batch

    def _process(self, batch: Batch, uncommitted: Uncommitted) -> None:
        """Run a batch in slices, and commit the finished slices whenever a commit is due."""
        rest = batch
        while True:
            part, rest = rest.split(self._slice_size(rest))
            try:
                self._run(part, uncommitted)
            except Abandoned:
                self._protocol.commit(uncommitted)
                raise
            if not rest.records or self._parts.hooks.stopping():
                break
            self._protocol.serve(uncommitted, unless_fresh=True)
            if self._is_due(uncommitted):
                self._protocol.commit(uncommitted)
            if uncommitted.departed:
                rest = rest.without(uncommitted.departed)
        self._protocol.commit(uncommitted, overlap=self._is_behind(batch))

    def _is_behind(self, batch: Batch | None) -> bool:
        """Whether to run the next batch during a commit: this batch is full, and nothing fails."""
        parts = self._parts
        return (
            self._protocol.may_overlap
            and batch is not None
            and len(batch) >= parts.pace.limit
            and not (parts.pace.reduced or parts.quarantine or parts.hooks.stopping())
        )

    def _is_due(self, uncommitted: Uncommitted) -> bool:
        """Whether the finished slices of the batch must be committed now."""
        parts = self._parts
        worked = parts.hooks.clock() - uncommitted.since
        patience = _CAREFUL if parts.quarantine else parts.limits.settle_after
        return worked > patience or uncommitted.size > parts.limits.settle_bytes

    def _slice_size(self, rest: Batch) -> int:
        size, quarantine = self._parts.pace.slice_size, self._parts.quarantine
        return quarantine.stretch(rest.records, size) if quarantine else size

    def _run(self, part: Batch, uncommitted: Uncommitted) -> None:
        """Give one slice to the operators, and settle the outcome."""
        parts = self._parts
        if not part.records:
            uncommitted.add(part, Settlement(Outputs(), (), part.progress, begins=part.begins))
            return
        invocation = Invocation(_invocation_id(part), part, parts.hooks.now_ms())
        rejected = parts.quarantine.outcome(part.records) if parts.quarantine else None
        outcome = rejected or self._invoke(invocation, uncommitted)
        if parts.limits.dead_letters and parts.breaker.trips(part.records, outcome.failed):
            self._trip(uncommitted)
        settled = settle(
            invocation,
            outcome,
            dead_letters=parts.limits.dead_letters,
            at_ms=parts.hooks.now_ms(),
        )
        uncommitted.add(part, settled.settlement, outcome.dropped)
        if settled.stop is not None or rejected is not None:
            # The dead letter must be durable before the next suspect runs: a second killer would
            # replace this record in the note, and the two records would kill workers in turn.
            self._protocol.commit(uncommitted)
        if settled.stop is not None:
            raise record_failed(settled.stop)

    def _invoke(self, invocation: Invocation, uncommitted: Uncommitted) -> Outcome:
        """Run the operators on a slice.

        Raises:
            Unavailable: A system that a codec or an operator needs is away.
            KafkaEtlError: The pipeline must pause or stop; the slices before are committed.
        """
        parts, part = self._parts, invocation.batch
        parts.recorder.phase("operator")
        self._record_operating(part)
        started = parts.hooks.clock()
        self._waited = 0.0
        try:
            outcome = parts.invoker.run(invocation, self.wait)
        except Unavailable:
            # The next attempt is at half as many records, until the records before the one that
            # needs the missing schema are settled.
            parts.pace.failed(len(part))
            raise
        except KafkaEtlError:
            self._protocol.commit(uncommitted)
            parts.source.rewind()
            raise
        if not self._waited:
            self._retried, self._retry_trouble = 0.0, None
        parts.recorder.phase("settle")
        # A wait before a retry must not make slices smaller: all failed records of a slice share
        # one wait, so larger slices wait less often.
        parts.pace.ran(len(part), parts.hooks.clock() - started - self._waited)
        return outcome

    def _record_operating(self, part: Batch) -> None:
        """Write to the flight recorder which records would be to blame if the worker died now."""
        parts = self._parts
        parts.recorder.operating(part.ranges)
        first = part.records[0]
        is_suspect = bool(parts.quarantine) and parts.quarantine.is_alone(first)
        if is_suspect or (parts.cautious and len(part) == 1):
            parts.recorder.in_hand(partition_of(first), offset_of(first))

    def _trip(self, uncommitted: Uncommitted) -> None:
        """Commit the slices before the one at which the breaker tripped.

        Raises:
            BreakerTripped: The pipeline must pause.
        """
        self._protocol.commit(uncommitted)
        self._parts.source.rewind()
        raise BreakerTripped(self._parts.breaker.reason())


def _invocation_id(part: Batch) -> str:
    """The name of a slice, made from its content: a repeated run has the same name."""
    first = part.records[0]
    return f"{partition_of(first)}@{offset_of(first)}+{len(part)}"
