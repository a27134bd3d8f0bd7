"""One worker slot of a pipeline: its process, the deaths of workers, and the evidence of each."""

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
_CODEC_LIMIT: Final = (60.0, 300.0)
"""Seconds for decoding or encoding a slice, in which classes of the user may hang: the longest
timeout of an operator, within these bounds."""
_SLACK: Final = 0.5
"""Seconds beyond a timeout, in which a worker itself can cancel the call of an async operator."""
_AFTER_BLAME: Final = 0.2
_PROVEN: Final = 60.0
"""Seconds a worker lives before its slot is trusted again after deaths nobody could explain."""
_NO_ROOM: Final = 5.0
"""Seconds before a worker is started that could not be."""
_GARBLED: Final = "user code wrote into the connection to the daemon"
_LATER: Final = frozenset({"settle", "commit", "gather", "wait"})


@dataclass(frozen=True, slots=True)
class Watch:
    """The limits on a worker's standstill, by phase and stage of the flight recorder.

    Attributes:
        operators: (name, timeout in seconds) of each operator, in the order of the chain.
    """

    operators: Sequence[tuple[str, float]]

    def limit(self, phase: str, stage: int) -> float:
        """Return the limit in seconds; in phase `operator`, operators are the stages from 1."""
        if phase == "starting":
            return _STARTING_LIMIT
        if phase != "operator":
            return _OTHER_LIMIT
        if 1 <= stage <= len(self.operators):
            return self.operators[stage - 1][1]
        least, most = _CODEC_LIMIT
        timeouts = [timeout for _, timeout in self.operators]
        return min(most, max([least, *timeouts])) if timeouts else most

    def place(self, phase: str, stage: int) -> str:
        """Describe a phase and stage in words."""
        if phase != "operator":
            return f"phase {phase}"
        if 1 <= stage <= len(self.operators):
            return f"operator {self.operators[stage - 1][0]}"
        return "decoding" if stage == 0 else "encoding"


class WorkerSlot:
    """Keeps one worker running: starts the worker, watches it, and restarts it after a death.

    All methods are called by the daemon's main loop.

    Args:
        make_task: Makes the task of the next process from the evidence of a predecessor's death.
        recorder: Path of the flight recorder's file.
        watch: Limits on a worker's standstill.
        first: A process that waits for its task; None: the slot starts one.
        log: Logger of the pipeline.

    Attributes:
        unexplained_deaths: Deaths in a row that are not blamed on a record, without a commit in
            between.
        snapshot: Latest report of the worker; None: no report of the present process yet.
        ended: Last value of a worker that has ended for good; None: no worker has.
    """

    def __init__(
        self,
        make_task: Callable[[Evidence | None], WorkerTask],
        recorder: Path,
        watch: Watch,
        first: Child | None,
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
        """Do the work that is due: take in reports, kill a stuck worker, restart a dead one.

        Args:
            now: Time on the monotonic clock, in seconds.
        """
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
        """Take in the worker's reports; return whether more than counters and lags has changed."""
        before = self._news()
        self._hear()
        return self._news() != before or (self._child is not None and self._child.has_hung_up)

    def send(self, command: str) -> None:
        if self._child is not None:
            self._child.send(command)

    def drain(self) -> None:
        """Ask the worker to finish the records in hand and to end; restart no dead worker."""
        self._start_at = None
        if self._next_child is not None:
            self._next_child.end()
            self._next_child = None
        if self._child is not None:
            self._child.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the worker; records that it had not committed are run again later."""
        if self._child is not None and self._killed_for is None:
            self._killed_for = "our own stop"
            self._child.kill()

    @property
    def joined(self) -> bool:
        """Whether a worker runs in this slot and is a member of its group."""
        return self._child is not None and self.snapshot is not None and self.snapshot.joined

    @property
    def child(self) -> Child | None:
        """The worker's process; None while no process runs."""
        return self._child

    @property
    def trouble(self) -> str | None:
        """The worker's trouble; until a restarted worker runs, the reason of the last death."""
        said = self.snapshot.trouble if self.snapshot is not None else None
        return said or self._death

    @property
    def over(self) -> bool:
        """Whether no process runs in this slot and none will start."""
        return self._child is None and (self.ended is not None or self._start_at is None)

    def counters(self) -> Mapping[tuple[str, str], float]:
        """Return the counters of this slot's workers, including the dead ones."""
        total = Counters()
        total.include(self._counters.snapshot())
        if self.snapshot is not None:
            total.include(self.snapshot.counters)
        return total.snapshot()

    def causes(self) -> tuple[Cause, ...]:
        """Return the causes of dead letters of this slot's workers, including the dead ones."""
        total = Causes()
        total.include(self._causes.commonest())
        if self.snapshot is not None:
            total.include(self.snapshot.causes)
        return total.commonest()

    # Life and death

    def _start(self, now: float) -> None:
        try:
            child = self._next_child or Child(WORKER)
        except OSError as error:  # the host has no room for another process: that may pass
            self._death = f"a worker cannot be started: {error}"
            self._start_at = now + _NO_ROOM
            restart_in = show_duration(_NO_ROOM)
            self._log.error("a worker cannot be started", error=str(error), restart_in=restart_in)
            return
        task = replace(self._make_task(self._evidence), cautious=self._cautious)
        self._started_at = now
        self._killed_for = self._last_word = None
        self._recorder.close()  # the worker creates a file that somebody deleted
        self._child, self._next_child = child, None
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
                    self._evidence = None  # committed as a note; a successor must not count again
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
        """Return the larger of the reported and the recorded counts.

        A worker that dies after a commit may not have reported the commit, only recorded it.
        """
        counts = dict(self.snapshot.counters) if self.snapshot is not None else {}
        recording = self._recorder.read()
        if child is not None and recording.pid == child.pid:
            for series, count in recording.counters.items():
                counts[series] = max(count, counts.get(series, 0))
        return counts

    def _count_death(self, *, progressed: bool) -> float:
        """Count a death and return the seconds until the restart.

        The wait is short after a death that is blamed on a record: the count of deaths per record
        is limited.
        """
        self._deaths += 1
        if self._evidence is not None:
            return _AFTER_BLAME
        self.unexplained_deaths = 1 if progressed else self.unexplained_deaths + 1
        return RESTARTS.delay(self.unexplained_deaths, random.random)

    def _check_progress(self) -> None:
        """Kill a worker that stands still, since a stuck worker cannot notice its standstill."""
        pid, phase, stage, seconds = self._recorder.state()
        if self._child is None or pid != self._child.pid:
            self._recorder.close()
            return  # the worker has not opened its recorder yet, and may have to create the file
        limit = self._watch.limit(phase, stage)
        if seconds > limit + _SLACK:
            place = self._watch.place(phase, stage)
            self._killed_for = f"it stood still for more than {show_duration(limit)} in {place}"
            self._child.kill()

    def _find_evidence(self, pid: int, reason: str) -> Evidence | None:
        """Return the evidence of a death inside user code: the offsets in hand and the reason."""
        recording = self._recorder.read()
        if recording.pid != pid or not self._is_blamed(recording):
            return self._evidence  # the predecessor's evidence may still be unused
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
        """Return the evidence of a worker that died together with an earlier daemon.

        Such evidence starts careful mode, but counts no death: killing a daemon kills its workers,
        so the record in hand is probably not the cause.
        """
        recording = self._recorder.read()
        if recording.phase != "operator":
            return None
        return Evidence(recording.ranges, None, "the daemon died")
