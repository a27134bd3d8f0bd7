"""The jars of one Kafka version, which `kafka.lock` lists, in a cache on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from kafka_etl.broker.maven import MAVEN_CENTRAL, Repository
from kafka_etl.errors import DownloadFailed

LOCK_FILE: Final = Path(__file__).with_name("kafka.lock")
KAFKA: Final = "org.apache.kafka:kafka_2.13"
_THREADS: Final = 4
_TRIES: Final = 2
_ABANDONED_S: Final = 24 * 3600


class Progress(Protocol):
    """Callback for the progress of a download; no two calls run at the same time."""

    def __call__(self, done_bytes: int, total_bytes: int, name: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar as one line of `kafka.lock` describes it.

    Attributes:
        coordinate: Maven's `group:artifact:version`.
        sha256: SHA-256 of the file, in hexadecimal.
        size: Size of the file in bytes.
    """

    coordinate: str
    sha256: str
    size: int

    @property
    def path(self) -> Path:
        """The relative path of the jar in a folder with Maven's layout."""
        group, artifact, version = self.coordinate.split(":")
        return Path(*group.split("."), artifact, version, f"{artifact}-{version}.jar")

    def is_in(self, folder: Path) -> bool:
        """Whether the folder holds a file of the jar's size, a check that is cheap at every start.

        The download has compared the hash before moving the jar into the folder.
        """
        try:
            return (folder / self.path).stat().st_size == self.size
        except OSError:
            return False


def locked_jars() -> list[Jar]:
    lines = LOCK_FILE.read_text(encoding="utf-8").splitlines()
    fields = [line.split() for line in lines if line and not line.startswith("#")]
    return [Jar(coordinate, sha256, int(size)) for coordinate, sha256, size in fields]


def kafka_version() -> str:
    versions = dict(jar.coordinate.rsplit(":", 1) for jar in locked_jars())
    return versions[KAFKA]


def cache_folder() -> Path:
    """The folder for files that can be made or downloaded again."""
    if own := os.environ.get("KAFKA_ETL_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kafka-etl"


def classpath(progress: Progress | None = None) -> list[Path]:
    """The paths of Kafka's jars in the cache; missing jars are downloaded first.

    Raises:
        DownloadFailed: A jar could not be downloaded. The other jars stay for the next try.
        ExtraMissing: Jars are missing, and the package `jgo` is not installed.
    """
    jars = locked_jars()
    folder = cache_folder() / "maven"
    if missing := [jar for jar in jars if not jar.is_in(folder)]:
        url = os.environ.get("KAFKA_ETL_MAVEN", MAVEN_CENTRAL).rstrip("/")
        try:
            _Download(url, folder, missing, progress).run()
        except _JarError as failed:
            there = sum(jar.is_in(folder) for jar in jars)
            raise DownloadFailed(
                f"{urlsplit(url).hostname} did not give {failed.jar.coordinate}: {failed.cause}; "
                f"{there} of {len(jars)} jars are there"
            ) from failed
        except OSError as error:
            raise DownloadFailed(
                f"Kafka's jars cannot be put into {folder}: {error.strerror}",
                "Set KAFKA_ETL_CACHE to a folder that can be written.",
            ) from error
    return [folder / jar.path for jar in jars]


class _JarError(Exception):
    def __init__(self, jar: Jar, cause: str) -> None:
        super().__init__(jar, cause)
        self.jar = jar
        self.cause = cause


class _StoppedError(Exception):
    pass


class _Download:
    """Downloads jars on a few threads into a private folder, and moves each into the cache.

    A jar appears in the cache whole and checked, or not at all, even if another process downloads
    the same jar at the same time.
    """

    def __init__(
        self, url: str, folder: Path, jars: Sequence[Jar], progress: Progress | None
    ) -> None:
        self._url = url
        self._folder = folder
        self._jars = jars
        self._progress = progress
        self._total = sum(jar.size for jar in jars)
        self._received = {jar.path.name: 0 for jar in jars}
        self._lock = threading.Lock()
        self._stopped = False

    def run(self) -> None:
        with _private_folder(self._folder) as private, ThreadPoolExecutor(_THREADS) as pool:
            repository = Repository(self._url, private, self._on_bytes)
            tasks = [pool.submit(self._obtain, repository, private, jar) for jar in self._jars]
            try:
                done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            finally:
                self._stopped = True  # ends the other threads at their next bytes
                pool.shutdown(cancel_futures=True)
            for task in done:
                task.result()

    def _obtain(self, repository: Repository, private: Path, jar: Jar) -> None:
        """Fetch a jar in two tries: a lost connection or a wrong answer of a proxy may pass."""
        for tries_left in reversed(range(_TRIES)):
            if jar.is_in(self._folder):
                return  # another process has downloaded the jar meanwhile
            try:
                # `fetch` would take the rest of an earlier try for the jar.
                (private / jar.path).unlink(missing_ok=True)
                self._received[jar.path.name] = 0
                file = repository.fetch(jar.coordinate)
                _check(file, jar)
                target = self._folder / jar.path
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            except _StoppedError:
                raise
            except Exception as error:  # requests, urllib3, ssl and jgo raise their own classes
                if not tries_left:
                    raise _JarError(jar, _sentence(error)) from error
            else:
                return

    def _on_bytes(self, name: str, received: int) -> None:
        if self._stopped:
            raise _StoppedError
        with self._lock:
            self._received[name] += received
            if self._progress:
                self._progress(sum(self._received.values()), self._total, name)


@contextmanager
def _private_folder(parent: Path) -> Generator[Path]:
    """A private folder inside `parent`; a killed process's folder is removed after a day."""
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(".download-*"):
        with suppress(FileNotFoundError):  # another process may remove the folder, too
            if time.time() - old.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=parent) as private:
        yield Path(private)


def _check(file: Path, jar: Jar) -> None:
    """Compare a file with the lock, and sync its bytes to disk before the file is moved."""
    with file.open("rb+") as opened:
        size = file.stat().st_size
        if size != jar.size:
            raise ValueError(f"the answer has {size} bytes instead of {jar.size}")
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        if sha256 != jar.sha256:
            raise ValueError(f"the answer has the SHA-256 {sha256} instead of {jar.sha256}")
        os.fsync(opened.fileno())


def _sentence(error: BaseException) -> str:
    """The text of an error's innermost cause, without the texts of the layers above."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, RuntimeError):  # raised by jgo for every status but 200
        return "it has no such file, or refuses it"
    return f"{error.strerror if isinstance(error, OSError) and error.strerror else error}"
