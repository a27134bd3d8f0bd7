"""The examination of pipeline files in a process of its own, since it imports code of users.

A module that ends the process when it is imported, or that keeps it waiting, becomes a finding: the
examination is made again without that import. `kafka_etl.runtime.examiner` is the process.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, Final

from kafka_etl.errors import WorkerUnstable
from kafka_etl.runtime.child import OperatorChild, describe_exit

if TYPE_CHECKING:  # imported when findings arrive: the process must not start later for it
    from kafka_etl.config.report import Finding

TELL_PLACE: Final = signal.SIGUSR1
"""The signal upon which the process writes where it is into the file of `ExaminationTask.trace`."""
PATIENCE: Final = 30.0
"""Seconds that one step may take, unless the user says otherwise."""
_MODULE: Final = "kafka_etl.runtime.examiner"
_STARTED_WITHIN: Final = 60.0
_TOLD_WITHIN: Final = 0.5
_SERVERS_WITHIN: Final = 90.0
"""Seconds that a step takes at least where servers are asked: a client waits 30 s for an answer."""
_FRAME: Final = re.compile(r'^  File "([^"]+)", line (\d+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ExaminationTask:
    """What is to be examined.

    Attributes:
        paths: Pipeline files, and folders of them.
        overrides: Place in the files -> YAML text of the value.
        imports: Whether operators are imported.
        connects: Whether the servers of pipelines are looked at.
        deadly: Subject of a `Begun` -> what became of the process during that step.
        trace: Descriptor of a file in which the process notes where it was when it died.
    """

    paths: tuple[Path, ...]
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    imports: bool = True
    connects: bool = False
    deadly: Mapping[str, str] = field(default_factory=dict[str, str])
    trace: int = 2


@dataclass(frozen=True, slots=True)
class Begun:
    """Sent before each step that runs code of others.

    Attributes:
        subject: What the step is about: the same in each examination of the same files.
    """

    subject: str


@dataclass(frozen=True, slots=True)
class Examined:
    """The result of an examination.

    Attributes:
        findings: All problems.
        lines: Lines for people about pipelines without a problem.
        left_out: Lines about what was not checked.
    """

    findings: list[Finding]
    lines: list[str]
    left_out: list[str]


def examined(task: ExaminationTask, patience: float = PATIENCE) -> Examined:
    """Examine pipeline files; without what ends the process, or keeps it waiting.

    Args:
        task: What is to be examined.
        patience: Seconds that one step may take.

    Raises:
        WorkerUnstable: The process dies before its first step.
    """
    while True:
        begun, answer = _one_run(task, patience)
        if isinstance(answer, Examined):
            return answer
        if begun is None or begun.subject in task.deadly:
            raise WorkerUnstable(
                f"the process that checks pipeline files {answer}",
                "See what stands above; if nothing does, report this.",
            )
        task = replace(task, deadly={**task.deadly, begun.subject: answer})


def _one_run(task: ExaminationTask, patience: float) -> tuple[Begun | None, Examined | str]:
    """The last step of a process, and its result, or what became of the process."""
    begun: Begun | None = None
    with tempfile.TemporaryFile("w+") as trace:
        child = OperatorChild(_MODULE, trace.fileno())
        try:
            child.send(replace(task, trace=trace.fileno()))
            limit = max(patience, _SERVERS_WITHIN) if task.connects else patience
            while child.connection.poll(limit if begun else _STARTED_WITHIN):
                said: Begun | Examined = child.connection.recv()
                if isinstance(said, Examined):
                    return begun, said
                begun = said
            from kafka_etl.units import show_duration  # noqa: PLC0415 - likewise

            place = _place_of(child, trace)
            within = show_duration(limit if begun else _STARTED_WITHIN)
            return begun, f"did not end within {within}{place}"
        except (EOFError, OSError):
            status = _exit_status(child)
            how = (
                "was stopped" if status is None else f"ended the process ({describe_exit(status)})"
            )
            return begun, f"{how}{_place_in(trace)}"
        finally:
            child.end()
            child.close()


def _exit_status(child: OperatorChild) -> int | None:
    """The status of a process that has hung up; None: it lives on."""
    deadline = monotonic() + _TOLD_WITHIN
    while child.exit_status() is None and monotonic() < deadline:
        sleep(0.01)
    return child.exit_status()


def _place_of(child: OperatorChild, trace: IO[str]) -> str:
    """Where the process is now."""
    with suppress(ProcessLookupError):
        os.kill(child.pid, TELL_PLACE)
    deadline = monotonic() + _TOLD_WITHIN
    while not (place := _place_in(trace)) and monotonic() < deadline:
        sleep(0.02)
    return place


def _place_in(trace: IO[str]) -> str:
    """The innermost place in code of the user that a trace names: `, at FILE, line N`."""
    from kafka_etl.envelope import is_users  # noqa: PLC0415 - likewise

    trace.seek(0)
    for file, line in _FRAME.findall(trace.read()):
        if file.endswith(".py") and is_users(file):
            return f", at {file}, line {line}"
    return ""
