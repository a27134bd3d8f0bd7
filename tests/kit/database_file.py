"""A table in a database file, SQLite's or DuckDB's, and the stores of its sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kafka_etl.contracts import Deployment, Preflight, SinkPlugin, StoredOffset
from kafka_etl.envelope import Provenance
from kafka_etl.record import Partition
from kafka_etl.testing import StoreSystem

P0 = Partition("in", 0)
TABLE = "CREATE TABLE t (id INTEGER NOT NULL UNIQUE, version INTEGER CHECK (version < 100))"
_PROVENANCE = Provenance("p", "", "g", "w", "host", 1, "0", "3", {})


@dataclass(frozen=True)
class DatabaseFile:
    """A file with the table `t`.

    Attributes:
        plugin: The sink.
        connect: The client's function that opens a file.
        path: The file.
    """

    plugin: SinkPlugin[Any]
    connect: Callable[[Path], Any]
    path: Path

    def execute(self, text: str) -> list[Any]:
        with self.connect(self.path) as connection:
            return connection.execute(text).fetchall()

    def store(self, letters: str | None = None, **settings: Any) -> Any:
        """A store that is not connected, after the sink's check."""
        checked, deployment = self._given(letters, settings)
        found = self.plugin.check(checked, deployment)
        return self.plugin.build(checked, replace(deployment, columns=found.columns))

    def look(self, letters: str | None = None, **settings: Any) -> Preflight:
        """The sink's check, which only looks."""
        checked, deployment = self._given(letters, settings)
        return self.plugin.check(checked, replace(deployment, looks_only=True))

    def _given(self, letters: str | None, settings: dict[str, Any]) -> tuple[Any, Deployment]:
        given = {"path": self.path.name, "table": "t", **settings}
        deployment = Deployment(
            "p", "m", {}, {}, {}, _PROVENANCE,
            group="g", folder=self.path.parent, letter_table=letters,
        )  # fmt: skip
        return self.plugin.settings.model_validate(given), deployment

    def opened(self, **settings: Any) -> Any:
        """A connected store that stands at the beginning of `P0`."""
        store = self.store(**settings)
        store.connect()
        store.place({P0: StoredOffset(0)}, overwrite=False)
        return store


class DatabaseFileSystem(StoreSystem):
    """The system for the suite of stores."""

    letters = True
    breaks = True

    def __init__(self, file: DatabaseFile, *, upserts: bool) -> None:
        self._file = file
        self.upserts = self.deletes = upserts

    def store(self) -> Any:
        more = {"mode": "upsert", "key": {"id": "key"}} if self.upserts else {}
        return self._file.store("letters", **more)

    def rows_in_target(self) -> Sequence[Any]:
        return self._file.execute("SELECT id, version FROM t")

    def row(self, key: int, version: int = 0) -> Any:
        return (key, version)

    def key(self, key: int) -> Any:
        return (key,)

    def refused(self, key: int) -> Any:
        return (key, 100)

    def undeletable(self) -> Any:
        if not self.deletes:
            return None
        self._file.execute("CREATE TABLE child (parent INTEGER REFERENCES t (id))")
        self._file.execute("INSERT INTO t VALUES (77, 0)")
        self._file.execute("INSERT INTO child VALUES (77)")
        return (77,)

    def letters_in_target(self) -> Sequence[bytes]:
        return [row[0].encode() for row in self._file.execute("SELECT letter FROM letters")]

    def break_target(self) -> None:
        self._file.execute("ALTER TABLE t RENAME TO gone")

    def mend_target(self) -> None:
        self._file.execute("ALTER TABLE gone RENAME TO t")
