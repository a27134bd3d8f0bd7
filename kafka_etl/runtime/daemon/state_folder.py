"""The daemon's folder: who it is, that it is alone, and its workers' recorders."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Final, TextIO

from kafka_etl.errors import ConfigError, InstanceInUse, StateFolderUnusable

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST: Final = 100
"""Runs at the same time under names made of one default name."""


def default_folder() -> Path:
    """`$XDG_STATE_HOME/kafka-etl`, or `~/.local/state/kafka-etl`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "kafka-etl"


class StateFolder:
    """A locked folder for one instance of the daemon.

    Args:
        base: Holds a folder for each instance.
        instance: Part of the id of every worker; default: a name made once and kept in `base`.
        or_next: Whether `NAME-2`, `NAME-3`, … will do where another daemon has the default name:
            for a run beside a daemon. Two runs never share a name, nor then their workers an id.

    Raises:
        StateFolderUnusable: It cannot be written.
        InstanceInUse: Another daemon holds it.
    """

    def __init__(self, base: Path, instance: str | None, *, or_next: bool = False) -> None:
        if instance is not None and not _NAME.fullmatch(instance):
            raise ConfigError(
                f"`{instance}` is no instance name",
                "Use letters, digits, `.`, `_` and `-`, at most 100.",
            )
        try:
            base.mkdir(parents=True, exist_ok=True)
            default = instance or _kept_name(base / "instance")
            lock = self._take(base, default)
            for number in range(2, _MOST if or_next and instance is None else 2):
                lock = lock or self._take(base, f"{default}-{number}")
        except OSError as error:
            raise StateFolderUnusable.by(error, f"{base} cannot be used") from error
        if lock is None:
            raise InstanceInUse(f"another daemon runs as instance {default} in {base}")
        self._lock = lock

    def _take(self, base: Path, instance: str) -> TextIO | None:
        """The lock of this instance's folder; None if another daemon holds it."""
        self.instance = instance
        self.path = base / instance
        self.path.mkdir(exist_ok=True)
        lock = (self.path / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        except OSError as error:
            lock.close()
            raise StateFolderUnusable.by(error, f"{base} cannot be locked") from error
        return lock

    def recorder(self, pipeline: str, worker: int) -> Path:
        return self.path / f"{pipeline}.{worker}.recorder"

    def close(self) -> None:
        self._lock.close()


def _kept_name(path: Path) -> str:
    """A name for this folder's daemon, made at its first start."""
    if path.exists():
        kept = path.read_bytes().decode(errors="replace").strip()
        if not _NAME.fullmatch(kept):
            raise StateFolderUnusable(
                f"{path} should hold this daemon's instance name, and does not",
                "Write the name into it, or delete it to start under a new one.",
            )
        return kept
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:50] or "host"
    name = f"{host}-{secrets.token_hex(3)}"
    # A full disk must not leave half a name, nor two first starts take each other's file.
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(name + "\n")
    unfinished.rename(path)
    return name
