"""The keeper of a task pipeline, as its daemon sees it: started, watched, and told to end.

A keeper that stands still can neither be heard nor end its attempts in time, so its daemon kills
the keeper and all attempts long before an owner takes them for lost.
"""

from __future__ import annotations

import random
import signal
from time import monotonic
from typing import Final

from kafka_etl.log import Logger
from kafka_etl.runtime.child import RESTARTS, Child, describe_exit
from kafka_etl.runtime.messages import KeeperTask
from kafka_etl.units import show_duration

_MODULE: Final = "kafka_etl.runtime.tasks.keeper.keeper"
_SHARE: Final = 0.5
"""Share of `lost_after`, which is two thirds of a lease, that a keeper may stand still."""
_PROVEN: Final = 60.0
"""Seconds that a keeper lives before its death is taken for the first one."""
_OWN_PAUSE: Final = 1.0
_GRACE: Final = 3.0
"""Seconds beyond its time after which a keeper is killed."""


class KeeperProcess:
    """Keeps one keeper running; a keeper that dies takes its attempts along, and is begun anew.

    All methods are called by the daemon's main loop, and none of them waits.

    Args:
        task: The task of the process.
        drain_timeout: Seconds that a keeper may take to end what it runs, once it interrupts that.
        log: Logger of the pipeline.
    """

    def __init__(self, task: KeeperTask, drain_timeout: float, log: Logger) -> None:
        self._task = task
        self._drain_timeout = drain_timeout
        self._patience = task.lost_after * _SHARE
        self._log = log
        self._deaths = 0
        self._began = 0.0
        self._start_at: float | None = 0.0
        self._child: Child | None = None
        self._heard_at: float | None = None
        self._looked_at = 0.0
        self._finishes = False
        self._kill_at: float | None = None

    def tick(self, now: float) -> None:
        """Start the process if that is due, and see whether it has ended."""
        if self._child is None:
            if self._start_at is not None and now >= self._start_at:
                self._start(now)
            return
        if self._kill_at is not None and now >= self._kill_at:
            self.kill()
        self._watch(self._child, now)
        status = self._child.exit_status()
        if status is None:
            return
        self._child.end()  # whatever of its attempts is left
        self._child.close()
        self._child = None
        if self._start_at is None:
            return
        self._begin_anew(now, "the keeper died", describe_exit(status))

    def _start(self, now: float) -> None:
        self._began, self._heard_at = now, None
        try:
            self._child = Child(_MODULE)
        except OSError as error:  # the host has no room for another process: that may pass
            self._begin_anew(now, "the keeper cannot be started", str(error))
            return
        self._child.send(self._task)

    def _begin_anew(self, now: float, what: str, reason: str) -> None:
        """Start the process again after a while."""
        self._deaths = 1 if now - self._began >= _PROVEN else self._deaths + 1
        wait = RESTARTS.delay(self._deaths, random.random)
        self._start_at = now + wait
        self._log.error(what, reason=reason, restart_in=show_duration(round(wait, 3)))

    def _watch(self, child: Child, now: float) -> None:
        """Kill a keeper that says nothing any more; it is begun anew as any that has died."""
        if child.received():
            self._heard_at = now
        if self._heard_at is not None and now - self._looked_at > _OWN_PAUSE:
            self._heard_at = now  # we stood still ourselves
        self._looked_at = now
        if self._heard_at is not None and now - self._heard_at > self._patience:
            silent = _shown(now - self._heard_at)
            self._log.error("the keeper stands still and is killed", silent=silent)
            self._heard_at = None
            child.kill()

    def stop(self) -> None:
        """Ask the keeper to end its attempts, to see their last words written, and to go."""
        within = self._task.finish_within
        self._finishes = within > 0 and self._child is not None
        self._tell(signal.SIGTERM, monotonic() + within)
        if self._finishes:
            self._log.info("attempts may end; another signal interrupts", within=_shown(within))

    def interrupt(self) -> bool:
        """Have a keeper whose attempts may end interrupt them; return whether there is one."""
        finishes, self._finishes = self._finishes and self._child is not None, False
        if finishes:
            self._tell(signal.SIGINT, monotonic())
        return finishes

    def _tell(self, number: signal.Signals, interrupts_at: float) -> None:
        self._start_at = None
        self._kill_at = interrupts_at + self._drain_timeout + _GRACE
        if self._child is not None:
            self._child.signal(number)

    def kill(self) -> None:
        """Kill the keeper, and all that it runs."""
        self._start_at = None
        if self._child is not None:
            self._child.kill()

    @property
    def child(self) -> Child | None:
        """The keeper's process; None while no process runs."""
        return self._child

    @property
    def over(self) -> bool:
        """Whether no process runs, and none will start."""
        return self._child is None and self._start_at is None


def _shown(seconds: float) -> str:
    return show_duration(round(seconds, 1))
