"""What an operator may ask and tell while it is called: the `Context`."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import mkdtemp

from kafka_etl.errors import ProgramFailed, Stopped
from kafka_etl.functions.programs import run_program


class StopSign:
    """Whether the attempt has been told to stop; used like a `threading.Event`.

    A signal handler may set the sign at any time, also while the same thread waits for the sign:
    the lock of a `threading.Event` would not allow that.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def __bool__(self) -> bool:
        return self._is_set

    def is_set(self) -> bool:
        """Whether the attempt has been told to stop."""
        return self._is_set

    def set(self) -> None:
        """Tell the attempt to stop."""
        self._is_set = True
        self._wakes.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the sign is set, or for so many seconds; return whether the sign is set."""
        with suppress(Empty):
            if not self._is_set:
                self._wakes.get(timeout=timeout)
                self._wakes.put(None)  # for other threads that wait
        return self._is_set


def _tell_nobody(_fraction: float, _text: str) -> None:
    """Stands for the listener to progress where there is none."""


@dataclass(slots=True)
class Context:
    """Facts about an invocation, passed to a parameter that is annotated with `Context`.

    In a pipeline with `mode: task` the context is about one attempt at one task. In other pipelines
    the operator works likewise: nobody listens to its progress, and nobody stops it.

    Attributes:
        pipeline: The pipeline's name.
        operator: The operator's name in the pipeline.
        worker: `<app>.<pipeline>.<instance>.<worker>`.
        attempt: Number of the current attempt, from 1.
        task: Id of the task; empty: the pipeline has no tasks.
        generation: How often the task was begun by hand or anew, from 1.
        deadline: When the attempt is ended, in seconds since the epoch; None: never.
        stopped: Whether the attempt has been told to stop: `stopped.is_set()`, and
            `stopped.wait(SECONDS)`, which ends early.
        listener: Hears of progress; set by the framework.
        scratch: Where `folder` is made; set by the framework.
    """

    pipeline: str = ""
    operator: str = ""
    worker: str = ""
    attempt: int = 1
    task: str = ""
    generation: int = 1
    deadline: float | None = None
    stopped: StopSign = field(default_factory=StopSign, repr=False, compare=False)
    listener: Callable[[float, str], None] = field(default=_tell_nobody, repr=False, compare=False)
    scratch: Path | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[type[Context], tuple[object, ...]]:
        """For other processes: in them, nobody listens to the context, and nobody stops it."""
        facts = (self.pipeline, self.operator, self.worker, self.attempt)
        return Context, (*facts, self.task, self.generation, self.deadline)

    def check(self) -> None:
        """Raise `Stopped` if the attempt has been told to stop."""
        if self.stopped.is_set():
            raise Stopped

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the attempt is; cheap, and may be called as often as one likes.

        Args:
            fraction: From 0 to 1.
            text: What is being done, in a few words.
        """
        self.listener(fraction, text)

    @property
    def log(self) -> logging.Logger:
        """A logger of Python's own, for what people should find with the task later.

        In a pipeline with `mode: task` what it is told is in the log of the attempt, beside prints;
        in other pipelines, in the log of the process.
        """
        # Not at the top: `--help` must not wait for it.
        from kafka_etl.log import OPERATORS_LOG  # noqa: PLC0415

        return logging.getLogger(OPERATORS_LOG)

    @property
    def folder(self) -> Path:
        """An empty folder for the attempt's files, made when first asked for, and removed later.

        A task's folder is removed at the end of the attempt; the folder of another pipeline's
        operator, when the process ends in good order.
        """
        if self.scratch is None:
            self.scratch = Path(mkdtemp(prefix="kafka-etl-"))
            atexit.register(shutil.rmtree, self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True, exist_ok=True)
        return self.scratch

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        capture: bool = False,
        on_line: Callable[[str], None] | None = None,
    ) -> bytes:
        """Run an external program to its end; a stop of the attempt reaches the program as well.

        What the program writes is passed on; standard output that is captured, or that `on_line`
        gets, is not.

        Args:
            command: The program and its arguments; no shell is involved.
            folder: Working directory; None: that of the process.
            environment: Variables beside those of the process.
            capture: Whether to return the program's standard output.
            on_line: Is called with each line of the program's standard output as it comes, for
                example to find out about the progress; an error that `on_line` raises ends the
                program.

        Raises:
            Stopped: The program was ended because the attempt has been told to stop.
            ProgramFailed: The program's exit status is not 0; the error has the last 4 KiB of the
                program's standard error.
            OSError: The program cannot be started.
        """
        self.check()
        try:
            return run_program(
                command, folder=folder, environment=environment, capture=capture, on_line=on_line
            )
        except ProgramFailed:
            self.check()
            raise
