"""The commit protocol: how a settlement becomes durable, and when the next batch may go on.

::

      ┌─────────┐ ── commit ──────────────────────────────────▶ ┌──────────┐ ◀─┐ RowsRefused:
      │  IDLE   │                                               │ UNDER WAY│   │ letters for these,
      │         │ ◀── join: taken (and durable, unless the  ─── │          │ ──┘ the rest once more
      └─────────┘     sink rolls: then `tick` tells later)      └──────────┘
           ▲                                                         │
           └──── CommitFailed: nothing durable, or nobody knows ◀────┘

At most one commit is under way. Every commit, and every note on deaths, joins the one before it
first; a commit that may not overlap the next batch is joined at once. A failure is raised as
`CommitFailed`, which names the batch that failed: the one in hand, or the one under way, and then
the batch in hand is void as well, because it was read behind the other. `Recovery` (recovery.py)
decides what follows from a failure.

All methods run on the main thread. The commit thread runs one call at a time: every call of the
sink that may wait for its target. The main thread serves the source meanwhile, so a slow target is
slow, and costs no membership.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Final, TypeVar

from kafka_etl.contracts import Aborted, OffsetKeeper, OutcomeUnknown, RowsRefused, place_of
from kafka_etl.engine.attempt.chain import Spent
from kafka_etl.engine.poison.breaker import Counted
from kafka_etl.engine.stream.membership import Membership
from kafka_etl.engine.stream.parts import StreamParts, SubmittedCall
from kafka_etl.engine.stream.uncommitted import Uncommitted
from kafka_etl.errors import BreakerTripped, KafkaEtlError, RecordFailed
from kafka_etl.invocation import DeadLetter, Outputs, Settlement
from kafka_etl.log import get_logger
from kafka_etl.record import Partition
from kafka_etl.settle import before, failures_of, refused

T = TypeVar("T")

_PIECE: Final = 0.1
_SERVE_EVERY: Final = 0.5
"""Seconds between two calls of `Source.serve` while a call of the sink takes long."""
_TICK_EVERY: Final = 0.2
_WORTH_IT: Final = 0.25
"""A commit overlaps the next batch if work on a batch takes more than this share of a commit."""


class CommitFailed(Exception):
    """A commit did not succeed.

    Args:
        cause: `Aborted`: nothing became durable. `OutcomeUnknown`: only the sink's next `open` and
            the committed offsets can tell.
        uncommitted: The batch whose commit failed.
    """

    def __init__(self, cause: Aborted | OutcomeUnknown, uncommitted: Uncommitted) -> None:
        super().__init__(cause.reason)
        self.cause = cause
        self.uncommitted = uncommitted


@dataclass(frozen=True, slots=True)
class _Commit:
    """One commit.

    Attributes:
        settlement: What the sink was given last: after a refusal, the rest.
        uncommitted: The batch of the settlement.
        counted: The breaker's state.
        outputs: Outputs that the sink has taken, or is to take.
        size: Bytes of these outputs.
        stop: Dead letter that stops the pipeline once the rest is committed; None: goes on.
    """

    settlement: Settlement
    uncommitted: Uncommitted
    counted: Counted
    outputs: int
    size: int
    stop: DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A commit that the commit thread carries out."""

    commit: _Commit
    call: SubmittedCall[float]


class CommitProtocol:
    """Commits the finished slices of batches, one commit after the other.

    Args:
        parts: The engine's parts.
        membership: Which partitions came and left.
        committed: Called after each successful commit: the pipeline is well.
    """

    def __init__(
        self, parts: StreamParts, membership: Membership, committed: Callable[[], None]
    ) -> None:
        self._parts = parts
        self._membership = membership
        self._committed = committed
        self._keeper = parts.sink if isinstance(parts.sink, OffsetKeeper) else None
        self._under_way: _UnderWay | None = None
        self._worth_it = False
        self._ticked = 0.0
        self._log = get_logger("engine")

    @property
    def under_way(self) -> bool:
        """Whether a commit was started that `join` has not waited for."""
        return self._under_way is not None

    @property
    def may_overlap(self) -> bool:
        """Whether the next batch may be run during a commit.

        The work on the last batch must have been long enough: where a pipeline only passes bytes
        on, two batches in the processor's cache cost more than the wait for the commit.
        """
        return self._worth_it

    def commit(self, uncommitted: Uncommitted, *, overlap: bool = False) -> None:
        """Make the finished slices durable, as one act.

        Args:
            uncommitted: The slices; cleared once they are durable.
            overlap: Return when the sink has taken the settlement over; `join` waits for the rest.

        Raises:
            CommitFailed: This commit failed, or the one under way.
            KafkaEtlError: The pipeline must pause or stop.
        """
        self.join()
        self.serve(uncommitted, unless_fresh=True)
        if not uncommitted.slices:
            return
        settlement = Settlement.joined([settled for _, settled in uncommitted.slices])
        settlement = replace(
            settlement, notes=self._parts.quarantine.suspects.notes(settlement.progress)
        )
        outputs = settlement.outputs
        counted = self._parts.breaker.counted
        self._begin(_Commit(settlement, uncommitted, counted, len(outputs), outputs.size))
        if not overlap:
            self._finish()

    def commit_notes(self) -> None:
        """Commit the notes on deaths, beside unchanged offsets, before a suspect is run.

        Raises:
            CommitFailed: The notes are not durable, or the commit under way failed.
        """
        notes = self._membership.notes
        if not notes:
            return
        self.join()
        if self._keeper is not None and self._keeper.rolls:
            self.tick(final=True)  # what is open in the sink stands before the suspects
        standing = {tp: offset for tp, (offset, _) in notes.items()}
        settlement = Settlement(
            Outputs(),
            (),
            progress=standing,
            notes={tp: note for tp, (_, note) in notes.items()},
            begins=standing,
        )
        nothing = Uncommitted(self._parts.hooks.clock())
        self._begin(_Commit(settlement, nothing, self._parts.breaker.counted, 0, 0))
        under_way = self._under_way
        if under_way is not None:
            self._await(under_way.call)
            self._under_way = None
            self._result(under_way)
        self._membership.notes = {}
        self._parts.quarantine.suspects.noted(standing)

    def join(self) -> None:
        """Wait for the commit under way, if there is one, and advance to its offsets.

        Raises:
            CommitFailed: The commit under way failed; slices that were run since are void.
            KafkaEtlError: The pipeline must pause or stop.
        """
        if self._under_way is not None:
            self._parts.recorder.phase("commit")
            self._finish()

    def _finish(self) -> None:
        """See `join`."""
        while (under_way := self._under_way) is not None:
            self._await(under_way.call)
            self._under_way = None
            try:
                seconds = self._result(under_way)
            except RowsRefused as refusals:
                self._begin(self._without(under_way.commit, refusals))
            else:
                self._take_in(under_way.commit, seconds)

    def serve(self, uncommitted: Uncommitted | None = None, *, unless_fresh: bool = False) -> None:
        """Serve the source's client, and leave departed partitions out of the finished slices.

        Args:
            uncommitted: The finished slices, if a batch is in hand.
            unless_fresh: Whether to do nothing if the membership was proven a moment ago.
        """
        if unless_fresh and self._membership.is_fresh():
            return
        self._parts.source.serve()
        gone = self.note_changes()
        if gone and uncommitted is not None:
            uncommitted.leave_out(gone)

    def note_changes(self) -> frozenset[Partition]:
        """See `Membership.note_changes`; a sink that keeps offsets hears of departures.

        A sink that rolls closes what is open of them. Any other one has taken a partition over that
        has left and is back already.
        """
        gone = self._membership.note_changes()
        leaving = gone
        if gone and self._keeper is not None and not self._keeper.rolls:
            leaving = gone - self._parts.source.positions().keys()
        if leaving and self._keeper is not None:
            self.join()
            self.tick(leaving=leaving)
        return gone

    def call(self, call: Callable[[], T]) -> T:
        """Make a call of the sink on the commit thread, and serve the source meanwhile."""
        submitted = self._parts.submit(call)
        self._await(submitted)
        return submitted.result()

    def tick(
        self, *, final: bool = False, paused: bool = False, leaving: Collection[Partition] = ()
    ) -> None:
        """Have a sink that keeps offsets do what is due, and take in what became durable.

        Raises: as `join`.
        """
        keeper, now = self._keeper, self._parts.hooks.clock()
        if keeper is None or self._under_way is not None:
            return
        if not (final or leaving) and now - self._ticked < _TICK_EVERY:
            return
        self._ticked = now
        self._membership.mark()
        try:
            durable = self.call(
                lambda: keeper.tick(
                    lambda: self._membership.tenure, final=final, paused=paused, leaving=leaving
                )
            )
        except (Aborted, OutcomeUnknown) as failed:
            raise CommitFailed(failed, Uncommitted(now)) from failed
        except KafkaEtlError:
            self._go_back()
            raise
        if durable:
            self._parts.source.settle(durable)
            self._parts.quarantine.committed(durable)

    def _begin(self, commit: _Commit) -> None:
        """Hand the settlement to the sink here, and start its end on the commit thread."""
        self._parts.recorder.phase("commit")
        self._membership.mark()
        settlement = replace(
            commit.settlement,
            lease=self._membership.tenure.lease,
            tenure=lambda: self._membership.tenure,
        )
        started = perf_counter()
        try:
            end = self._begin_at_sink(settlement)
        except (Aborted, OutcomeUnknown) as failed:
            raise CommitFailed(failed, commit.uncommitted) from failed
        submitted = self._parts.submit(lambda: self._timed(settlement, started, end))
        self._under_way = _UnderWay(commit, submitted)

    def _begin_at_sink(self, settlement: Settlement) -> Callable[[], None]:
        """Begin the commit at the sink; dead letters for another place are written before that."""
        sink, letters = self._parts.sink, self._parts.letters
        if letters is None or not settlement.dead_letters:
            return sink.begin(settlement)

        def letters_first() -> None:
            letters(settlement.new_letters())
            sink.begin(replace(settlement, dead_letters=()))()

        return letters_first

    def _await(self, submitted: SubmittedCall[Any]) -> None:
        """Wait for a call on the commit thread, and keep the membership alive meanwhile."""
        clock = self._parts.hooks.clock
        served = clock()
        while not submitted.ended(_PIECE):
            if clock() - served >= _SERVE_EVERY:
                self._parts.source.serve()
                self._membership.note_departures()
                served = clock()

    def _result(self, under_way: _UnderWay) -> float:
        try:
            return under_way.call.result()
        except (Aborted, OutcomeUnknown) as failed:
            raise CommitFailed(failed, under_way.commit.uncommitted) from failed
        except KafkaEtlError:
            self._go_back()
            raise

    def _go_back(self) -> None:
        """What the sink has not taken is read again, if the pipeline ever goes on."""
        self._parts.source.rewind()
        self._parts.breaker.rewind()

    def _without(self, commit: _Commit, refusals: RowsRefused) -> _Commit:
        """The rest of a commit after the sink has refused some of its outputs.

        Raises:
            BreakerTripped: The refused outputs make too many dead letters, or a new kind.
        """
        parts = self._parts
        rest, failures = refused(
            commit.settlement,
            refusals.rows,
            parts.hooks.now_ms(),
            delivered=refusals.delivered,
        )
        for failure in failures:
            record = rest.records[failure.index]
            self._log.debug(
                "the sink refused a record", at=place_of(record), code=failure.error.type
            )
        outputs = commit.outputs - len(refusals.rows) if refusals.delivered else len(rest.outputs)
        size = commit.size if refusals.delivered else rest.outputs.size
        if not parts.limits.dead_letters:
            stop = rest.dead_letters[-len(failures)]
            rest = before(replace(rest, dead_letters=()), failures[0].index)
            return replace(commit, settlement=rest, outputs=outputs, size=size, stop=stop)
        if parts.breaker.trips_anew(rest.records, failures_of(rest)):
            self._go_back()
            raise BreakerTripped(parts.breaker.reason())
        counted = parts.breaker.counted
        return replace(commit, settlement=rest, counted=counted, outputs=outputs, size=size)

    def _timed(self, settlement: Settlement, started: float, end: Callable[[], None]) -> float:
        end()
        seconds = perf_counter() - started
        self._log.debug(
            "committed",
            outputs=len(settlement.outputs),
            dead_letters=len(settlement.dead_letters),
            ms=round(seconds * 1000, 1),
        )
        return seconds

    def _take_in(self, commit: _Commit, seconds: float) -> None:
        """The sink has taken the commit: every part that keeps an account of offsets moves on.

        A partition that has left meanwhile is not tracked, even if the partition is back by now:
        the partition begins at the offset that its last owner committed.
        """
        parts = self._parts
        self._membership.note_departures()
        departed = self._membership.tenure.departed
        progress = {tp: at for tp, at in commit.settlement.progress.items() if tp not in departed}
        parts.source.advance(progress)
        if self._keeper is None or not self._keeper.rolls:
            parts.source.settle(progress)
            parts.quarantine.committed(progress)
        spent = parts.invoker.chain.spent.taken()
        self._worth_it = spent.total > seconds * _WORTH_IT
        self._count(commit, spent, seconds)
        parts.recorder.operating({})  # no record is in hand any more
        parts.recorder.count(parts.counters.snapshot())
        parts.pace.succeeded()
        parts.breaker.committed(commit.counted)
        commit.uncommitted.clear(parts.hooks.clock())
        self._committed()
        if commit.stop is not None:
            raise record_failed(commit.stop)
        self.tick()

    def _count(self, commit: _Commit, spent: Spent, seconds: float) -> None:
        add, settlement = self._parts.counters.add, commit.settlement
        add("phase_seconds", seconds, "commit")
        add("phase_seconds", spent.decode, "decode")
        add("phase_seconds", spent.operators, "operators")
        add("phase_seconds", spent.encode, "encode")
        add("commits")
        add("records_in", commit.uncommitted.records)
        add("records_out", commit.outputs)
        add("records_dropped", commit.uncommitted.dropped)
        add("bytes_out", commit.size)
        for letter in settlement.dead_letters:
            add("dead_letters", 1, letter.failure.condition.value)
            self._parts.kinds.committed(letter)
            self._count_cause(letter)

    def _count_cause(self, letter: DeadLetter) -> None:
        """Log the first dead letter of its kind; later ones are only counted."""
        new = self._parts.causes.add(letter)
        if new is not None:
            self._log.warning(
                "first dead letter of its kind",
                record=str(new.example),
                condition=new.condition,
                operator=new.operator,
                error=new.error,
                fingerprint=new.fingerprint,
            )


def record_failed(letter: DeadLetter) -> RecordFailed:
    """The error that stops a pipeline whose record failed for good without a dead-letter topic."""
    failure = letter.failure
    where = f" in operator {failure.operator}" if failure.operator else ""
    return RecordFailed(
        f"the record at {place_of(letter.record)} failed{where} ({failure.condition}: "
        f"{failure.error.type}: {failure.error.message}), and the pipeline has no place for dead "
        "letters"
    )
