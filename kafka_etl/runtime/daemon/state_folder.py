"""The daemon's state folder: the instance's name, a lock, and the workers' flight recorders."""

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
"""The highest number that is appended to a default name, plus one."""


def default_folder() -> Path:
    """Return `$XDG_STATE_HOME/kafka-etl`, or `~/.local/state/kafka-etl`."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "kafka-etl"


class StateFolder:
    """The folder of one instance of the daemon, locked while the daemon runs.

    Args:
        base: Folder that holds a folder for each instance.
        instance: Name of the instance, a part of every worker's member id; None: the default name,
            made at the first start and kept in `base`.
        or_next: Whether to take `NAME-2`, `NAME-3`, … if another daemon has the default name, as a
            run beside a daemon does. Two running daemons never share a name, so their workers never
            share a member id.

    Attributes:
        instance: Name of the instance.
        path: Folder of the instance.

    Raises:
        ConfigError: The instance's name is not valid.
        StateFolderUnusable: The folder cannot be written or locked.
        InstanceInUse: Another daemon holds the instance's lock.
    """

    def __init__(self, base: Path, instance: str | None, *, or_next: bool = False) -> None:
        if instance is not None and not _NAME.fullmatch(instance):
            raise ConfigError(
                f"`{instance}` is no instance name",
                "Use letters, digits, `.`, `_` and `-`, at most 100.",
            )
        try:
            base.mkdir(parents=True, exist_ok=True)
            default = instance or _kept_name(base)
            lock = self._take(base, default)
            for number in range(2, _MOST if or_next and instance is None else 2):
                lock = lock or self._take(base, f"{default}-{number}")
        except OSError as error:
            raise StateFolderUnusable.by(error, f"{base} cannot be used") from error
        if lock is None:
            raise InstanceInUse(f"another daemon runs as instance {default} in {base}")
        self._lock = lock

    def _take(self, base: Path, instance: str) -> TextIO | None:
        """Lock the folder of an instance; None: another daemon holds the lock."""
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


def is_running(base: Path, instance: str) -> bool:
    """Whether a daemon of this host runs as the instance; False also where that is not known."""
    try:
        with (base / instance / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def kept_instance(base: Path) -> str | None:
    """Return the default name of an instance that has started before; None: none has.

    Raises:
        StateFolderUnusable: The file with the name holds something else.
    """
    path = base / "instance"
    if not path.exists():
        return None
    kept = path.read_bytes().decode(errors="replace").strip()
    if not _NAME.fullmatch(kept):
        raise StateFolderUnusable(
            f"{path} should hold this daemon's instance name, and does not",
            "Write the name into it, or delete it to start under a new one.",
        )
    return kept


def _kept_name(base: Path) -> str:
    """Return the default name of the instance, made at the first start and kept in a file."""
    kept = kept_instance(base)
    if kept is not None:
        return kept
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:50] or "host"
    name = f"{host}-{secrets.token_hex(3)}"
    path = base / "instance"
    # The rename keeps a full disk from leaving half a name; the pid keeps two first starts apart.
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(name + "\n")
    unfinished.rename(path)
    return name
