"""The daemon: one main loop for all pipelines, without a Kafka client."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, Protocol

from kafka_etl.config.document import Document
from kafka_etl.config.model import PipelineSpec
from kafka_etl.errors import ConfigError, KafkaEtlError, NameChanged, UnknownPipeline
from kafka_etl.log import get_logger
from kafka_etl.runtime import process_family
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.daemon.child_selector import ChildSelector
from kafka_etl.runtime.daemon.notify import notify
from kafka_etl.runtime.daemon.order import Order, OrderBook, Verb
from kafka_etl.runtime.daemon.pipelines import (
    ManagedPipeline,
    PipelineStatus,
)
from kafka_etl.runtime.daemon.state import HELD, OVER, State
from kafka_etl.runtime.daemon.state_folder import StateFolder
from kafka_etl.runtime.daemon.version import RunOptions, Version

Loaded = tuple[Document, PipelineSpec]

_LOOP: Final = 0.2
_LOOK_EVERY: Final = 1.0
_RATE_WINDOW: Final = 10


@dataclass(frozen=True, slots=True)
class Rates:
    """A pipeline's records a second, averaged over the last ten views, that is, 2 s to 10 s."""

    records_in: float
    records_out: float


@dataclass(frozen=True, slots=True)
class View:
    """The state of the daemon at one moment, for HTTP, metrics and the progress line.

    Attributes:
        at: Time of the view, in seconds since the epoch.
        instance: Name of the daemon's instance.
        pipelines: Pipeline name -> status.
        rates: Pipeline name -> rates.
    """

    at: float
    instance: str
    pipelines: Mapping[str, PipelineStatus]
    rates: Mapping[str, Rates]

    @property
    def ready(self) -> bool:
        """Whether the workers of every pipeline are members of their group."""
        return all(status.joined for status in self.pipelines.values())

    @property
    def has_started(self) -> bool:
        """Whether every pipeline has joined its group or has ended."""
        return all(status.joined or status.state in OVER for status in self.pipelines.values())


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """The settings of a daemon, besides its pipelines.

    Attributes:
        run: Settings for every pipeline.
        state_folder: Folder that holds a folder for each instance.
        instance: Name of the instance; None: the default name of the state folder.
        reload: Reads a file again for the order `restart`; raises ConfigError. A file with
            `mode: task` has two pipelines.
        reload_all: Reads all paths of the command line again; returns the pipelines of the valid
            files, and the errors of the other files.
        look: Called in the main loop, about once a second, with the current view.
        fail_on_dead_letter: Whether dead letters make the exit status 3.
    """

    run: RunOptions
    state_folder: Path
    instance: str | None
    reload: Callable[[Path], list[Loaded]]
    reload_all: Callable[[], tuple[list[Loaded], Mapping[Path, ConfigError]]]
    look: Callable[[View], None]
    fail_on_dead_letter: bool = False


class Orders(Protocol):
    """The methods of a daemon that other threads may call."""

    def view(self) -> View: ...

    def order(self, name: str, verb: Verb) -> Order:
        """Give an order; the main loop carries the order out, or refuses the order, soon after.

        The order `restart` reads the pipeline's file in the caller's thread.

        Raises:
            UnknownPipeline: The daemon has no pipeline of this name.
            ConfigError: The pipeline's file is not valid.
            NameChanged: The pipeline's file now has another pipeline name.
        """
        ...

    def find_order(self, order_id: str) -> Order:
        """Return the order of this id.

        Raises:
            OrderRefused: The daemon remembers no order of this id.
        """
        ...

    def ticked_at(self) -> float:
        """Return the start of the main loop's latest turn, in seconds on the monotonic clock."""
        ...


class Daemon:
    """Runs pipelines until all of them have ended, or a signal stops the daemon.

    `begin` and `run` belong to the main thread; other threads call the methods of `Orders`.

    Raises:
        ConfigError: The instance's name is not valid.
        StateFolderUnusable: The state folder cannot be used.
        InstanceInUse: Another daemon runs as this instance.
    """

    def __init__(self, pipelines: Sequence[Loaded], options: DaemonOptions) -> None:
        self._options = options
        self._log = get_logger("daemon")
        until_end = options.run.until_end
        self._folder = StateFolder(options.state_folder, options.instance, or_next=until_end)
        self._pipelines = {
            spec.name: ManagedPipeline(Version(document, spec, self._folder, options.run))
            for document, spec in pipelines
        }
        self._files = {spec.name: document.path for document, spec in pipelines}
        self._orders: SimpleQueue[tuple[Order, Loaded | None]] = SimpleQueue()
        self._given = OrderBook()
        self._open: list[Order] = []
        self._selector = ChildSelector()
        self._signals = 0
        self._signal = 0
        self._acted_on = 0
        self._ended = False
        self._hangups = 0
        self._reloads = 0
        self._ticked_at = time.monotonic()
        self._samples: deque[tuple[float, Mapping[str, PipelineStatus]]] = deque(
            maxlen=_RATE_WINDOW
        )
        self._view = self._look()
        self._ready = False

    def begin(self) -> None:
        """Install the signal handling and begin the preflight of every pipeline."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._expect_hangups()
        process_family.found(self._folder.path)
        for pipeline in self._pipelines.values():
            pipeline.begin()

    def run(self) -> int:
        """Run the main loop until every pipeline has ended.

        Returns:
            The exit status: 0: done; 1: a pipeline failed; 2: a configuration is not valid; 3: dead
            letters were written, and `fail_on_dead_letter` is set; 128 plus the signal's number: a
            signal stopped a run with `--until-end` before the end.
        """
        looked_at, pids, news = 0.0, list[int](), False
        while True:
            now = time.monotonic()
            self._ticked_at = now
            self._turn(now)
            listeners: dict[Child, Callable[[], bool]] = {}
            for pipeline in self._pipelines.values():
                listeners |= pipeline.listeners
            before, pids = pids, [child.pid for child in listeners]
            told = any(order.settled for order in self._open)
            # The view is renewed early for a dead or new process, a worker's new state, or an
            # order's outcome: otherwise only once a second.
            if now - looked_at >= (_LOOP if news else _LOOK_EVERY) or pids != before or told:
                looked_at, news = now, False
                self._look_around()
                self._tell_outcomes()
            if self._is_over():
                break
            news |= self._selector.listen(listeners, now + _LOOP)
        self._look_around()
        self._ended = True
        self._obey_orders()  # refuses the orders that came too late
        self._tell_outcomes()
        notify("STOPPING=1")
        self._selector.close()
        self._folder.close()
        return self._exit_status()

    def view(self) -> View:
        return self._view

    def ticked_at(self) -> float:
        return self._ticked_at

    def order(self, name: str, verb: Verb) -> Order:
        if name not in self._pipelines:
            raise UnknownPipeline(f"this daemon runs no pipeline `{name}`")
        loaded = self._read_again(name) if verb is Verb.RESTART else None
        return self._give(Order(name, verb), loaded)

    def find_order(self, order_id: str) -> Order:
        return self._given.find(order_id)

    # Parts

    def _turn(self, now: float) -> None:
        """Obey signals and orders, and let every pipeline do the work that is due.

        Signals come first: an order to restart must not begin a pipeline after a stop.
        """
        self._obey_signals()
        self._obey_orders()
        for pipeline in self._pipelines.values():
            pipeline.tick(now)

    def _read_again(self, name: str) -> Loaded:
        path = self._files[name]
        try:
            loaded = self._options.reload(path)
        except ConfigError as error:
            what = f"nothing has changed for pipeline `{name}`: {error.what}"
            raise ConfigError(what, error.next_step) from error
        for document, spec in loaded:
            if spec.name == name:
                return document, spec
        raise _renamed(path, name, loaded[0][1].name)

    def _give(self, order: Order, loaded: Loaded | None) -> Order:
        self._given.note(order)
        self._orders.put((order, loaded))
        return order

    def _expect_hangups(self) -> None:
        """Install the handling of SIGHUP: stop in a terminal or with `--until-end`, else reload."""
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            return  # `nohup` started the daemon with SIGHUP ignored
        ends = self._options.run.until_end or os.isatty(0)
        signal.signal(signal.SIGHUP, self._on_signal if ends else self._on_hangup)

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._hangups += 1

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
            pipeline.stop(at_once=self._signals > 1)

    def _obey_orders(self) -> None:
        if self._hangups != self._reloads:
            self._reloads = self._hangups
            self._reload_all()
        given: list[tuple[Order, Loaded | None]] = []
        with suppress(Empty):
            while True:
                given.append(self._orders.get_nowait())
        for order, loaded in given:
            if order not in self._open:
                self._open.append(order)
            self._obey(order, loaded)

    def _obey(self, order: Order, loaded: Loaded | None) -> None:
        pipeline = self._pipelines[order.pipeline]
        if self._signals or self._ended:
            order.refuse("is being stopped, with its daemon")
        elif order.verb is Verb.PAUSE:
            pipeline.pause(order)
        elif order.verb is Verb.RESUME:
            pipeline.resume(order)
        elif pipeline.is_being_swapped:
            order.progress = "waiting for the restart that is under way"
            self._orders.put((order, loaded))
        elif loaded is not None:
            pipeline.restart(self._version(*loaded), order)

    def _tell_outcomes(self) -> None:
        """Wake the threads that wait for settled orders; the view shows the outcomes by now."""
        for order in self._open:
            if order.settled:
                order.tell()
        self._open = [order for order in self._open if not order.settled]

    def _reload_all(self) -> None:
        """Restart every pipeline from its file, and begin the pipelines of new files."""
        if self._signals:
            return
        self._log.info("reloading")
        try:
            loaded, wrong = self._options.reload_all()
        except OSError as failure:
            self._log.error("nothing is reloaded", error=str(failure))
            return
        names = {path: name for name, path in self._files.items()}
        for path, error in wrong.items():
            if path in names:
                self._pipelines[names[path]].refuse(error.problem)
            else:
                self._log.error("nothing is begun", code=error.code, error=error.what)
        for document, spec in loaded:
            try:
                self._take(document, spec, names.get(document.path))
            except KafkaEtlError as refusal:
                self._log.error("nothing is begun", code=refusal.code, error=refusal.what)
        for name, path in self._files.items():
            if not path.exists():
                said = "its file is gone, and it runs on until the daemon is stopped"
                self._log.warning(said, pipeline=name)

    def _take(self, document: Document, spec: PipelineSpec, runs_as: str | None) -> None:
        """Restart the pipeline of a file that was read again, or begin the pipeline of a new file.

        Args:
            document: The file as it was read.
            spec: The pipeline in the file.
            runs_as: Name of the pipeline that runs from this file; None: the file is new.

        Raises:
            ConfigError: Another file has a pipeline of the same name.
        """
        name, path = spec.name, document.path
        if runs_as not in {None, name}:
            self._pipelines[str(runs_as)].refuse(_renamed(path, str(runs_as), name).problem)
            return
        if name not in self._pipelines:
            pipeline = ManagedPipeline(self._version(document, spec))
            self._files[name], self._pipelines[name] = path, pipeline
            pipeline.begin()
            return
        known = self._files[name]
        if path != known and known.exists():
            raise ConfigError(f"{path} and {known} both have a pipeline `{name}`")
        self._files[name] = path
        self._give(Order(name, Verb.RESTART, keeps_pause=True), (document, spec))

    def _version(self, document: Document, spec: PipelineSpec) -> Version:
        return Version(document, spec, self._folder, self._options.run)

    def _is_over(self) -> bool:
        """Whether every pipeline has ended, no new version is on its way, and no order waits."""
        over = all(p.is_over and not p.begins_again for p in self._pipelines.values())
        return over and self._orders.empty()

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

        rates = {n: rates_of(before.get(n), status, seconds) for n, status in statuses.items()}
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


def rates_of(before: PipelineStatus | None, now: PipelineStatus, seconds: float) -> Rates:
    """Compute the rates between two statuses of a pipeline; 0 for a paused or ended pipeline."""
    if now.state in HELD | OVER:
        return Rates(0.0, 0.0)

    def rate(metric: str) -> float:
        counted = 0.0 if before is None else before.count(metric)
        return max(0.0, (now.count(metric) - counted) / seconds)

    return Rates(rate("records_in"), rate("records_out"))


def _renamed(path: Path, name: str, new_name: str) -> NameChanged:
    what = f"{path} calls its pipeline `{new_name}` now; it runs on as `{name}`, as it was"
    return NameChanged(what)
