"""Control groups (cgroup v2) of runners, where the system has delegated a folder to us.

The kernel itself keeps the memory limit of a group, and kills a group as a whole.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from kafka_etl.tasks.limits import Limits, Usage

FOLDER: Final = "KAFKA_ETL_CGROUP"
"""Environment variable with the folder of a group that has no processes, and may have groups."""
_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_V2: Final = "0::"
_DELEGATED: Final = ("user.delegate", "trusted.delegate")
"""Attributes by which systemd marks what it has delegated."""


class ControlGroup:
    """The group of one runner, and of all that it starts.

    Attributes:
        limits: The limits of the group.

    Raises:
        OSError: The group cannot be made.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        folder.mkdir()
        self.limits: Final = limits
        self._folder = folder
        try:
            if limits.memory is not None:
                self._write("memory.max", str(limits.memory))
                self._write("memory.oom.group", "1")
                with suppress(OSError):  # there is no such file without swap
                    self._write("memory.swap.max", "0")
        except OSError:
            self.remove()
            raise

    def add(self, pid: int) -> None:
        """Put a process into the group, with all that it starts from now on.

        Raises:
            OSError: The process is gone, or may not be moved.
        """
        self._write("cgroup.procs", str(pid))

    def usage(self) -> Usage:
        """What the processes of the group use, and what those have used that are gone."""
        cpu = self._numbers("cpu.stat").get("usage_usec", 0) / 1e6
        try:
            memory = int((self._folder / "memory.current").read_text())
        except (OSError, ValueError):
            memory = 0
        return Usage(memory, cpu)

    @property
    def was_out_of_memory(self) -> bool:
        """Whether the kernel has killed processes of the group for its memory limit."""
        return self._numbers("memory.events").get("oom_kill", 0) > 0

    def kill(self) -> None:
        """Kill all processes of the group."""
        with suppress(OSError):
            self._write("cgroup.kill", "1")

    def remove(self) -> None:
        """Remove the group, whose processes are gone."""
        with suppress(OSError):
            self._folder.rmdir()

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)

    def _numbers(self, name: str) -> dict[str, int]:
        with suppress(OSError, ValueError):
            lines = (self._folder / name).read_text().splitlines()
            return {key: int(value) for key, value in (line.split() for line in lines)}
        return {}


class ControlGroups:
    """Makes the groups of runners in a folder that was delegated.

    Args:
        folder: The folder, of a group without processes of its own.
        limits: The limits of each group.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits

    @classmethod
    def delegated(cls, limits: Limits) -> ControlGroups | None:
        """The groups of this process; None: the system has delegated nothing to us."""
        named = os.environ.get(FOLDER)
        folder = Path(named) if named else _delegated_to_us(_OWN, _ROOT)
        if folder is None or not takes_controllers(folder):
            return None
        return cls(folder, limits)

    def make(self, name: str) -> ControlGroup:
        """Make a group.

        Raises:
            OSError: The group cannot be made.
        """
        return ControlGroup(self._folder / name, self._limits)


def takes_controllers(folder: Path) -> bool:
    """Have the groups in a folder limit memory; return whether they do."""
    try:
        if "memory" not in (folder / "cgroup.controllers").read_text().split():
            return False
        (folder / "cgroup.subtree_control").write_text("+memory")
        return os.access(folder, os.W_OK)
    except OSError:
        return False


def _delegated_to_us(own: Path, root: Path) -> Path | None:
    """The group above our own, if systemd has delegated that (`Delegate`, `DelegateSubgroup`)."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    path = next((line[len(_V2) :] for line in lines if line.startswith(_V2)), "/")
    if path == "/":
        return None
    above = (root / path.lstrip("/")).parent
    return above if any(_has_attribute(above, name) for name in _DELEGATED) else None


def _has_attribute(folder: Path, name: str) -> bool:
    try:
        return os.getxattr(folder, name) == b"1"
    except (OSError, AttributeError):  # not on Linux
        return False
