"""`kafka-etl dlq replay` in the background, to be killed or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Self

from kafka_etl.dead_letters.statuses import Statuses, status_topic
from kafka_etl.kafka.cluster.topics import read
from tests.kit.daemon import COMMAND
from tests.kit.pipeline import Project


class Replaying:
    """A replay in a session of its own."""

    def __init__(
        self, made: Project, *arguments: str, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = made.folder / f"replay-{time.time_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "dlq", "replay", str(made.file), *arguments],
                cwd=made.folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.members():
            os.kill(pid, signal.SIGKILL)
        self._process.wait(20)

    def said(self) -> str:
        return self._log.read_text()

    def until(self, what: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert self._process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)

    def signal(self, sign: signal.Signals, *, group: bool = True) -> None:
        """Send a signal to all its processes, as a terminal does, or to the command alone."""
        if self._process.poll() is None:
            (os.killpg if group else os.kill)(self._process.pid, sign)

    def wait(self) -> int:
        return self._process.wait(30)

    def members(self) -> list[int]:
        """Process ids of its session."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "-s", str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return [int(pid) for pid in listed.split()]


def action_of(made: Project) -> str:
    """Id of the only action on the letters."""
    found = Statuses()
    found.take_in(read({"log_level": 0, **made.kafka.client}, status_topic(made.letters)))
    (action,) = found.actions
    return action
