"""`kafka-etl demo --tasks`: five long tasks on a real Kafka; one is stopped, the others succeed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer

from kafka_etl.cli.options import program

_FILMS: Final = {"a.mov": 6, "b.mov": 6, "wrong.mov": 3600, "c.mov": 6, "d.mov": 6}
"""Film -> how long its task takes, in seconds."""
_LONG: Final = "wrong.mov"
_PATIENCE: Final = 120.0
_LOOK_EVERY: Final = 0.3
_STOPS_WITHIN: Final = 30.0
_PIPELINE: Final = [sys.executable, "-P", "-m", "kafka_etl"]


class TaskDemo:
    """Commands that are shown as a user types them, with what they print.

    Args:
        file: The pipeline file.
        env: Variables of the commands, beside those of the process.
    """

    def __init__(self, file: Path, env: Mapping[str, str]) -> None:
        self._file = str(file)
        self._env = {**os.environ, **env}

    def tell(self) -> None:
        """Go through the life of five tasks.

        Raises:
            typer.Exit: A command has failed.
        """
        self._until()  # the pipeline makes its topics when it begins
        for film, seconds in _FILMS.items():
            task = json.dumps({"film": film, "seconds": seconds})
            self._run("tasks", "submit", self._file, "--id", film, "-d", task)
        self._until("--where", f"id == '{_LONG}' and progress > 0")
        self._run("tasks", "list", self._file)
        self._run("tasks", "stop", self._file, _LONG, "--reason", "the wrong film")
        others = [film for film in _FILMS if film != _LONG]
        self._run("tasks", "wait", self._file, *others, "--timeout", "2m")
        self._until("--state", "stopped")
        self._run("tasks", "list", self._file)
        self._run("tasks", "show", self._file, _LONG)
        self._run("show", "films.ready")
        self._run("dlq", "show", self._file)

    def _run(self, *arguments: str) -> None:
        typer.echo(f"\n$ {program()} {shlex.join(arguments)}")
        done = self._call(*arguments)
        if done.returncode:
            raise typer.Exit(done.returncode)

    def _until(self, *which: str) -> None:
        """Wait until `tasks list` has such a task; without a filter, until it can be asked."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            arguments = ("tasks", "list", self._file, *which, "--format", "json")
            done = self._call(*arguments, quiet=True)
            if done.returncode == 0 and (done.stdout or not which):
                return
            if time.monotonic() > deadline:
                typer.echo(f"{shlex.join(arguments)} has taken too long\n{done.stderr}", err=True)
                raise typer.Exit(1)
            time.sleep(_LOOK_EVERY)

    def _call(self, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own program
            [*_PIPELINE, *arguments], env=self._env, capture_output=quiet, text=True, check=False
        )


def show_tasks(folder: Path, bootstrap: str) -> None:
    """Run a pipeline of tasks, and the commands that users have for tasks.

    Args:
        folder: Has the files of the demo.
        bootstrap: The Kafka, whose topics are made here.

    Raises:
        typer.Exit: A command has failed.
    """
    from kafka_etl.kafka.cluster import topics

    topics.create_topic({"bootstrap.servers": bootstrap}, "uploads", 1)
    file = folder / "films.yaml"
    with tempfile.TemporaryDirectory() as private:
        env = {"KAFKA": bootstrap, "KAFKA_ETL_CACHE": private}
        typer.echo(f"\n$ {program()} run {file} &")
        with _daemon(file, env, private):
            TaskDemo(file, env).tell()


@contextmanager
def _daemon(file: Path, env: Mapping[str, str], state: str) -> Generator[None]:
    running = subprocess.Popen(  # noqa: S603 - our own program
        [
            *(*_PIPELINE, "run", str(file)),
            *("--http", "off", "--state-dir", state, "--log-level", "error"),
        ],
        env={**os.environ, **env},
    )
    try:
        yield
    finally:
        running.terminate()
        try:
            running.wait(_STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
