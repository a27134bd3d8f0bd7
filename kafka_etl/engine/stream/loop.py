"""The engine of a stream pipeline: one batch from the source to the sink, again and again."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import Final

from kafka_etl.contracts import (
    Abandoned,
    Aborted,
    OutcomeUnknown,
    Refusal,
    Sink,
    Source,
    Unavailable,
)
from kafka_etl.dead_letters import Causes
from kafka_etl.engine.attempt.invoker import Invoker
from kafka_etl.engine.hooks import Hooks, Limits, Recorder
from kafka_etl.engine.poison.breaker import Breaker
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.engine.rows.faults import record_failed
from kafka_etl.engine.stream.commits import Begin, Commits, Overtaken, Pending
from kafka_etl.engine.stream.membership import Membership
from kafka_etl.engine.stream.pace import Pace
from kafka_etl.engine.stream.uncommitted import Uncommitted
from kafka_etl.errors import BreakerTripped, DeadLetterRefused, KafkaEtlError
from kafka_etl.invocation import Invocation, Outcome, Outputs, Settlement
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.record import Batch, Offsets, offset_of, partition_of
from kafka_etl.retry import Backoff
from kafka_etl.settle import settle

_CAREFUL: Final = 0.1
"""Seconds of work a worker that may die at any record puts at stake."""


class StreamEngine:
    """Moves batches from a source through the operators to a sink, each record exactly once.

    `step` is the whole path: gather, run, settle, commit, advance. What was not committed is read
    again. User code never runs inside a transaction of its own outputs, so it may take its time.

    A pipeline that is behind does not wait for a commit: it is begun elsewhere (`begin`), and the
    next batch is run meanwhile. There is never more than one under way, the next one begins when
    it has landed, and if it fails, whatever was run since is thrown away and read again.
    """

    def __init__(  # noqa: PLR0913 - its parts; the worker is the one caller
        self,
        source: Source,
        sink: Sink,
        invoker: Invoker,
        *,
        limits: Limits,
        pace: Pace,
        breaker: Breaker,
        quarantine: Quarantine,
        recorder: Recorder,
        counters: Counters,
        hooks: Hooks,
        begin: Begin | None = None,
        causes: Causes | None = None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._invoker = invoker
        self._limits = limits
        self._pace = pace
        self._breaker = breaker
        self._quarantine = quarantine
        self._recorder = recorder
        self._counters = counters
        self._hooks = hooks
        self._commits = Commits(sink, counters, begin, causes)
        self._pending: Pending | None = None
        self._log = get_logger("engine")
        self._backoff = Backoff(initial=0.1, max=5.0)
        self._failures = 0
        self._membership = Membership(source, quarantine, counters, hooks.clock)

    def step(self) -> None:
        """Gather one batch and settle it.

        Raises:
            KafkaEtlError: The pipeline must pause or stop; what was not committed comes again.
            Reconnect: The source needs a new client.
            Abandoned: The worker is stopping; everything finished is committed.
        """
        finished = Uncommitted(self._hooks.clock())
        try:
            batch = self._gather()
            if not self._is_behind(batch):
                self._land()
            self._commit_notes()
            if batch is not None:
                self._process(batch, finished)
        except Overtaken:
            return
        except Aborted as abort:
            self.land()
            self._aborted(abort, finished)
        except OutcomeUnknown as unknown:
            self._outcome_unknown(unknown, finished)
        except Unavailable as away:
            self._unavailable(away)

    def idle(self) -> None:
        """Keep the membership alive without fetching: the pipeline is paused."""
        self.land()
        self._recorder.phase("idle")
        self._serve()
        self._hooks.sleep(0.1)

    def land(self) -> None:
        """Wait for a commit that is under way; if it fails, all is as if it had not been begun."""
        with suppress(Overtaken):
            self._land()

    def end(self) -> None:
        """Leave nothing under way: the source goes, and the next one begins at committed offsets.

        Raises:
            Abandoned: The worker is stopping, and there was no time to wait.
        """
        pending, self._pending = self._pending, None
        try:
            if pending is not None:
                self._landed(pending)
        except (Aborted, OutcomeUnknown) as failed:
            self._log.debug("not committed", reason=failed.reason)
        finally:
            self._breaker.rewind()

    def wait(self, seconds: float) -> None:
        """Wait before the next attempt, keeping the membership alive."""
        self._recorder.phase("wait")
        self._counters.add("retry_waves")
        self._membership.doubt()  # partitions may leave in here: no commit before that is noted
        deadline = self._hooks.clock() + seconds
        while (left := deadline - self._hooks.clock()) > 0:
            self._source.serve()
            self._hooks.sleep(min(left, 0.2))

    def _gather(self) -> Batch | None:
        self._recorder.phase("gather")
        started = perf_counter()
        batch = self._source.poll(self._pace.limit)
        self._counters.add("phase_seconds", perf_counter() - started, "gather")
        self._membership.note_changes()
        return batch

    def _process(self, batch: Batch, finished: Uncommitted) -> None:
        rest = batch
        while True:
            part, rest = rest.split(self._slice_size(rest))
            try:
                self._run(part, finished)
            except Abandoned:
                self._commit(finished)
                raise
            if not rest.records or self._hooks.stopping():
                break
            if not self._membership.is_fresh():
                self._serve(finished)
            if self._is_due(finished):
                self._commit(finished)
            if finished.left:
                rest = rest.without(finished.left)
        self._commit(finished, overlap=self._is_behind(batch))

    def _is_behind(self, batch: Batch | None) -> bool:
        """Whether to go on while the sink is at work: only in calm waters, with more to do."""
        return (
            self._commits.may_overlap
            and batch is not None
            and len(batch) >= self._pace.limit
            and not (self._pace.reduced or self._quarantine or self._hooks.stopping())
        )

    def _is_due(self, finished: Uncommitted) -> bool:
        """Whether to settle the batch in part."""
        worked = self._hooks.clock() - finished.since
        patience = _CAREFUL if self._quarantine else self._limits.settle_after
        return worked > patience or finished.size > self._limits.settle_bytes

    def _slice_size(self, rest: Batch) -> int:
        size = self._pace.slice_size
        return self._quarantine.stretch(rest.records, size) if self._quarantine else size

    def _run(self, part: Batch, finished: Uncommitted) -> None:
        """Give one slice to the operators, and judge what comes of it."""
        if not part.records:
            finished.slices.append((part, Settlement(Outputs(), (), part.progress)))
            return
        invocation = Invocation(self._invocation_id(part), part, self._hooks.now_ms())
        condemned = self._quarantine.outcome(part.records) if self._quarantine else None
        outcome = condemned or self._invoked(invocation, finished)
        if self._limits.dead_letters and self._breaker.trips(len(part), outcome.failed):
            self._trip(finished)
        verdict = settle(
            invocation,
            outcome,
            dead_letters=self._limits.dead_letters,
            at_ms=self._hooks.now_ms(),
        )
        finished.slices.append((part, verdict.settlement))
        finished.dropped += outcome.dropped
        if verdict.stop is not None or condemned is not None:
            self._commit(finished)  # before another record kills the worker, and takes its place
        if verdict.stop is not None:
            raise record_failed(verdict.stop)

    def _invoked(self, invocation: Invocation, finished: Uncommitted) -> Outcome:
        """Give it to the operators; what was finished before is kept if a codec cannot go on."""
        try:
            return self._invoke(invocation)
        except Unavailable:
            self._pace.failed(len(invocation.batch))  # what comes before such a record is settled
            raise
        except KafkaEtlError:
            self._commit(finished)
            self._source.rewind()
            raise

    def _invoke(self, invocation: Invocation) -> Outcome:
        part = invocation.batch
        self._leave_word(part)
        started = self._hooks.clock()
        outcome = self._invoker.run(invocation, self.wait)
        self._recorder.phase("settle")
        self._pace.ran(len(part), self._hooks.clock() - started)
        return outcome

    def _leave_word(self, part: Batch) -> None:
        """Say what would be to blame if the worker died now."""
        self._recorder.operating(part.ranges)
        first = part.records[0]
        if self._quarantine and self._quarantine.is_alone(first):
            self._recorder.in_hand(partition_of(first), offset_of(first))

    def _invocation_id(self, part: Batch) -> str:
        """Names the slice: from its content, so that a repeated run is recognised."""
        first = part.records[0]
        return f"{partition_of(first)}@{offset_of(first)}+{len(part)}"

    def _serve(self, finished: Uncommitted | None = None) -> None:
        """Serve the client, and leave the partitions that left out of what is finished."""
        self._source.serve()
        gone = self._membership.note_changes()
        if gone and finished is not None:
            finished.leave_out(gone)

    def _commit_notes(self) -> None:
        """What is known of deaths becomes durable before any suspect is run."""
        if self._membership.notes:
            self._land()
            progress = {tp: offset for tp, (offset, _) in self._membership.notes.items()}
            notes = {tp: note for tp, (_, note) in self._membership.notes.items()}
            lease = self._source.lease
            self._commits.make(Settlement(Outputs(), (), progress, lease, notes))
            self._membership.notes = {}

    def _commit(self, finished: Uncommitted, *, overlap: bool = False) -> None:
        """Make everything finished durable, as one act."""
        self._land()
        if not self._membership.is_fresh():
            self._serve(finished)
        if not finished.slices:
            return
        joined = Settlement.joined([settlement for _, settlement in finished.slices])
        settlement = replace(
            joined,
            lease=self._source.lease,
            notes=self._quarantine.suspicion.notes(joined.progress),
        )
        counted = self._breaker.counted
        self._recorder.phase("commit")
        if overlap:
            self._membership.mark()
            self._pending = self._commits.begin(settlement, finished, counted)
        else:
            seconds = self._commits.make(settlement)
            self._committed(finished, settlement, settlement.progress, counted, seconds)

    def _land(self) -> None:
        """Take in how the commit under way ended.

        Raises:
            Overtaken: It failed, and that is dealt with; what was run since is void.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            self._landed(pending)
        except Aborted as abort:
            self._aborted(abort, pending.finished)
            raise Overtaken from abort
        except OutcomeUnknown as unknown:
            self._outcome_unknown(unknown, pending.finished)
            raise Overtaken from unknown

    def _landed(self, pending: Pending) -> None:
        self._recorder.phase("commit")
        seconds = pending.outcome.result()
        left = self._membership.left()
        progress = {tp: at for tp, at in pending.settlement.progress.items() if tp not in left}
        self._committed(pending.finished, pending.settlement, progress, pending.counted, seconds)

    def _committed(
        self,
        finished: Uncommitted,
        settlement: Settlement,
        progress: Offsets,
        counted: tuple[int, bool],
        seconds: float,
    ) -> None:
        """Go on from there."""
        self._source.advance(progress)
        self._quarantine.committed(progress)
        self._commits.count(settlement, finished, self._invoker.chain.spent, seconds)
        self._recorder.count(self._counters.snapshot())
        self._failures = 0
        self._hooks.trouble(None)
        self._pace.succeeded()
        self._breaker.committed(counted)
        finished.slices.clear()
        finished.dropped = 0
        finished.since = self._hooks.clock()

    def _trip(self, finished: Uncommitted) -> None:
        """Too many dead letters in a row: settle what was before them, and pause."""
        self._commit(finished)
        self._source.rewind()
        raise BreakerTripped(self._breaker.reason())

    def _unavailable(self, away: Unavailable) -> None:
        """Nothing is wrong with any record: go back, and try again when what is needed is back."""
        self.land()
        self._source.rewind()
        self._breaker.rewind()
        self._back_off(away.reason)

    def _aborted(self, abort: Aborted, finished: Uncommitted) -> None:
        """Nothing was committed: go back, and try a smaller batch."""
        self._counters.add("aborts")
        self._log.debug("aborted", records=finished.records, reason=abort.reason)
        self._source.rewind()
        self._breaker.rewind()
        self._pace.failed(finished.records)
        if abort.refusal is not None:
            self._refused(abort.refusal, finished)
        elif not abort.routine:
            self._back_off(abort.reason)

    def _refused(self, refusal: Refusal, finished: Uncommitted) -> None:
        """Blame a record only if it came alone: brokers refuse whole sets for one record.

        Where rows are mixed, a slice is what cannot be divided any further.
        """
        together = len(finished.slices) if self._invoker.chain.mixes else finished.records
        if together > 1:
            return
        if not any(len(settlement.outputs) for _, settlement in finished.slices):
            raise DeadLetterRefused(f"a dead letter was refused: {refusal.code}: {refusal.message}")
        for batch, _ in finished.slices:
            self._quarantine.refuse(batch.records, refusal)
            for record in batch.records:
                at = f"{partition_of(record)}@{offset_of(record)}"
                self._log.warning("the sink refused a record", at=at, code=refusal.code)

    def _outcome_unknown(self, unknown: OutcomeUnknown, finished: Uncommitted) -> None:
        """The committed offsets are the truth, once the sink has settled what was left open."""
        self._breaker.rewind()
        self._pace.failed(finished.records)
        left_open: OutcomeUnknown | None = unknown
        while left_open is not None:
            self._counters.add("outcomes_unknown")
            if left_open.fenced:
                self._hooks.fenced(left_open.reason)
            self._back_off(left_open.reason)
            left_open = self._reopened()
        self._source.reload()

    def _reopened(self) -> OutcomeUnknown | None:
        """Open the sink again; what it says if that, too, came to no certain end."""
        try:
            self._sink.open()
        except OutcomeUnknown as unknown:
            return unknown
        return None

    def _back_off(self, reason: str) -> None:
        self._failures += 1
        self._hooks.trouble(reason)
        self._hooks.sleep(self._backoff.delay(self._failures, self._hooks.random))
