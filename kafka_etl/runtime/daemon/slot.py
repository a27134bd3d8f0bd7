"""One worker slot of a pipeline: the process in it, its deaths, and what each leaves behind."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kafka_etl.dead_letters import Cause, Causes
from kafka_etl.engine.poison.crash_suspects import Evidence
from kafka_etl.invocation import Condition
from kafka_etl.log import Logger
from kafka_etl.metrics import Counters
from kafka_etl.runtime.child import RESTARTS, WORKER, Child, describe_exit
from kafka_etl.runtime.messages import Died, Ended, Snapshot, WorkerTask
from kafka_etl.runtime.recorder import RecorderFile, Recording
from kafka_etl.units import show_duration

_STARTING_LIMIT: Final = 600.0
_OTHER_LIMIT: Final = 60.0
_CODEC_LIMIT: Final = 300.0
_SLACK: Final = 0.5
"""Seconds for a worker to cancel an async operator itself."""
_AFTER_BLAME: Final = 0.2
_PROVEN: Final = 60.0
"""Seconds a worker lives before its slot is trusted again after deaths nobody could explain."""
_GARBLED: Final = "user code wrote into the connection to the daemon"
_LATER: Final = frozenset({"settle", "commit", "gather", "wait"})


@dataclass(frozen=True, slots=True)
class Watch:
    """How long a worker may stand still, by what it is about.

    Attributes:
        operators: (name, timeout) in the order of the chain.
    """

    operators: Sequence[tuple[str, float]]

    def limit(self, phase: str, stage: int) -> float:
        """Seconds; `stage` counts the operators from 1 in phase `operator`."""
        if phase == "starting":
            return _STARTING_LIMIT
        if phase != "operator":
            return _OTHER_LIMIT
        if 1 <= stage <= len(self.operators):
            return self.operators[stage - 1][1]
        return _CODEC_LIMIT

    def place(self, phase: str, stage: int) -> str:
        """Where that is, in words."""
        if phase != "operator":
            return f"phase {phase}"
        if 1 <= stage <= len(self.operators):
            return f"operator {self.operators[stage - 1][0]}"
        return "decoding" if stage == 0 else "encoding"


class WorkerSlot:
    """Keeps one worker running: starts it, watches it, and starts it again after a death.

    Args:
        make_task: The task of the next process, given the evidence its predecessor left.
        recorder: The file of its flight recorder.
        watch: What counts as standing still.
        first: A process that waits for its task.
        log: The pipeline's.
    """

    def __init__(
        self,
        make_task: Callable[[Evidence | None], WorkerTask],
        recorder: Path,
        watch: Watch,
        first: Child,
        log: Logger,
    ) -> None:
        self._make_task = make_task
        self._recorder = RecorderFile(recorder)
        self._watch = watch
        self._log = log
        self._child: Child | None = None
        self._next_child: Child | None = first
        self._start_at: float | None = 0.0
        self._evidence = self._left_by_a_daemon()
        self._killed_for: str | None = None
        self._last_word: str | None = None
        self._death: str | None = None
        self._counters = Counters()
        self._causes = Causes()
        self._deaths = 0
        self._cautious = False
        self._started_at = 0.0
        self.unexplained_deaths = 0
        self.snapshot: Snapshot | None = None
        self.ended: Ended | None = None

    def tick(self, now: float) -> None:
        """Hear the worker, watch it, bury it, start the next: whatever is due."""
        if self._child is None:
            if self.ended is None and self._start_at is not None and now >= self._start_at:
                self._start(now)
            return
        self._hear()
        status = self._child.exit_status()
        if status is not None:
            self._hear()
            self._bury(status, now)
        elif self._killed_for is None:
            self._check_progress()

    def hear(self) -> bool:
        """Take in what the worker says; returns whether more than its figures is new."""
        before = self._news()
        self._hear()
        return self._news() != before or (self._child is not None and self._child.has_hung_up)

    def send(self, command: str) -> None:
        if self._child is not None:
            self._child.send(command)

    def drain(self) -> None:
        """Ask the worker to finish what is in hand; one that is dead stays so."""
        self._start_at = None
        if self._next_child is not None:
            self._next_child.end()
            self._next_child = None
        if self._child is not None:
            self._child.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker at once; what it had not committed is run again later."""
        if self._child is not None and self._killed_for is None:
            self._killed_for = "our own stop"
            self._child.kill()

    @property
    def joined(self) -> bool:
        """Whether a worker runs here and is a member of its group."""
        return self._child is not None and self.snapshot is not None and self.snapshot.joined

    @property
    def child(self) -> Child | None:
        """The process; None between two."""
        return self._child

    @property
    def trouble(self) -> str | None:
        """What is in its way; until it runs, also why the last one died."""
        said = self.snapshot.trouble if self.snapshot is not None else None
        return said or self._death

    @property
    def over(self) -> bool:
        """Whether nothing runs here and nothing will."""
        return self._child is None and (self.ended is not None or self._start_at is None)

    def counters(self) -> Mapping[tuple[str, str], float]:
        """Counts of this slot's workers, the dead ones included."""
        total = Counters()
        total.include(self._counters.snapshot())
        if self.snapshot is not None:
            total.include(self.snapshot.counters)
        return total.snapshot()

    def causes(self) -> tuple[Cause, ...]:
        """Why records became dead letters, of this slot's workers, the dead ones included."""
        total = Causes()
        total.include(self._causes.commonest())
        if self.snapshot is not None:
            total.include(self.snapshot.causes)
        return total.commonest()

    # Life and death

    def _start(self, now: float) -> None:
        task = replace(self._make_task(self._evidence), cautious=self._cautious)
        self._started_at = now
        self._killed_for = self._last_word = None
        self._recorder.close()  # the worker makes the file anew, should somebody have deleted it
        self._child = self._next_child or Child(WORKER)
        self._next_child = None
        self._child.send(task)
        if self._deaths:
            self._counters.add("worker_restarts")

    def _hear(self) -> None:
        for message in self._child.received() if self._child is not None else ():
            if isinstance(message, Snapshot):
                self.snapshot = message
                if message.state != "starting":
                    self._death = None
                if message.noted:
                    self._evidence = None  # its notes are committed: a second count would be wrong
            elif isinstance(message, Ended) and message.how == "drained" and self._is_wanted:
                self.snapshot = message.snapshot
                self._last_word = "a signal ended it that was not the daemon's"
            elif isinstance(message, Ended):
                self.snapshot, self.ended = message.snapshot, message
            elif isinstance(message, Died):
                self._last_word = message.reason
        if self._child is not None and self._child.is_garbled and self._killed_for is None:
            self._killed_for = _GARBLED
            self._child.kill()

    @property
    def _is_wanted(self) -> bool:
        """Whether a worker is to run here: the daemon has not told the worker to end."""
        return self._start_at is not None

    def _news(self) -> object:
        said = self.snapshot
        state = None if said is None else (said.state, said.joined, said.problem)
        return state, self.ended is None, self._last_word

    def _bury(self, status: int, now: float) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()
        if self.ended is not None:
            return
        counts = self._last_counts(child)
        self._counters.include(counts)
        if self.snapshot is not None:
            self._causes.include(self.snapshot.causes)
        self.snapshot = None
        if not self._is_wanted:
            return
        reason = self._killed_for or describe_exit(status)
        self._counters.add("worker_deaths", 1, reason if self._killed_for is None else "stuck")
        if child is not None:
            self._evidence = self._find_evidence(child.pid, self._last_word or reason)
        self._death = f"a worker died: {self._last_word or reason}"
        wait = self._count_death(progressed=counts.get(("commits", ""), 0) > 0)
        lived = now - self._started_at
        self._cautious = (self._cautious and lived < _PROVEN) or self.unexplained_deaths > 1
        self._start_at = now + wait
        self._log.error(
            "a worker died",
            reason=self._last_word or reason,
            blamed_on="a record" if self._evidence else "nothing",
            restart_in=show_duration(round(wait, 3)),
        )

    def _last_counts(self, child: Child | None) -> Mapping[tuple[str, str], float]:
        """The most that it told and that it wrote down, for it may have died before it told."""
        counts = dict(self.snapshot.counters) if self.snapshot is not None else {}
        recording = self._recorder.read()
        if child is not None and recording.pid == child.pid:
            for series, count in recording.counters.items():
                counts[series] = max(count, counts.get(series, 0))
        return counts

    def _count_death(self, *, progressed: bool) -> float:
        """Seconds until the next start. Deaths that are blamed on a record come to an end."""
        self._deaths += 1
        if self._evidence is not None:
            return _AFTER_BLAME
        self.unexplained_deaths = 1 if progressed else self.unexplained_deaths + 1
        return RESTARTS.delay(self.unexplained_deaths, random.random)

    def _check_progress(self) -> None:
        """Kill a worker that stands still: only from outside can that be seen."""
        pid, phase, stage, seconds = self._recorder.state()
        if self._child is None or pid != self._child.pid:
            self._recorder.close()
            return  # it has not opened its recorder yet, and may have to make it
        limit = self._watch.limit(phase, stage)
        if seconds > limit + _SLACK:
            place = self._watch.place(phase, stage)
            self._killed_for = f"it stood still for more than {show_duration(limit)} in {place}"
            self._child.kill()

    def _find_evidence(self, pid: int, reason: str) -> Evidence | None:
        """What the dead worker had in hand, if it died inside user code."""
        recording = self._recorder.read()
        if recording.pid != pid or not self._is_blamed(recording):
            return self._evidence  # it died before it could use what its predecessor left
        stuck = self._killed_for not in {None, _GARBLED}
        condition = Condition.TIMEOUT if stuck else Condition.WORKER_CRASHED
        return Evidence(recording.ranges, recording.hand, reason, condition)

    def _is_blamed(self, recording: Recording) -> bool:
        """Whether the records in hand are to blame for a death.

        An operator may also ruin its process (close the files, stop the clock), which dies later:
        after several such deaths workers begin with batches of one record, and the one record
        whose commit a worker did not live to see is to blame.
        """
        phase, alone = recording.phase, self._cautious and recording.hand is not None
        if phase == "operator" or (phase == "settle" and (self._last_word or alone)):
            return True
        return alone and self._killed_for in {None, _GARBLED} and phase in _LATER

    def _left_by_a_daemon(self) -> Evidence | None:
        """Of workers that died with their daemon: a reason to be careful, not to count a death.

        Killing a daemon kills its workers, so the record in hand is probably innocent.
        """
        recording = self._recorder.read()
        if recording.phase != "operator":
            return None
        return Evidence(recording.ranges, None, "the daemon died")
