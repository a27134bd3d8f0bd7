"""Files of local indexes: one for each topic, under the user's cache folder.

A file that is made anew gets the next number in its name, and the old file is removed: a command
that still reads the old one goes on, and SQLite never meets two files of one name.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Generic, TypeVar

from kafka_etl.errors import IndexUnusable

StoreT = TypeVar("StoreT")

_LENGTH: Final = 20
_BUSY: Final = 60.0
"""Seconds that one command waits for another to write."""


def default_folder() -> Path:
    """Return `$KAFKA_ETL_CACHE`, `$XDG_CACHE_HOME/kafka-etl`, or `~/.cache/kafka-etl`."""
    own = os.environ.get("KAFKA_ETL_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kafka-etl"


def open_tables(path: Path | str, schema: str, version: int) -> sqlite3.Connection:
    """Open the tables of an index.

    Args:
        path: The file, made if missing; `:memory:`: none.
        schema: Makes the tables, and sets the version.
        version: Version of the tables.

    Raises:
        sqlite3.Error: The file is no index, has another version, or cannot be used.
    """
    base = sqlite3.connect(path, timeout=_BUSY)
    try:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        base.execute("PRAGMA cache_size = -65536")
        (found,) = base.execute("PRAGMA user_version").fetchone()
        (tables,) = base.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            base.executescript(f"BEGIN; {schema} COMMIT;")
        elif found != version:
            raise sqlite3.DatabaseError(f"format {found}, not {version}")
    except BaseException:
        base.close()
        raise
    return base


@contextmanager
def damage_explained(what: str) -> Generator[None]:
    """Say which index cannot be read, with its content in words: "dead letters"."""
    try:
        yield
    except sqlite3.Error as error:
        raise IndexUnusable(f"the index of {what} cannot be read: {error}") from error


class IndexFiles(Generic[StoreT]):
    """The files for one topic of one cluster.

    Args:
        store: Opens the tables in a file, or makes them; its `sqlite3.DatabaseError`, apart from
            `OperationalError`, says that the file is damaged or of another format.
        what: What is indexed, in words, such as "dead letters".
        folder: The folder of such indexes.
        cluster: The cluster's id.
        topic: Name of the topic.
        topic_id: The topic's id: a topic that was deleted and made again has another.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what is indexed, and where
        self,
        store: Callable[[Path], StoreT],
        what: str,
        folder: Path,
        cluster: str,
        topic: str,
        topic_id: str,
    ) -> None:
        self._store = store
        self._what = what
        self._folder = folder
        self._topic = _digest(cluster, topic)
        self._name = f"{self._topic}-{_digest(topic_id)}"

    @contextmanager
    def locked(self, waiting: Callable[[], None]) -> Generator[None]:
        """Hold the lock of the files; `waiting` is called once if another command holds the lock.

        Raises:
            IndexUnusable: The folder cannot be used.
        """
        try:
            # Texts of errors may quote data: nobody else is to read them.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self._folder / f"{self._topic}.lock").open("a")
        except OSError as error:
            raise self._unusable(str(error.strerror)) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def open(self, *, anew: bool) -> StoreT:
        """Open the newest file, or make one if there is none that can be read.

        Call with the lock held.

        Args:
            anew: Whether to leave the present file and make a new one.

        Raises:
            IndexUnusable: The file cannot be made or opened.
        """
        newest = max(map(_generation, self._folder.glob(f"{self._name}.*.sqlite")), default=0)
        try:
            if newest and not anew:
                try:
                    return self._only(newest)
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError:
                    pass  # damaged, or of another format
            return self._only(newest + 1)
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(str(error)) from error

    def _only(self, generation: int) -> StoreT:
        """Open this file, and remove all others of the topic."""
        path = self._folder / f"{self._name}.{generation}.sqlite"
        store = self._store(path)
        for other in self._folder.glob(f"{self._topic}-*.sqlite*"):
            if not other.name.startswith(path.name):
                other.unlink(missing_ok=True)
        return store

    def _unusable(self, why: str) -> IndexUnusable:
        return IndexUnusable(f"the index of {self._what} in {self._folder} cannot be used: {why}")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_LENGTH]


def _generation(path: Path) -> int:
    number = path.name.split(".")[1]
    return int(number) if number.isdecimal() else 0
