"""The daemon's folder: who it is, that it is alone, and its workers' recorders."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from pathlib import Path
from typing import Final

from kafka_etl.errors import ConfigError, InstanceInUse, StateFolderUnusable

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def default_folder() -> Path:
    """`$XDG_STATE_HOME/kafka-etl`, or `~/.local/state/kafka-etl`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "kafka-etl"


class StateFolder:
    """A locked folder for one instance of the daemon.

    Args:
        base: Holds a folder for each instance.
        instance: Part of the id of every worker; default: a name made once and kept in `base`.

    Raises:
        StateFolderUnusable: It cannot be written.
        InstanceInUse: Another daemon holds it.
    """

    def __init__(self, base: Path, instance: str | None) -> None:
        if instance is not None and not _NAME.fullmatch(instance):
            raise ConfigError(
                f"`{instance}` is no instance name",
                "Use letters, digits, `.`, `_` and `-`, at most 100.",
            )
        try:
            base.mkdir(parents=True, exist_ok=True)
            self.instance = instance or _kept_name(base / "instance")
            self.path = base / self.instance
            self.path.mkdir(exist_ok=True)
            self._lock = (self.path / "lock").open("a")
        except OSError as error:
            raise StateFolderUnusable(f"{base} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            if isinstance(error, BlockingIOError):
                what = f"another daemon runs as instance {self.instance} in {base}"
                raise InstanceInUse(what) from error
            raise StateFolderUnusable(f"{base} cannot be locked: {error.strerror}") from error

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
    unfinished = path.with_suffix(".new")  # a full disk must not leave half a name
    unfinished.write_text(name + "\n")
    unfinished.rename(path)
    return name
