"""The engine of a stream pipeline: one batch from the source to the sink, again and again."""

from __future__ import annotations

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
from kafka_etl.engine.breaker import Breaker
from kafka_etl.engine.condemned import Condemned
from kafka_etl.engine.finished import Finished
from kafka_etl.engine.invoker import Invoker
from kafka_etl.engine.pace import Pace
from kafka_etl.engine.surroundings import Limits, Recorder, Surroundings
from kafka_etl.errors import BreakerTripped, DeadLetterRefused, RecordFailed
from kafka_etl.invocation import DeadLetter, Invocation, Outcome, Outputs, Settlement
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters
from kafka_etl.record import Batch, Partition, offset_of, origin
from kafka_etl.retry import Backoff
from kafka_etl.settle import settle

_FRESH: Final = 0.5
"""Seconds the proof of membership is good for: a rebalance may renew it while we work."""
_LONG_AGO: Final = float("-inf")

_CAREFUL: Final = 0.1
"""Seconds of work a worker that may die at any record puts at stake."""


class StreamEngine:
    """Moves batches from a source through the operators to a sink, each record exactly once.

    `step` is the whole path. Between two steps nothing is in flight: what was not committed is
    read again. User code runs before anything is open at the sink, so it may take its time.
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
        condemned: Condemned,
        recorder: Recorder,
        counters: Counters,
        around: Surroundings,
    ) -> None:
        self._source = source
        self._sink = sink
        self._invoker = invoker
        self._limits = limits
        self._pace = pace
        self._breaker = breaker
        self._condemned = condemned
        self._recorder = recorder
        self._counters = counters
        self._around = around
        self._log = get_logger("engine")
        self._backoff = Backoff(initial=0.1, max=5.0)
        self._failures = 0
        self._served = _LONG_AGO
        self._notes: dict[Partition, tuple[int, str]] = {}

    def step(self) -> None:
        """Gather one batch and settle it.

        Raises:
            KafkaEtlError: The pipeline must pause or stop; everything before is committed.
            Reconnect: The source needs a new client.
            Abandoned: The worker is stopping; everything finished is committed.
        """
        finished = Finished(self._around.clock())
        try:
            batch = self._gather()
            self._commit_notes()
            if batch is not None:
                self._process(batch, finished)
        except Aborted as abort:
            self._aborted(abort, finished)
        except OutcomeUnknown as unknown:
            self._outcome_unknown(unknown, finished)
        except Unavailable as away:
            self._source.rewind()
            self._breaker.rewind()
            self._back_off(away.reason)

    def idle(self) -> None:
        """Keep the membership alive without fetching: the pipeline is paused."""
        self._recorder.phase("idle")
        self._serve()
        self._around.sleep(0.1)

    def wait(self, seconds: float) -> None:
        """Wait before the next attempt, keeping the membership alive."""
        self._recorder.phase("wait")
        self._counters.add("retry_waves")
        self._served = _LONG_AGO  # partitions may leave in here: no commit before that is noted
        deadline = self._around.clock() + seconds
        while (left := deadline - self._around.clock()) > 0:
            self._source.serve()
            self._around.sleep(min(left, 0.2))

    def _gather(self) -> Batch | None:
        self._recorder.phase("gather")
        started = perf_counter()
        batch = self._source.poll(self._pace.limit)
        self._counters.add("phase_seconds", perf_counter() - started, "gather")
        self._note_changes()
        return batch

    def _process(self, batch: Batch, finished: Finished) -> None:
        begins = batch.begins
        self._recorder.operating({tp: (begins[tp], at) for tp, at in batch.progress.items()})
        rest = batch
        while True:
            part, rest = rest.split(self._slice_size(rest))
            try:
                self._run(part, finished)
            except Abandoned:
                self._commit(finished)
                raise
            if not rest.records or self._around.stopping():
                break
            if not self._is_fresh():
                self._serve(finished)
            if self._is_due(finished):
                self._commit(finished)
            if finished.left:
                rest = rest.without(finished.left)
        self._commit(finished)

    def _is_due(self, finished: Finished) -> bool:
        """Whether to settle the batch in part."""
        worked = self._around.clock() - finished.since
        patience = _CAREFUL if self._condemned else self._limits.settle_after
        return worked > patience or finished.size > self._limits.settle_bytes

    def _slice_size(self, rest: Batch) -> int:
        if not self._condemned:
            return self._pace.slice_size
        if not self._invoker.chain.mixes:
            return 1
        return self._condemned.stretch(rest.records)

    def _run(self, part: Batch, finished: Finished) -> None:
        """Give one slice to the operators, and judge what comes of it."""
        if not part.records:
            finished.slices.append((part, Settlement(Outputs(), (), part.progress)))
            return
        invocation = Invocation(self._invocation_id(part), part, self._around.now_ms())
        condemned = self._condemned_outcome(part)
        outcome = condemned or self._invoke(invocation)
        if self._limits.dead_letters and self._breaker.trips(len(part), outcome.failed):
            self._trip(finished)
        verdict = settle(
            invocation,
            outcome,
            dead_letters=self._limits.dead_letters,
            at_ms=self._around.now_ms(),
        )
        finished.slices.append((part, verdict.settlement))
        finished.dropped += outcome.dropped
        if verdict.stop is not None or condemned is not None:
            self._commit(finished)  # before another record kills the worker, and takes its place
        if verdict.stop is not None:
            raise _record_failed(verdict.stop)

    def _invoke(self, invocation: Invocation) -> Outcome:
        part = invocation.batch
        if self._condemned:
            self._recorder.in_hand(origin(part.records[0]), offset_of(part.records[0]))
        started = self._around.clock()
        outcome = self._invoker.run(invocation, self.wait)
        self._recorder.phase("settle")
        self._pace.ran(len(part), self._around.clock() - started)
        return outcome

    def _condemned_outcome(self, part: Batch) -> Outcome | None:
        """The outcome of records that may not be run again; slices are cut to hold no others."""
        if not self._condemned:
            return None
        failures = [self._condemned.failure(i, r) for i, r in enumerate(part.records)]
        failed = tuple(failure for failure in failures if failure is not None)
        return Outcome(Outputs(origins=[]), failed) if failed else None

    def _invocation_id(self, part: Batch) -> str:
        """Names the slice: from its content, so that a repeated run is recognised."""
        first = part.records[0]
        return f"{origin(first)}@{offset_of(first)}+{len(part)}"

    def _serve(self, finished: Finished | None = None) -> None:
        """Serve the client, and leave the partitions that left out of what is finished."""
        self._source.serve()
        gone = self._note_changes()
        if gone and finished is not None:
            finished.leave_out(gone)

    def _is_fresh(self) -> bool:
        """Whether the client was served, and the membership proven, a moment ago."""
        return self._around.clock() - self._served < _FRESH

    def _note_changes(self) -> frozenset[Partition]:
        """Take in which partitions came and left since the last time."""
        self._served = self._around.clock()
        gone = self._source.departures()
        arrivals = self._source.arrivals()
        if gone or arrivals:
            self._counters.add("rebalances")
            self._condemned.forget(gone)
            self._notes = {tp: note for tp, note in self._notes.items() if tp not in gone}
            self._notes |= self._condemned.suspicion.consider(arrivals)
        return gone

    def _commit_notes(self) -> None:
        """What is known of deaths becomes durable before any suspect is run."""
        if self._notes:
            progress = {tp: offset for tp, (offset, _) in self._notes.items()}
            notes = {tp: note for tp, (_, note) in self._notes.items()}
            lease = self._source.lease
            self._sink.commit(Settlement(Outputs(), (), progress, lease, notes))
            self._notes = {}

    def _commit(self, finished: Finished) -> None:
        """Make everything finished durable, as one act."""
        if not self._is_fresh():
            self._serve(finished)
        if not finished.slices:
            return
        joined = Settlement.joined([settlement for _, settlement in finished.slices])
        settlement = replace(
            joined,
            lease=self._source.lease,
            notes=self._condemned.suspicion.notes(joined.progress),
        )
        self._recorder.phase("commit")
        started = perf_counter()
        self._sink.commit(settlement)
        spent = perf_counter() - started
        self._counters.add("phase_seconds", spent, "commit")
        self._log.debug(
            "committed",
            records=finished.records,
            outputs=len(settlement.outputs),
            dead_letters=len(settlement.dead_letters),
            ms=round(spent * 1000, 1),
        )
        self._source.advance(settlement.progress)
        self._condemned.settled(settlement.progress)
        self._count(finished, settlement)
        self._succeeded(finished)

    def _succeeded(self, finished: Finished) -> None:
        self._failures = 0
        self._around.trouble(None)
        self._pace.succeeded()
        self._breaker.settled()
        finished.slices.clear()
        finished.dropped = 0
        finished.since = self._around.clock()

    def _count(self, finished: Finished, settlement: Settlement) -> None:
        add = self._counters.add
        add("commits")
        add("records_in", finished.records)
        add("records_out", len(settlement.outputs))
        add("records_dropped", finished.dropped)
        add("bytes_out", settlement.outputs.size)
        for letter in settlement.dead_letters:
            add("dead_letters", 1, letter.failure.condition.value)
        spent = self._invoker.chain.spent
        for phase in ("decode", "operators", "encode"):
            add("phase_seconds", getattr(spent, phase), phase)
            setattr(spent, phase, 0.0)

    def _trip(self, finished: Finished) -> None:
        """Too many dead letters in a row: settle what was before them, and pause."""
        self._commit(finished)
        self._source.rewind()
        raise BreakerTripped(
            "too many records in a row became dead letters; the commonest errors: "
            + "; ".join(self._breaker.commonest())
        )

    def _aborted(self, abort: Aborted, finished: Finished) -> None:
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

    def _refused(self, refusal: Refusal, finished: Finished) -> None:
        """Blame a record only if it came alone: brokers refuse whole sets for one record.

        Where rows are mixed, a slice is what cannot be divided any further.
        """
        together = len(finished.slices) if self._invoker.chain.mixes else finished.records
        if together > 1:
            return
        if not any(len(settlement.outputs) for _, settlement in finished.slices):
            raise DeadLetterRefused(f"a dead letter was refused: {refusal.code}: {refusal.message}")
        for batch, _ in finished.slices:
            self._condemned.refuse(batch.records, refusal)
            for record in batch.records:
                at = f"{origin(record)}@{offset_of(record)}"
                self._log.warning("the sink refused a record", at=at, code=refusal.code)

    def _outcome_unknown(self, unknown: OutcomeUnknown, finished: Finished) -> None:
        """The committed offsets are the truth, once the sink has settled what was left open."""
        self._breaker.rewind()
        self._pace.failed(finished.records)
        left_open: OutcomeUnknown | None = unknown
        while left_open is not None:
            self._counters.add("outcomes_unknown")
            if left_open.fenced:
                self._around.fenced(left_open.reason)
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
        self._around.trouble(reason)
        self._around.sleep(self._backoff.delay(self._failures, self._around.random))


def _record_failed(letter: DeadLetter) -> RecordFailed:
    failure = letter.failure
    at = f"{origin(letter.record)}@{offset_of(letter.record)}"
    where = f" in operator {failure.operator}" if failure.operator else ""
    return RecordFailed(
        f"the record at {at} failed{where} ({failure.condition}: {failure.error.type}: "
        f"{failure.error.message}), and the pipeline has no place for dead letters"
    )
