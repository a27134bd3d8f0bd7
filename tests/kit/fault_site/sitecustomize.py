"""Faults in an owner of tasks: on the path of a daemon's processes, see `tests.kit.task_faults`.

The interpreter imports this module at its start. Only workers with `TASK_FAULTS` in their
environment do something: they look into that folder before each commit of an owner.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


class Strike:
    """A failpoint that befalls one commit."""

    def __init__(self, folder: Path, action: str) -> None:
        self._folder = folder
        self._action = action
        self._is_over = False

    def hit(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        time.sleep(0.5)  # what is queued arrives
        struck = self._folder / "struck.new"
        struck.write_text(str(os.getpid()))
        struck.rename(self._folder / "struck")
        match self._action:
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case _:
                while (self._folder / "struck").exists():
                    time.sleep(0.02)


def install(folder: Path) -> None:
    """Wrap the commits and the merges of the owner."""
    from kafka_etl import failpoints  # noqa: PLC0415 - other processes must not pay for it
    from kafka_etl.engine.tasks.owner import OwnerSink  # noqa: PLC0415
    from kafka_etl.kafka.tasks.log import KafkaTaskLog  # noqa: PLC0415

    plain_commit, plain_merge, plain_standing = (
        KafkaTaskLog.commit,
        OwnerSink._merge,
        OwnerSink.standing,
    )
    plain_journal = KafkaTaskLog.journal
    passed = [0]

    def commit(self: Any, entry: Any, offsets: Any, lease: Any) -> Any:
        order = folder / "order"
        if order.exists():
            wanted = json.loads(order.read_text())
            passed[0] += states_of(entry) == wanted["states"]
            if passed[0] == wanted["nth"]:
                passed[0] = 0
                order.unlink()
                failpoints._ARMED[wanted["place"]] = Strike(folder, wanted["action"])  # type: ignore[assignment]
        return plain_commit(self, entry, offsets, lease)

    def merge(self: Any, *arguments: Any) -> None:
        plain_merge(self, *arguments)
        remember(self)

    def standing(self: Any, arrivals: Any) -> Any:
        found = plain_standing(self, arrivals)
        remember(self)
        return found

    def remember(sink: Any) -> None:
        heads = {
            task: head.state
            for book in sink._books.values()
            for task in tasks_of(book)
            if (head := book.head(task)) is not None
        }
        fresh = folder / "memory.new"
        fresh.write_text(json.dumps(heads))
        fresh.rename(folder / "memory")

    def journal(self: Any, *arguments: Any) -> Any:
        slow = folder / "slow"
        if slow.exists():
            until = time.monotonic() + float(slow.read_text())
            while time.monotonic() < until:
                self._deployment.pulse("a slow restore")
                time.sleep(0.5)
        return plain_journal(self, *arguments)

    KafkaTaskLog.commit = commit  # type: ignore[method-assign]
    KafkaTaskLog.journal = journal  # type: ignore[method-assign]
    OwnerSink._merge = merge  # type: ignore[method-assign]
    OwnerSink.standing = standing  # type: ignore[method-assign]


def tasks_of(book: Any) -> set[str]:
    """The tasks of a book, the final ones in its archive among them."""
    archived = book._archive._base.execute("SELECT task FROM heads")
    return {*book._open, *book._recent, *(task for (task,) in archived)}


def states_of(entry: Any) -> list[str]:
    """The states of the heads that a commit writes."""
    return sorted(
        json.loads(value)["state"]
        for _, key, value in entry.journal
        if key[:1] == b"t" and value is not None
    )


def set_clock(seconds: float) -> None:
    """Let the host's clock be wrong, in all of a daemon's processes."""
    true, true_ns = time.time, time.time_ns
    time.time = lambda: true() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)


set_clock(float(os.environ.get("CLOCK_AHEAD", "0")))
if "TASK_FAULTS" in os.environ and "kafka_etl.runtime.worker.main" in sys.orig_argv:
    install(Path(os.environ["TASK_FAULTS"]))
