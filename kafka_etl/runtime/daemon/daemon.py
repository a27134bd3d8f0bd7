"""The daemon: many pipelines, one loop, no Kafka client of its own."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, Protocol

from kafka_etl.config.document import Document
from kafka_etl.config.model import PipelineSpec
from kafka_etl.errors import ConfigError, KafkaEtlError, OrderRefused, UnknownPipeline
from kafka_etl.log import get_logger
from kafka_etl.runtime import process_family
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.daemon.child_selector import ChildSelector
from kafka_etl.runtime.daemon.notify import notify
from kafka_etl.runtime.daemon.pipelines import (
    HELD,
    OVER,
    ManagedPipeline,
    PipelineStatus,
    RunOptions,
    State,
)
from kafka_etl.runtime.daemon.state_folder import StateFolder

Loaded = tuple[Document, PipelineSpec]

_LOOP: Final = 0.2
_LOOK_EVERY: Final = 1.0
_RATE_WINDOW: Final = 10


class Verb(StrEnum):
    """What may be ordered of a pipeline."""

    PAUSE = "pause"
    RESUME = "resume"
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Rates:
    """Records a second, over the last seconds."""

    records_in: float
    records_out: float


@dataclass(frozen=True, slots=True)
class View:
    """The daemon at one moment: what HTTP, metrics and the progress line show."""

    at: float
    instance: str
    pipelines: Mapping[str, PipelineStatus]
    rates: Mapping[str, Rates]

    @property
    def ready(self) -> bool:
        """Every pipeline has what it needs of its group."""
        return all(status.joined for status in self.pipelines.values())

    @property
    def has_started(self) -> bool:
        """Every pipeline has come as far as it will by itself, be it to its end."""
        return all(status.joined or status.state in OVER for status in self.pipelines.values())


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """Beside the pipelines themselves.

    Attributes:
        reload: Reads a pipeline's file again for `restart`; raises ConfigError.
        look: Called about once a second with the current view.
        fail_on_dead_letter: Whether dead letters make the exit status 3.
    """

    run: RunOptions
    state_folder: Path
    instance: str | None
    reload: Callable[[Path], Loaded]
    look: Callable[[View], None]
    fail_on_dead_letter: bool = False


class Orders(Protocol):
    """What may be asked of a daemon from other threads."""

    def view(self) -> View: ...

    def order(self, name: str, verb: Verb) -> None:
        """Give an order; it is carried out soon.

        Raises:
            UnknownPipeline: There is none of that name.
            OrderRefused: It is to be paused, and nothing of it runs; or to be resumed, and is
                not paused.
            ConfigError: The file to restart from is wrong.
        """
        ...

    def ticked_at(self) -> float:
        """When the main loop last came around, on the monotonic clock."""
        ...


class Daemon:
    """Runs pipelines until they end or it is told to stop."""

    def __init__(self, pipelines: Sequence[Loaded], options: DaemonOptions) -> None:
        self._options = options
        self._log = get_logger("daemon")
        self._folder = StateFolder(options.state_folder, options.instance)
        self._pipelines = {
            spec.name: ManagedPipeline(document, spec, self._folder, options.run)
            for document, spec in pipelines
        }
        self._files = {spec.name: document.path for document, spec in pipelines}
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._paused: set[str] = set()
        self._selector = ChildSelector()
        self._signals = 0
        self._signal = 0
        self._acted_on = 0
        self._ticked_at = time.monotonic()
        self._samples: deque[tuple[float, Mapping[str, PipelineStatus]]] = deque(
            maxlen=_RATE_WINDOW
        )
        self._view = self._look()
        self._ready = False

    def begin(self) -> None:
        """Start everything; `run` then keeps it going."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        process_family.found(self._folder.path)
        for pipeline in self._pipelines.values():
            pipeline.begin()

    def run(self) -> int:
        """Until everything is over.

        Returns:
            The exit status: 0 done, 1 failed, 2 wrong configuration, 3 finished with dead letters;
            128 and the signal where the end was to be reached, and was not.
        """
        looked_at, pids, news = 0.0, list[int](), False
        while True:
            now = time.monotonic()
            self._ticked_at = now
            self._obey_signals()
            self._obey_orders()
            for pipeline in self._pipelines.values():
                pipeline.tick(now)
            listeners: dict[Child, Callable[[], bool]] = {}
            for pipeline in self._pipelines.values():
                listeners |= pipeline.listeners
            before, pids = pids, [child.pid for child in listeners]
            # A death is seen at once, a new state of a worker as well.
            if now - looked_at >= (_LOOP if news else _LOOK_EVERY) or pids != before:
                looked_at, news = now, False
                self._look_around()
            if self._is_over():
                break
            news |= self._selector.listen(listeners, now + _LOOP)
        self._look_around()
        notify("STOPPING=1")
        self._selector.close()
        self._folder.close()
        return self._exit_status()

    def view(self) -> View:
        return self._view

    def ticked_at(self) -> float:
        return self._ticked_at

    def order(self, name: str, verb: Verb) -> None:
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            raise UnknownPipeline(f"this daemon runs no pipeline `{name}`")
        match verb:
            case Verb.PAUSE:
                self._require_future(name)
                self._paused.add(name)  # at once: who resumes next may be faster than the pause
                self._orders.put(pipeline.pause)
            case Verb.RESUME:
                self._require_pause(name)
                self._paused.discard(name)
                self._orders.put(pipeline.resume)
            case Verb.RESTART:
                loaded = self._options.reload(self._files[name])
                self._paused.discard(name)
                self._orders.put(lambda: pipeline.restart(*loaded))

    # Parts

    def _require_future(self, name: str) -> None:
        """What is to begin again may be paused before it does."""
        state = self._view.pipelines[name].state
        ends = state in OVER or state is State.DRAINING
        if ends and not self._pipelines[name].begins_again:
            raise _refused(name, "cannot be paused", state)

    def _require_pause(self, name: str) -> None:
        state = self._view.pipelines[name].state
        if state in OVER or (state not in HELD and name not in self._paused):
            raise _refused(name, "is not paused", state)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._signal = number

    def _obey_signals(self) -> None:
        if self._signals == self._acted_on:
            return
        self._acted_on = self._signals
        if self._signals == 1:
            self._log.info("stopping: finishing what is in hand; a second signal stops at once")
        for pipeline in self._pipelines.values():
            pipeline.drain() if self._signals == 1 else pipeline.kill()

    def _obey_orders(self) -> None:
        while True:
            try:
                self._orders.get_nowait()()
            except Empty:
                return

    def _is_over(self) -> bool:
        """Nothing runs, and either it was told to stop or nothing is left to wait for."""
        return all(p.is_over and not p.begins_again for p in self._pipelines.values())

    def _look_around(self) -> None:
        self._view = self._look()
        notify("WATCHDOG=1")
        if not self._ready and self._view.has_started:
            self._ready = True
            notify("READY=1")
        self._options.look(self._view)

    def _look(self) -> View:
        now = time.monotonic()
        statuses = {name: pipeline.status() for name, pipeline in self._pipelines.items()}
        self._samples.append((now, statuses))
        then, before = self._samples[0]
        seconds = max(now - then, 1e-9)

        def rate(name: str, metric: str) -> float:
            return max(0.0, (statuses[name].count(metric) - before[name].count(metric)) / seconds)

        rates = {n: Rates(rate(n, "records_in"), rate(n, "records_out")) for n in statuses}
        return View(time.time(), self._folder.instance, statuses, rates)

    def _exit_status(self) -> int:
        statuses = self._view.pipelines.values()
        problems = [status.problem for status in statuses if status.problem is not None]
        if problems:
            configuration = all(problem.code == ConfigError.code for problem in problems)
            return ConfigError.exit_status if configuration else KafkaEtlError.exit_status
        stopped = any(status.state is State.STOPPED for status in statuses)
        if stopped and self._signal and self._options.run.until_end:
            return 128 + self._signal
        letters = sum(status.count("dead_letters") for status in statuses)
        return 3 if letters and self._options.fail_on_dead_letter else 0


def _refused(name: str, why: str, state: State) -> OrderRefused:
    advice = f"`kafka-etl restart {name}` starts it anew." if state in OVER else ""
    return OrderRefused(f"pipeline `{name}` {why}: it is {state}", advice)
