"""The console blocks of a page, run as a reader runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit.daemon import free_port

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOOKS_AGAIN = re.compile(r"kafka-etl (tasks (list|show)|status|show|dlq show) ")
"""Commands that a reader gives again until they show what the page shows."""
_PATIENCE = 90


@dataclass
class Command:
    """A line after `$`, and the lines shown below it."""

    line: str
    expected: list[str] = field(default_factory=list)

    def missing(self, output: str) -> list[str]:
        """Expected lines that are not in the output; `...` stands for anything."""
        return [
            line
            for line in self.expected
            if not re.search(re.escape(line.rstrip()).replace(r"\.\.\.", ".*"), output)
        ]


def commands(text: str) -> list[Command]:
    """The commands of a page, in order."""
    found: list[Command] = []
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Command(line.removeprefix("$ ")))
            else:
                found[-1].expected.append(line)
    return found


class Console:
    """A shell in a folder: exported variables stay, and `kill %1` ends what runs with `&`.

    A daemon gets a port of its own for HTTP: several tests run beside each other.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        state = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
        self._env = {**os.environ, **state, **env, "PATH": path}
        self._exports: list[str] = []
        self._background: subprocess.Popen[bytes] | None = None
        self.log = folder / "daemon.log"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._background is not None and self._background.poll() is None:
            self._background.kill()
            self._background.wait()

    def play(self, listed: Iterable[Command], **before: Callable[[], None]) -> None:
        """Run commands, and check what they show.

        Args:
            listed: The commands.
            before: The first word of a line -> what is called before the line.
        """
        for step in listed:
            before.get(step.line.split()[0], _nothing)()
            if step.line.startswith("export "):
                self._exports.append(step.line)
            elif step.line.endswith(" &"):
                self._start(step.line.removesuffix(" &"))
            elif step.line == "kill %1":
                self._stop()
            else:
                self._run(step)

    def _run(self, step: Command) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            done = subprocess.run(
                ["bash", "-c", self._script(step.line)],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
            missing = step.missing(done.stdout)
            if done.returncode == 0 and not missing:
                return
            may_come = _LOOKS_AGAIN.match(step.line) and time.monotonic() < deadline
            daemon = self.log.read_text()[-3000:] if self.log.exists() else ""
            assert may_come, f"{step.line}\n{missing} is not in\n{done.stdout}\n{daemon}"
            time.sleep(0.3)

    def _start(self, line: str) -> None:
        script = self._script(f"exec {line} --http 127.0.0.1:{free_port()}")
        with self.log.open("wb") as log:
            self._background = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _stop(self) -> None:
        assert self._background is not None
        self._background.send_signal(signal.SIGTERM)
        assert self._background.wait(_PATIENCE) == 0, self.log.read_text()[-5000:]

    def _script(self, line: str) -> str:
        return "\n".join([*self._exports, line])


def _nothing() -> None:
    """Stands for a check where there is none."""
