"""Running the command line as a user does, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from kafka_etl.broker.ports import free_ports

COMMAND = [sys.executable, "-P", "-m", "kafka_etl"]


class Daemon:
    """`kafka-etl run` in the background."""

    def __init__(self, folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder / f"daemon-{time.time_ns()}.log"
        self.http = f"127.0.0.1:{free_port()}"
        self.stdout = folder / "stdout"
        with self.log.open("wb") as log, self.stdout.open("ab") as out:
            self.process = subprocess.Popen(
                [
                    *COMMAND,
                    "run",
                    *arguments,
                    *("--http", self.http),
                    *("--state-dir", str(folder / "state")),
                ],
                cwd=folder,
                env={**os.environ, **(env or {})},
                stdout=out,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def said(self) -> str:
        return self.log.read_text()

    def wait(self, seconds: float = 60) -> int:
        """Wait for it to end by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(self.said()[-5000:]) from None

    def stop(self, seconds: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=5) as answer:
            body = answer.read()
        return json.loads(body) if path != "/metrics" else body.decode()

    def post(self, path: str) -> Any:
        request = urllib.request.Request(f"http://{self.http}{path}", method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())

    def pipeline(self) -> dict[str, Any]:
        return self.get("/pipelines")["pipelines"][0]

    def until(self, what: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """Wait until the pipeline's status is as wanted."""
        deadline = time.monotonic() + seconds
        last: dict[str, Any] = {}
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended: {self.said()[-5000:]}")
            try:
                last = self.pipeline()
            except OSError:
                time.sleep(0.1)
                continue
            if what(last):
                return last
            time.sleep(0.1)
        raise TimeoutError(f"{last}\n{self.said()[-5000:]}")

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return [
            int(line.split()[0])
            for line in listed.splitlines()
            if "kafka_etl.runtime.worker.main" in line
        ]


def run_to_end(folder: Path, *arguments: str, seconds: float = 90) -> Daemon:
    """`kafka-etl run ... --until-end`, to its end."""
    daemon = Daemon(folder, *arguments, "--until-end")
    with daemon:
        daemon.wait(seconds)
    return daemon


def command(*arguments: str, cwd: Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Any command, to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def free_port() -> int:
    return free_ports(1)[0]
