"""The archive of a partition: its heads in a SQLite file, up to a place in the journal.

The journal is the truth; the file is disposable. What the file holds is the state after a prefix of
the journal, or after a little more of it: the records behind `position` are read again, and the
last one of a task counts. So a file is good whoever has owned the partition since, unless its
journal is another one now, or tombstones may have come and gone meanwhile.

The file is never synced to disk: it outlives the death of a process, and a file that was written
before the machine started is not used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple

from kafka_etl.log import get_logger

FORMAT: Final = 2
_NOWHERE: Final = ":memory:"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_OLDEST_MS: Final = 12 * 3_600_000
"""Age from which on a file is not used: a journal keeps its tombstones for a day."""
_SCHEMA: Final = f"""
CREATE TABLE heads (
    number INTEGER PRIMARY KEY, task TEXT NOT NULL UNIQUE, due_ms INTEGER, succeeded INTEGER,
    head BLOB NOT NULL
);
CREATE TABLE notes (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""
_INDEXES: Final = """
CREATE INDEX by_due ON heads (due_ms);
CREATE INDEX by_due_succeeded ON heads (due_ms) WHERE succeeded = 1;
"""
_OLDEST: Final = "SELECT task FROM heads WHERE due_ms > 0 AND {} ORDER BY due_ms LIMIT ?"
_SUCCEEDED_FIRST: Final = (_OLDEST.format("succeeded = 1"), _OLDEST.format("succeeded = 0"))
_PUT: Final = """
INSERT INTO heads (task, due_ms, succeeded, head) VALUES (?, ?, ?, ?) ON CONFLICT (task)
DO UPDATE SET due_ms = excluded.due_ms, succeeded = excluded.succeeded, head = excluded.head
"""
_log = get_logger("owner")


class Row(NamedTuple):
    """A task in the archive.

    Attributes:
        due_ms: When something of a final task is to be forgotten, in milliseconds since the epoch;
            None: the task is open.
        succeeded: Whether it is one that has succeeded.
        head: As the journal has it.
    """

    task: str
    due_ms: int | None
    succeeded: bool
    head: bytes


class Place(NamedTuple):
    """Up to where an archive goes.

    Attributes:
        position: The next offset of the journal to read; 0: nothing is known.
        mark: The record that says how far the inbox was read; None: there was none.
    """

    position: int
    mark: bytes | None


class Archive:
    """An open archive.

    Args:
        path: The file, made if missing; None: a base in memory.
        identity: Cluster, and id of the journal: a journal that was made anew has another.

    Attributes:
        place: Up to where the archive went when it was opened.

    Raises:
        sqlite3.Error: The file is no archive, has another format, or cannot be used.
    """

    def __init__(self, path: Path | None = None, identity: str = "") -> None:
        self._identity = f"{identity} {_boot()}"
        # Made, used and closed in turn by two threads of a worker, never at the same time.
        self._base = sqlite3.connect(path or _NOWHERE, timeout=0, check_same_thread=False)
        try:
            for pragma in ("locking_mode = EXCLUSIVE", "synchronous = OFF", "cache_size = -4096"):
                self._base.execute(f"PRAGMA {pragma}")
            self._is_new = self._make()
            self.place = Place(0, None) if self._is_new else self._check()
        except BaseException:
            self._base.close()
            raise

    def _make(self) -> bool:
        """Make the tables if there are none; return whether they were made.

        All heads of the journal may follow, so there is no index and no log of writes yet: a file
        that is left like this was never saved, and is not used.
        """
        (tables,) = self._base.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables:
            return False
        self._base.execute("PRAGMA page_size = 8192")
        self._base.execute("PRAGMA journal_mode = OFF")
        self._base.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        return True

    def _check(self) -> Place:
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise sqlite3.DatabaseError(f"format {version}, not {FORMAT}")
        notes = dict(self._base.execute("SELECT name, value FROM notes"))
        if notes.get("identity") != self._identity:
            raise sqlite3.DatabaseError("it is of another journal, or of an earlier start")
        self._base.execute("PRAGMA journal_mode = WAL")
        return Place(int(notes["position"]), notes["mark"])

    @property
    def saved_ms(self) -> int:
        """When the archive was saved, in milliseconds since the epoch; 0: never."""
        found = self._base.execute("SELECT value FROM notes WHERE name = 'saved'").fetchone()
        return 0 if found is None else int(found[0])

    def close(self) -> None:
        self._base.close()

    # Heads

    def get(self, task: str) -> bytes | None:
        """The head of a task; None: there is no such task."""
        found = self._base.execute("SELECT head FROM heads WHERE task = ?", (task,)).fetchone()
        return None if found is None else found[0]

    def open_heads(self) -> Iterator[tuple[str, bytes]]:
        """The tasks that were open when the archive was saved."""
        return self._base.execute("SELECT task, head FROM heads WHERE due_ms IS NULL")

    @property
    def finals(self) -> int:
        """Number of final tasks."""
        found = self._base.execute("SELECT count(*) FROM heads WHERE due_ms IS NOT NULL")
        return int(found.fetchone()[0])

    def due(self, now_ms: int, limit: int) -> list[str]:
        """Final tasks of which something is to be forgotten now, the earliest first."""
        query = "SELECT task FROM heads WHERE due_ms <= ? ORDER BY due_ms LIMIT ?"
        return [task for (task,) in self._base.execute(query, (now_ms, limit))]

    def oldest(self, limit: int) -> list[str]:
        """Final tasks in the order in which they are given up: those that have succeeded first."""
        found: list[str] = []
        for query in _SUCCEEDED_FIRST:
            found += [task for (task,) in self._base.execute(query, (limit - len(found),))]
        return found

    def change(self, rows: Iterable[Row], gone: Iterable[str] = ()) -> None:
        """Put tasks in, or in the place of what was known of them, and forget others."""
        self._base.executemany("DELETE FROM heads WHERE task = ?", ((task,) for task in gone))
        self._base.executemany(_PUT, rows)

    def save(self, place: Place, now_ms: int) -> None:
        """Keep what was changed; all of it up to this place is in the archive."""
        if self._is_new:
            self._is_new = False
            self._base.commit()
            self._base.executescript(_INDEXES)
            self._base.execute("PRAGMA journal_mode = WAL")
        notes = {
            "identity": self._identity,
            "position": place.position,
            "mark": place.mark,
            "saved": now_ms,
        }
        self._base.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", notes.items())
        self._base.commit()


def _boot() -> str:
    """The id of the machine's start; another one each time where the system does not tell."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return token_hex(8)


class Archives:
    """The archives of one owner: a file for each partition.

    Args:
        folder: Folder of the files; None: they are in memory.
        identity: Cluster, and id of the journal.
        now_ms: Present time, in milliseconds since the epoch.
    """

    def __init__(self, folder: Path | None, identity: str, now_ms: Callable[[], int]) -> None:
        self._folder = folder
        self._identity = identity
        self._now_ms = now_ms

    def open(self, number: int, begin: int, end: int) -> Archive:
        """Open the archive of a partition; one that is of no use is made anew.

        Args:
            number: The partition.
            begin: The first offset that its journal has.
            end: The offset behind the last one.
        """
        if self._folder is None:
            return Archive(None, self._identity)
        path = self._folder / f"{number}.sqlite"
        try:
            archive = self._usable(path, begin, end)
        except (sqlite3.DatabaseError, KeyError, ValueError, OSError) as error:
            _log.info("the archive is made anew", path=str(path), reason=str(error))
            archive = None
        return archive or self._new(path)

    def _usable(self, path: Path, begin: int, end: int) -> Archive | None:
        """The archive in the file; None: it does not fit the journal."""
        if not path.exists():
            return None
        archive = Archive(path, self._identity)
        try:
            known = archive.place.position
            is_old = self._now_ms() - archive.saved_ms > _OLDEST_MS
            if begin <= known <= end and not is_old:
                return archive
        except BaseException:
            archive.close()
            raise
        archive.close()
        return None

    def _new(self, path: Path) -> Archive:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove(path)
            return Archive(path, self._identity)
        except (sqlite3.Error, OSError) as error:
            _log.warning("the archive is kept in memory", path=str(path), reason=str(error))
            return Archive(None, self._identity)

    def discard(self, number: int) -> None:
        """Remove the file of a partition, which is damaged; to be called once it is closed."""
        if self._folder is not None:
            with suppress(OSError):
                remove(self._folder / f"{number}.sqlite")


def remove(path: Path) -> None:
    """Remove a base, with what SQLite keeps beside it."""
    for end in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + end).unlink(missing_ok=True)
