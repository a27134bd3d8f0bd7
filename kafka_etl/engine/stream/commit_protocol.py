"""The commit protocol: how a settlement becomes durable, and when the next batch may go on.

::

                  commit(wait)                    commit(overlap)
      ┌─────────┐ ───────────▶ durable ─┐   ┌─────────────────────▶ ┌──────────┐
      │  IDLE   │ ◀─────────────────────┘   │                       │ UNDER WAY│
      │         │ ──────────────────────────┘        join()         │          │
      └─────────┘ ◀──────────────────────────────── durable ─────── └──────────┘
           ▲                                                             │
           └──── CommitFailed: nothing durable, or nobody knows ◀────────┘

At most one commit is under way. Every commit, and every note on deaths, joins the one before it
first. A failure is raised as `CommitFailed`, which names the batch that failed: the one in hand,
or the one under way, and then the batch in hand is void as well, because it was read behind the
other. `Recovery` (recovery.py) decides what follows from a failure.

All methods run on the main thread. The commit thread runs one call at a time, the second half of a
sink's commit, and touches nothing else of the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Final

from kafka_etl.contracts import Aborted, OutcomeUnknown, PromptSink
from kafka_etl.engine.attempt.chain import Spent
from kafka_etl.engine.poison.breaker import Counted
from kafka_etl.engine.stream.membership import Membership
from kafka_etl.engine.stream.parts import StreamParts, SubmittedCommit
from kafka_etl.engine.stream.uncommitted import Uncommitted
from kafka_etl.invocation import DeadLetter, Outputs, Settlement
from kafka_etl.log import get_logger
from kafka_etl.record import Offsets

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
    """One commit: a settlement, the batch of the settlement, and the breaker's state."""

    settlement: Settlement
    uncommitted: Uncommitted
    counted: Counted


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A commit whose end the commit thread waits for."""

    commit: _Commit
    submitted: SubmittedCommit


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
        self._prompt = parts.sink if isinstance(parts.sink, PromptSink) else None
        self._under_way: _UnderWay | None = None
        self._worth_it = False
        self._log = get_logger("engine")

    @property
    def under_way(self) -> bool:
        """Whether a commit was started that `join` has not waited for."""
        return self._under_way is not None

    @property
    def may_overlap(self) -> bool:
        """Whether the next batch may be run during a commit.

        The sink must be a `PromptSink`, and the work on the last batch must have been long enough:
        where a pipeline only passes bytes on, two batches in the processor's cache cost more than
        the wait for the commit.
        """
        return self._parts.submit is not None and self._prompt is not None and self._worth_it

    def commit(self, uncommitted: Uncommitted, *, overlap: bool = False) -> None:
        """Make the finished slices durable, as one act.

        Args:
            uncommitted: The slices; cleared once they are durable.
            overlap: Return when the sink has taken the settlement; `join` waits for the rest.

        Raises:
            CommitFailed: This commit failed, or the one under way.
        """
        self.join()
        self.serve(uncommitted, unless_fresh=True)
        if not uncommitted.slices:
            return
        settlement = Settlement.joined([settled for _, settled in uncommitted.slices])
        settlement = replace(
            settlement,
            lease=self._parts.source.lease,
            notes=self._parts.quarantine.suspects.notes(settlement.progress),
        )
        commit = _Commit(settlement, uncommitted, self._parts.breaker.counted)
        self._parts.recorder.phase("commit")
        try:
            if overlap:
                self._membership.mark()
                self._under_way = self._submit(commit)
                return
            seconds = self._wait_for(settlement)
        except (Aborted, OutcomeUnknown) as failed:
            raise CommitFailed(failed, uncommitted) from failed
        self._take_in(commit, settlement.progress, seconds)

    def commit_notes(self) -> None:
        """Commit the notes on deaths, beside unchanged offsets, before a suspect is run.

        Raises:
            CommitFailed: The notes are not durable, or the commit under way failed.
        """
        notes = self._membership.notes
        if not notes:
            return
        self.join()
        self._parts.recorder.phase("commit")
        settlement = Settlement(
            Outputs(),
            (),
            progress={tp: offset for tp, (offset, _) in notes.items()},
            lease=self._parts.source.lease,
            notes={tp: note for tp, (_, note) in notes.items()},
        )
        try:
            self._wait_for(settlement)
        except (Aborted, OutcomeUnknown) as failed:
            nothing = Uncommitted(self._parts.hooks.clock())
            raise CommitFailed(failed, nothing) from failed
        self._membership.notes = {}
        self._parts.quarantine.suspects.noted(settlement.progress)

    def join(self) -> None:
        """Wait for the commit under way, if there is one, and advance to its offsets.

        Raises:
            CommitFailed: The commit under way failed; slices that were run since are void.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return
        self._parts.recorder.phase("commit")
        commit = under_way.commit
        try:
            seconds = under_way.submitted.result()
        except (Aborted, OutcomeUnknown) as failed:
            raise CommitFailed(failed, commit.uncommitted) from failed
        departed = self._membership.departed_since_mark()
        progress = {tp: at for tp, at in commit.settlement.progress.items() if tp not in departed}
        self._take_in(commit, progress, seconds)

    def serve(self, uncommitted: Uncommitted | None = None, *, unless_fresh: bool = False) -> None:
        """Serve the source's client, and leave departed partitions out of the finished slices.

        Args:
            uncommitted: The finished slices, if a batch is in hand.
            unless_fresh: Whether to do nothing if the membership was proven a moment ago.
        """
        if unless_fresh and self._membership.is_fresh():
            return
        self._parts.source.serve()
        gone = self._membership.note_changes()
        if gone and uncommitted is not None:
            uncommitted.leave_out(gone)

    def _wait_for(self, settlement: Settlement) -> float:
        """Commit and wait; returns the seconds the commit took."""
        return self._timed(settlement, perf_counter(), lambda: self._parts.sink.commit(settlement))

    def _submit(self, commit: _Commit) -> _UnderWay:
        """Hand the settlement to the sink here, and wait for its end on the commit thread."""
        submit, prompt = self._parts.submit, self._prompt
        if submit is None or prompt is None:
            raise RuntimeError("this sink cannot commit while the next batch is run")
        started = perf_counter()
        end = prompt.begin(commit.settlement)
        submitted = submit(lambda: self._timed(commit.settlement, started, end))
        return _UnderWay(commit, submitted)

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

    def _take_in(self, commit: _Commit, progress: Offsets, seconds: float) -> None:
        """The commit is durable: every part that keeps an account of offsets moves on."""
        parts = self._parts
        parts.source.advance(progress)
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

    def _count(self, commit: _Commit, spent: Spent, seconds: float) -> None:
        add, settlement = self._parts.counters.add, commit.settlement
        add("phase_seconds", seconds, "commit")
        add("phase_seconds", spent.decode, "decode")
        add("phase_seconds", spent.operators, "operators")
        add("phase_seconds", spent.encode, "encode")
        add("commits")
        add("records_in", commit.uncommitted.records)
        add("records_out", len(settlement.outputs))
        add("records_dropped", commit.uncommitted.dropped)
        add("bytes_out", settlement.outputs.size)
        for letter in settlement.dead_letters:
            add("dead_letters", 1, letter.failure.condition.value)
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
