"""The tables of the index, in one SQLite file: dead letters, their statuses and their counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from kafka_etl.dead_letters.statuses import LetterPlace, LetterStatus
from kafka_etl.dlq.rows import Group, LetterRow, Own
from kafka_etl.expression import Bound
from kafka_etl.index_files import open_tables

FORMAT: Final = 1
"""Version of the tables; a file of another version is made anew."""

SAMPLE: Final = 100
"""The most letters of a group and status whose texts are looked at: a kind may have millions."""
_PAGE: Final = 5_000
_SCHEMA: Final = f"""
CREATE TABLE groups (
    id INTEGER PRIMARY KEY, {", ".join(f"{name} TEXT NOT NULL" for name in Group._fields)}
);
CREATE TABLE letters (
    {", ".join(f"{name} NOT NULL" for name in Own._fields)},
    group_id INTEGER NOT NULL, status TEXT NOT NULL DEFAULT 'open',
    PRIMARY KEY (partition, offset)
) WITHOUT ROWID;
CREATE INDEX by_group ON letters (group_id, status, written_ms);
CREATE TABLE counts (
    group_id INTEGER, status TEXT, letters INTEGER, PRIMARY KEY (group_id, status)
) WITHOUT ROWID;
CREATE TABLE waiting (
    partition INTEGER, offset INTEGER, status TEXT, PRIMARY KEY (partition, offset)
) WITHOUT ROWID;
CREATE TABLE strangers (
    partition INTEGER, offset INTEGER, PRIMARY KEY (partition, offset)
) WITHOUT ROWID;
CREATE TABLE positions (
    topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT);
CREATE TRIGGER came AFTER INSERT ON letters BEGIN
    INSERT INTO counts VALUES (new.group_id, new.status, 1)
        ON CONFLICT DO UPDATE SET letters = letters + 1;
END;
CREATE TRIGGER went AFTER DELETE ON letters BEGIN
    UPDATE counts SET letters = letters - 1
        WHERE group_id = old.group_id AND status = old.status;
END;
CREATE TRIGGER changed AFTER UPDATE OF status ON letters BEGIN
    UPDATE counts SET letters = letters - 1
        WHERE group_id = old.group_id AND status = old.status;
    INSERT INTO counts VALUES (new.group_id, new.status, 1)
        ON CONFLICT DO UPDATE SET letters = letters + 1;
END;
PRAGMA user_version = {FORMAT};
"""  # noqa: S608 - names of ours
_INSERT: Final = (
    f"INSERT INTO letters ({', '.join(Own._fields)}, group_id) "  # noqa: S608 - names of ours
    f"VALUES ({', '.join('?' * (len(Own._fields) + 1))})"
)
_COLUMNS: Final = ", ".join(
    f"g.{name}" if name in Group._fields else f"l.{name}" for name in LetterRow._fields
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM letters l JOIN groups g ON g.id = l.group_id"  # noqa: S608 - ours


class Counted(NamedTuple):
    """How many dead letters of a group have a status."""

    id: int
    group: Group
    status: LetterStatus
    letters: int


class Store:
    """The tables of one index. Changes are kept by `commit`, all or none.

    Args:
        path: The file, made if missing; `:memory:`: none.

    Raises:
        sqlite3.Error: The file is no index, has another format, or cannot be used.
    """

    def __init__(self, path: Path | str) -> None:
        self._base = open_tables(path, _SCHEMA, FORMAT)
        self._ids: dict[Group, int] | None = None

    def close(self) -> None:
        self._base.close()

    def commit(self) -> None:
        self._base.commit()

    def roll_back(self) -> None:
        self._base.rollback()
        self._ids = None

    # Positions

    def positions(self, topic: str) -> dict[int, int]:
        """Partition -> the next offset to read."""
        found = self._base.execute("SELECT partition, next FROM positions WHERE topic = ?", [topic])
        return dict(found)

    def set_positions(self, topic: str, positions: Mapping[int, int]) -> None:
        rows = [(topic, partition, offset) for partition, offset in positions.items()]
        self._base.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", rows)

    def note(self, name: str) -> str:
        """A text that was noted; empty: none."""
        found = self._base.execute("SELECT value FROM notes WHERE name = ?", [name]).fetchone()
        return "" if found is None else str(found[0])

    def set_note(self, name: str, value: str) -> None:
        self._base.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", [name, value])

    # Changes

    def add(self, rows: Iterable[tuple[Group, Own]]) -> None:
        """Add dead letters that are not in the index yet."""
        known = self._known()
        self._base.executemany(
            _INSERT, [(*own, known.get(group) or self._new(group)) for group, own in rows]
        )
        self._settle()

    def add_strangers(self, places: Iterable[LetterPlace]) -> None:
        """Add records of the topic that are no dead letters."""
        self._base.executemany("INSERT OR IGNORE INTO strangers VALUES (?, ?)", places)

    def set_statuses(self, statuses: Mapping[LetterPlace, LetterStatus]) -> None:
        """Set statuses; the status of a dead letter that is still to come waits for the letter."""
        rows = [(*place, status.value) for place, status in statuses.items()]
        self._base.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?)", rows)
        self._settle()

    def forget_statuses(self, topic: str) -> None:
        """Open all dead letters again, as the status topic is not the one that was read."""
        self._base.execute("UPDATE letters SET status = 'open' WHERE status != 'open'")
        self._base.execute("DELETE FROM waiting")
        self._base.execute("DELETE FROM positions WHERE topic = ?", [topic])

    def forget_before(self, partition: int, offset: int) -> None:
        """Forget the records before an offset, as retention has."""
        for table in ("letters", "waiting", "strangers"):
            self._base.execute(
                f"DELETE FROM {table} WHERE partition = ? AND offset < ?",  # noqa: S608 - ours
                [partition, offset],
            )

    def _settle(self) -> None:
        """Give waiting statuses to the dead letters that are there."""
        if self._base.execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is None:
            return
        self._base.execute(
            "UPDATE letters SET status = (SELECT w.status FROM waiting w"
            " WHERE w.partition = letters.partition AND w.offset = letters.offset)"
            " WHERE (partition, offset) IN (SELECT partition, offset FROM waiting)"
        )
        self._base.execute(
            "DELETE FROM waiting WHERE EXISTS (SELECT 1 FROM letters l"
            " WHERE l.partition = waiting.partition AND l.offset = waiting.offset)"
        )

    def _known(self) -> dict[Group, int]:
        if self._ids is None:
            found = self._base.execute("SELECT * FROM groups")
            self._ids = {Group._make(rest): number for number, *rest in found}
        return self._ids

    def _new(self, group: Group) -> int:
        marks = ", ".join("?" * len(group))
        added = self._base.execute(f"INSERT INTO groups VALUES (NULL, {marks})", group)  # noqa: S608
        number = added.lastrowid or 0
        self._known()[group] = number
        return number

    # Questions

    def counts(self) -> list[Counted]:
        """The counts of all groups that have dead letters."""
        found = self._base.execute(
            "SELECT g.*, c.status, c.letters FROM counts c JOIN groups g ON g.id = c.group_id"
            " WHERE c.letters > 0"
        )
        return [
            Counted(number, Group._make(group), LetterStatus(status), letters)
            for number, *group, status, letters in found
        ]

    def strangers(self) -> int:
        """Number of records of the topic that are no dead letters."""
        (found,) = self._base.execute("SELECT count(*) FROM strangers").fetchone()
        return int(found)

    def ends(self, counted: Counted) -> tuple[LetterRow, LetterRow]:
        """The oldest and the newest dead letter of a group and status that has any."""
        return self._end(counted, "ASC"), self._end(counted, "DESC")

    def texts(self, counted: Counted) -> list[str]:
        """The text of each of the newest dead letters of a group and status, at most `SAMPLE`."""
        return [row.error_text for row in self._first(counted, "DESC", SAMPLE)]

    def newest(self, count: int, status: LetterStatus | None) -> list[LetterRow]:
        """The newest dead letters of a status, or of any, the newest first."""
        rows = [
            row
            for counted in self.counts()
            if status in {None, counted.status}
            for row in self._first(counted, "DESC", count)
        ]
        return nlargest(count, rows, key=lambda row: (row.written_ms, row.place))

    def _end(self, counted: Counted, order: str) -> LetterRow:
        (row,) = self._first(counted, order, 1)
        return row

    def _first(self, counted: Counted, order: str, count: int) -> list[LetterRow]:
        ordered = ", ".join(f"l.{name} {order}" for name in ("written_ms", "partition", "offset"))
        found = self._base.execute(
            f"{_SELECT} WHERE l.group_id = ? AND l.status = ? ORDER BY {ordered} LIMIT ?",
            [counted.id, counted.status, count],
        )
        return list(map(LetterRow._make, found))

    def rows(
        self,
        groups: Iterable[int] | None = None,
        status: LetterStatus | None = None,
        bounds: Iterable[Bound] = (),
    ) -> Iterator[LetterRow]:
        """Dead letters in the order of (partition, offset).

        No transaction is held between pages of some thousand rows, so that a long reader stands in
        nobody's way.

        Args:
            groups: Ids of the groups that are wanted; None: all.
            status: The status that is wanted; None: any.
            bounds: Comparisons that hold for the letters that are wanted.
        """
        tests, wanted = ["(l.partition, l.offset) > (?, ?)"], list[Any]()
        if groups is not None:
            # The sign keeps SQLite from sorting all rows of a group for each page.
            tests.append("+l.group_id IN (SELECT value FROM json_each(?))")
            wanted.append(orjson.dumps(list(groups)).decode())
        if status is not None:
            tests.append("+l.status = ?")
            wanted.append(status.value)
        for column, symbol, number in bounds:
            tests.append(f"+l.{column} {symbol} ?")
            wanted.append(number)
        query = (
            f"{_SELECT} WHERE {' AND '.join(tests)} ORDER BY l.partition, l.offset LIMIT {_PAGE}"
        )
        after = (-1, -1)
        while True:
            page = self._base.execute(query, [*after, *wanted]).fetchall()
            yield from map(LetterRow._make, page)
            if len(page) < _PAGE:
                return
            after = page[-1][:2]

    def named(self, places: Iterable[LetterPlace]) -> Iterator[LetterRow]:
        """The dead letters at these places that are there, in the order of (partition, offset)."""
        query = f"{_SELECT} WHERE l.partition = ? AND l.offset = ?"
        for place in sorted(set(places)):
            found = self._base.execute(query, place).fetchone()
            if found is not None:
                yield LetterRow._make(found)

    def sources(self) -> list[tuple[str, int, int, int]]:
        """Topic and partition of records, the first offset there, and the number of letters."""
        return self._base.execute(
            "SELECT g.source_topic, l.source_partition, min(l.source_offset), count(*)"
            " FROM letters l JOIN groups g ON g.id = l.group_id WHERE l.source_offset >= 0"
            " GROUP BY 1, 2"
        ).fetchall()

    def at_or_of(
        self, topic: str, wanted: str | None, partition: int | None, offset: int
    ) -> list[LetterRow]:
        """The dead letters that an ID names, by their own place or that of their record.

        Args:
            topic: Topic of the dead letters.
            wanted: Topic of the dead letter or the record; None: any.
            partition: Number of the partition; None: any.
            offset: Offset in the partition.
        """
        found = self._base.execute(
            f"{_SELECT} WHERE l.offset = :offset AND ifnull(:partition, l.partition) = l.partition"
            " AND ifnull(:wanted, :topic) = :topic"
            " OR l.source_offset = :offset AND"
            " ifnull(:partition, l.source_partition) = l.source_partition"
            " AND ifnull(:wanted, g.source_topic) = g.source_topic"
            " ORDER BY l.partition, l.offset",
            {"topic": topic, "wanted": wanted, "partition": partition, "offset": offset},
        )
        return list(map(LetterRow._make, found))
