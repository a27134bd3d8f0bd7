"""Access to a Maven repository; only this module imports jgo, a Maven client in Python.

The module uses only the Maven layer of jgo, because jgo's environments would download a second
Java. The cache of jgo accepts any file of the right name, so the caller has to check the files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kafka_etl.errors import ExtraMissing

MAVEN_CENTRAL: Final = "https://repo.maven.apache.org/maven2"
_TIMEOUT_S: Final = 15


class Repository:
    """A Maven repository whose files are downloaded into a folder.

    Args:
        url: Root URL of the repository.
        folder: Folder of the files, in Maven's own layout; an existing file is not downloaded.
        on_bytes: Called with a file's name and the number of new bytes; an exception stops the
            download.

    Raises:
        ExtraMissing: The package `jgo` is not installed.
    """

    def __init__(self, url: str, folder: Path, on_bytes: Callable[[str, int], None]) -> None:
        try:
            from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - an extra
        except ImportError:
            raise ExtraMissing(
                "fetching Kafka needs the package jgo, which is not installed",
                "pip install 'kafka-etl[broker]'",
            ) from None
        logging.getLogger("jgo").addHandler(logging.NullHandler())  # jgo also raises its errors

        @contextmanager
        def progress(name: str, _total: int) -> Generator[Callable[[int], None]]:
            yield lambda received: on_bytes(name, received)

        self._context = MavenContext(
            resolver=PythonResolver(progress_callback=progress),
            repo_cache=folder,
            remote_repos={"repository": url},
            timeout=_TIMEOUT_S,
        )

    def fetch(self, coordinate: str) -> Path:
        """The path of `group:artifact:version`, which is downloaded unless the file exists."""
        return self._context.create_dependency(coordinate).artifact.resolve()

    def closure(self, *coordinates: str) -> list[str]:
        """The given coordinates and the coordinates of all their run-time dependencies."""
        wanted = [self._context.create_dependency(coordinate) for coordinate in coordinates]
        inputs, needed = self._context.resolver.resolve(wanted)
        return [f"{d.groupId}:{d.artifactId}:{d.version}" for d in (*inputs, *needed)]
