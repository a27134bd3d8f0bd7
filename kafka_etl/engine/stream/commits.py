"""Commits: made on the spot, or begun while the next batch is already run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Final, Protocol

from kafka_etl.contracts import PromptSink, Sink
from kafka_etl.dead_letters import Causes
from kafka_etl.engine.attempt.chain import Spent
from kafka_etl.engine.stream.uncommitted import Uncommitted
from kafka_etl.invocation import DeadLetter, Settlement
from kafka_etl.log import get_logger
from kafka_etl.metrics import Counters


class Outcome(Protocol):
    """What a call that was begun elsewhere comes to."""

    def result(self) -> float:
        """Wait for its end; the seconds it took, or whatever it raised."""
        ...


Begin = Callable[[Callable[[], float]], Outcome]
"""Begins a call in another thread: one after the other, never two at a time."""


@dataclass(slots=True)
class Pending:
    """What was given to the sink and is not known to be durable yet.

    Attributes:
        finished: The batch it is of, for whoever is to blame if it fails.
        counted: Dead letters in a row when it was given away, for the breaker.
    """

    outcome: Outcome
    finished: Uncommitted
    settlement: Settlement
    counted: tuple[int, bool]


_WORTH_IT: Final = 0.25
"""Work on a batch, as a share of its commit, from which on the two are done side by side."""


class Overtaken(Exception):
    """The commit before this batch failed: the batch is read again, after what came before it."""


class Commits:
    """What the sink has made durable, and how that is counted.

    Args:
        begin: Begins a commit elsewhere; None: each is waited for.
        causes: Where dead letters are counted by why they are there.
    """

    def __init__(
        self, sink: Sink, counters: Counters, begin: Begin | None, causes: Causes | None = None
    ) -> None:
        self._sink = sink
        self._prompt = sink if isinstance(sink, PromptSink) else None
        self._counters = counters
        self._causes = causes or Causes()
        self._begin = begin
        self._worth_it = False
        self._log = get_logger("engine")

    @property
    def may_overlap(self) -> bool:
        """Whether it can be done, and there was work to be done meanwhile last time.

        Where there is next to none (bytes through), two batches in the cache cost more than the
        waiting.
        """
        return self._begin is not None and self._prompt is not None and self._worth_it

    def make(self, settlement: Settlement) -> float:
        """Return when it is durable, with the seconds that took; raises as `Sink.commit` does."""
        return self._timed(settlement, perf_counter(), lambda: self._sink.commit(settlement))

    def begin(
        self, settlement: Settlement, finished: Uncommitted, counted: tuple[int, bool]
    ) -> Pending:
        """CallClock it over, and return; how that ended is taken in later."""
        if self._begin is None or self._prompt is None:
            raise RuntimeError("commits of this sink are waited for")
        started = perf_counter()
        end = self._prompt.begin(settlement)
        outcome = self._begin(lambda: self._timed(settlement, started, end))
        return Pending(outcome, finished, settlement, counted)

    def _timed(self, settlement: Settlement, started: float, end: Callable[[], None]) -> float:
        end()
        spent = perf_counter() - started
        self._log.debug(
            "committed",
            outputs=len(settlement.outputs),
            dead_letters=len(settlement.dead_letters),
            ms=round(spent * 1000, 1),
        )
        return spent

    def count(
        self, settlement: Settlement, finished: Uncommitted, spent: Spent, seconds: float
    ) -> None:
        """It is durable; making it so took so many seconds."""
        add = self._counters.add
        add("phase_seconds", seconds, "commit")
        add("commits")
        add("records_in", finished.records)
        add("records_out", len(settlement.outputs))
        add("records_dropped", finished.dropped)
        add("bytes_out", settlement.outputs.size)
        for letter in settlement.dead_letters:
            add("dead_letters", 1, letter.failure.condition.value)
            self._note_cause(letter)
        self._worth_it = spent.total > seconds * _WORTH_IT
        for phase in ("decode", "operators", "encode"):
            add("phase_seconds", getattr(spent, phase), phase)
            setattr(spent, phase, 0.0)

    def _note_cause(self, letter: DeadLetter) -> None:
        """Say why the first dead letter of its kind is there; the others are counted."""
        new = self._causes.add(letter)
        if new is not None:
            self._log.warning(
                "first dead letter of its kind",
                record=str(new.example),
                condition=new.condition,
                operator=new.operator,
                error=new.error,
                fingerprint=new.fingerprint,
            )
