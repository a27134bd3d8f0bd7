"""The tables of the index, in one SQLite file: tasks, how far they are, and the owners' marks."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple

from kafka_etl.expression import Bound
from kafka_etl.index_files import open_tables
from kafka_etl.task_history.rows import Task, TaskRow
from kafka_etl.tasks.journal import Mark, ProgressNote

FORMAT: Final = 1
"""Version of the tables; a file of another version is made anew."""

_FIRST_PAGE: Final = 50
_LARGEST_PAGE: Final = 5_000
_COLUMNS: Final = TaskRow._fields
_WIDTH: Final = len(_COLUMNS)
_SCHEMA: Final = f"""
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY, {", ".join(f"{name}" for name in _COLUMNS)},
    UNIQUE (id, partition)
);
CREATE INDEX by_state ON tasks (state, changed_ms);
CREATE TABLE counts (state TEXT PRIMARY KEY, tasks INTEGER) WITHOUT ROWID;
CREATE TABLE progress (
    partition, id, token NOT NULL, fraction NOT NULL, text NOT NULL, PRIMARY KEY (partition, id)
) WITHOUT ROWID;
CREATE TABLE marks (partition INTEGER PRIMARY KEY, inbox, n, writer, at_ms);
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next);
CREATE TABLE notes (name TEXT PRIMARY KEY, value);
CREATE TRIGGER came AFTER INSERT ON tasks BEGIN
    INSERT INTO counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER went AFTER DELETE ON tasks BEGIN
    UPDATE counts SET tasks = tasks - 1 WHERE state = old.state;
END;
CREATE TRIGGER changed AFTER UPDATE OF state ON tasks WHEN old.state != new.state BEGIN
    UPDATE counts SET tasks = tasks - 1 WHERE state = old.state;
    INSERT INTO counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET tasks = tasks + 1;
END;
PRAGMA user_version = {FORMAT};
"""  # noqa: S608 - names of ours
_UPSERT: Final = (
    f"INSERT INTO tasks ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (id, partition) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in {"id", "partition"})
)
_SELECT: Final = (
    f"SELECT {', '.join(f't.{name}' for name in _COLUMNS)}, p.fraction, p.text, t.number"  # noqa: S608
    " FROM tasks t LEFT JOIN progress p"
    " ON t.token != '' AND p.partition = t.partition AND p.id = t.id AND p.token = t.token"
)


class _Found(NamedTuple):
    """A task with its place in the order of lists."""

    changed_ms: int
    number: int
    task: Task


class Store:
    """The tables of one index. Changes are kept by `commit`, all or none.

    Args:
        path: The file, made if missing; `:memory:`: none.

    Raises:
        sqlite3.Error: The file is no index, has another format, or cannot be used.
    """

    def __init__(self, path: Path | str) -> None:
        self._base = open_tables(path, _SCHEMA, FORMAT)

    def close(self) -> None:
        self._base.close()

    def commit(self) -> None:
        self._base.commit()

    # Positions

    def positions(self) -> dict[int, int]:
        """Partition of the journal -> the next offset to read."""
        return dict(self._base.execute("SELECT partition, next FROM positions"))

    def set_positions(self, positions: Mapping[int, int]) -> None:
        self._base.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", positions.items())

    def read_ms(self) -> int:
        """When the journal was read to its end, in milliseconds since the epoch; 0: never."""
        found = self._base.execute("SELECT value FROM notes WHERE name = 'read'").fetchone()
        return 0 if found is None else int(found[0])

    def set_read(self, at_ms: int) -> None:
        self._base.execute("INSERT OR REPLACE INTO notes VALUES ('read', ?)", [at_ms])

    # Changes

    def put(self, rows: Iterable[TaskRow]) -> None:
        """Add tasks, or put them in the place of what was known of them."""
        self._base.executemany(_UPSERT, rows)

    def forget(self, tasks: Iterable[tuple[int, str]]) -> None:
        """Forget tasks, each (partition, id)."""
        self._base.executemany("DELETE FROM tasks WHERE partition = ? AND id = ?", tasks)

    def put_progress(self, notes: Mapping[tuple[int, str], ProgressNote | None]) -> None:
        """Keep how far tasks are, each under (partition, id); None: nothing is known any more."""
        gone = [place for place, note in notes.items() if note is None]
        self._base.executemany("DELETE FROM progress WHERE partition = ? AND id = ?", gone)
        self._base.executemany(
            "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?, ?)",
            (
                (*place, note.token, note.fraction, note.text)
                for place, note in notes.items()
                if note is not None
            ),
        )

    def put_marks(self, marks: Mapping[int, Mark]) -> None:
        """Keep the marks of partitions."""
        self._base.executemany(
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?)",
            ((number, m.inbox, m.n, m.writer, m.at_ms) for number, m in marks.items()),
        )

    # Questions

    def counts(self) -> dict[str, int]:
        """State -> number of tasks, without states of no task."""
        return dict(self._base.execute("SELECT state, tasks FROM counts WHERE tasks > 0"))

    def marks(self) -> dict[int, Mark]:
        """Partition -> the mark of its owner."""
        return {number: Mark(*rest) for number, *rest in self._base.execute("SELECT * FROM marks")}

    def named(self, task: str) -> list[Task]:
        """The tasks of this id; of several partitions there may be several."""
        found = self._base.execute(f"{_SELECT} WHERE t.id = ? ORDER BY t.partition", [task])
        return [_found(values).task for values in found]

    def beginning(self, begin: str, limit: int) -> list[Task]:
        """The first tasks whose id begins with a text, in the order of their ids."""
        query = f"{_SELECT} WHERE t.id >= ? ORDER BY t.id LIMIT ?"
        found = (_found(values).task for values in self._base.execute(query, [begin, limit]))
        return list(takewhile(lambda task: task.row.id.startswith(begin), found))

    def tasks(
        self,
        states: Collection[str] | None = None,
        since_ms: int = 0,
        bounds: Collection[Bound] = (),
    ) -> Iterator[Task]:
        """Tasks, that which has changed last first.

        No transaction is held between pages, so that a long reader stands in nobody's way.

        Args:
            states: The states that are wanted; None: any.
            since_ms: The tasks that have changed since; in milliseconds since the epoch.
            bounds: Comparisons that hold for the tasks that are wanted.
        """
        wanted = self.counts() if states is None else states
        # One sorted run for each state: each is read from an index, and only as far as needed.
        runs = [self._of_state(state, since_ms, bounds) for state in sorted(wanted)]
        merged = heapq.merge(*runs, key=lambda found: found[:2], reverse=True)
        return (found.task for found in merged)

    def _of_state(self, state: str, since_ms: int, bounds: Collection[Bound]) -> Iterator[_Found]:
        # The sign keeps SQLite from taking another index than that of the order.
        tests = "".join(f" AND +t.{column} {symbol} ?" for column, symbol, _ in bounds)
        query = (
            f"{_SELECT} WHERE t.state = ? AND t.changed_ms >= ? AND (t.changed_ms, t.number) <"
            f" (?, ?){tests} ORDER BY t.changed_ms DESC, t.number DESC LIMIT ?"
        )
        constants = [bound.constant for bound in bounds]
        after, page = (2**63 - 1, 0), _FIRST_PAGE
        while True:
            values = [state, since_ms, *after, *constants, page]
            found = list(map(_found, self._base.execute(query, values).fetchall()))
            yield from found
            if len(found) < page:
                return
            after, page = found[-1][:2], min(4 * page, _LARGEST_PAGE)


def _found(values: tuple[Any, ...]) -> _Found:
    row = TaskRow._make(values[:_WIDTH])
    fraction, text, number = values[_WIDTH:]
    return _Found(row.changed_ms, number, Task(row, fraction, text or ""))
