"""Runs a Dockerfile in a folder: exactly the instructions ours uses, and no container.

The folder `root` stands for `/`, and a virtual environment for the Python of the base image. So a
wrong path or a wrong command fails here as it would in a build.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import string
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ABSOLUTE = re.compile(r"(?<![\w.:/])/(?=\w)")

USERADD = """#!/bin/sh
# Stands in for the one command that would change this machine.
while [ $# -gt 0 ]; do [ "$1" = --home-dir ] && mkdir -p "$2"; shift; done
"""


class Build:
    """The state of a build, and in the end the image.

    Attributes:
        root: What is `/` to the stage under way.
        env: What a process in the container would see.
    """

    def __init__(self, dockerfile: Path, context: Path, folder: Path) -> None:
        self.root = folder / "root"
        self.env: dict[str, str] = {}
        self.workdir = Path()
        self.user = "root"
        self.stop_signal = ""
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.health_check: list[str] = []
        self._folder = folder
        self._context = folder / "context"
        self._stage = ""
        _copy_admitted(context, self._context, dockerfile.with_name("Dockerfile.dockerignore"))
        for instruction, rest in instructions(dockerfile.read_text()):
            getattr(self, f"_do_{instruction.lower()}")(rest)

    def here(self, text: str) -> str:
        """The text with its absolute paths below `root`."""
        return ABSOLUTE.sub(f"{self.root}/", text)

    def _do_from(self, rest: str) -> None:
        if self.root.exists():
            self.root.rename(self._folder / self._stage)
        image, _, self._stage = rest.partition(" AS ")
        assert re.fullmatch(r"python:3\.\d+-slim", image)
        base = self._folder / "base"
        subprocess.run([sys.executable, "-m", "venv", "--clear", base], check=True)
        (base / "bin/useradd").write_text(USERADD)
        (base / "bin/useradd").chmod(0o755)
        self.root.mkdir()
        self.env = _clean_environment() | {"PATH": f"{base}/bin:/usr/bin:/bin"}
        self._do_workdir("/")

    def _do_workdir(self, rest: str) -> None:
        self.workdir = self.root / rest.lstrip("/")
        self.workdir.mkdir(parents=True, exist_ok=True)

    def _do_run(self, rest: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", self.here(rest)],
            cwd=self.workdir,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}{done.stderr}"

    def _do_copy(self, rest: str) -> None:
        *sources, target = rest.split()
        origin = self._context
        if sources[0].startswith("--from="):
            origin = self._folder / sources.pop(0).removeprefix("--from=")
        into = self.workdir / self.here(target)
        for source in (origin / name.lstrip("/") for name in sources):
            if source.is_dir():
                shutil.copytree(source, into, symlinks=True, dirs_exist_ok=True)
            else:
                assert target.endswith("/"), "a file is copied into a folder"
                into.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, into)

    def _do_env(self, rest: str) -> None:
        for pair in rest.split():
            name, _, value = pair.partition("=")
            self.env[name] = string.Template(self.here(value)).substitute(self.env)

    def _do_user(self, rest: str) -> None:
        self.user = rest

    def _do_stopsignal(self, rest: str) -> None:
        self.stop_signal = rest

    def _do_entrypoint(self, rest: str) -> None:
        self.entrypoint = json.loads(rest)

    def _do_cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def _do_healthcheck(self, rest: str) -> None:
        self.health_check = json.loads(rest.partition(" CMD ")[2])

    def _do_volume(self, rest: str) -> None:
        assert Path(self.here(rest)).is_dir(), "a volume takes its owner from the image's folder"

    def _do_expose(self, rest: str) -> None:
        assert rest.isdigit()


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, the rest of it), continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = (line.split(" ", 1) for line in whole.splitlines() if line)
    return [(instruction, rest) for instruction, rest in pairs]


def _copy_admitted(context: Path, target: Path, ignore_file: Path) -> None:
    """The build context: what the ignore file admits by name, everything else being ignored."""
    everything, *rules = ignore_file.read_text().split()
    assert everything == "*"
    target.mkdir()
    for name in (rule[1:] for rule in rules if rule.startswith("!")):
        source = context / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


def _clean_environment() -> Mapping[str, str]:
    """This process's, without what belongs to its own Python."""
    own = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in own}
