"""The one place that speaks to jgo, a Maven client in Python: coordinates in, files out.

Only its Maven layer is used. Its environments would fetch a second Java to look into the jars,
and its cache takes any file of the right name for the jar: checking is up to the caller.
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
    """A Maven repository, whose files are put under `folder`.

    Args:
        url: Its root.
        folder: Where files go, in Maven's own layout; a file already there is not fetched again.
        on_bytes: Called with a file's name and the bytes just received; may raise to stop.
    """

    def __init__(self, url: str, folder: Path, on_bytes: Callable[[str, int], None]) -> None:
        try:
            from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - an extra
        except ImportError:
            raise ExtraMissing(
                "fetching Kafka needs the package jgo, which is not installed",
                "pip install 'kafka-etl[broker]'",
            ) from None
        logging.getLogger("jgo").addHandler(logging.NullHandler())  # errors reach us as exceptions

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
        """The file of `group:artifact:version`, downloaded unless it is in the folder."""
        return self._context.create_dependency(coordinate).artifact.resolve()

    def closure(self, *coordinates: str) -> list[str]:
        """The coordinates with everything they need at run time."""
        wanted = [self._context.create_dependency(coordinate) for coordinate in coordinates]
        inputs, needed = self._context.resolver.resolve(wanted)
        return [f"{d.groupId}:{d.artifactId}:{d.version}" for d in (*inputs, *needed)]
