"""The store `postgres`: rows, offsets and dead letters in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Final

import psycopg

from kafka_etl.contracts import (
    Column,
    Conflict,
    Deployment,
    Limits,
    Move,
    Refused,
    RefusedRows,
    Rows,
    Store,
    StoredOffset,
    Unreachable,
)
from kafka_etl.record import Partition
from kafka_etl_connectors.postgres.errors import is_of_a_row, passes, target
from kafka_etl_connectors.postgres.session import Session, connect, query, table
from kafka_etl_connectors.postgres.settings import PostgresSettings
from kafka_etl_connectors.postgres.staging import Staging, copy_is_refused, last_of_keys

_TRIES: Final = 5
"""Tries of a transaction that meets deadlocks or serialisation failures."""
_MOVE: Final = """
UPDATE {} AS o SET next = m.next
FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bigint[])
  AS m (topic, part, begin, next, generation)
WHERE o.name = %s AND o.cluster = %s AND o.topic = m.topic AND o.part = m.part
  AND o.next = m.begin AND o.generation = m.generation
RETURNING o.topic, o.part
"""
_PLACE: Final = """
INSERT INTO {} (name, cluster, topic, part, topic_id, next, generation, grp)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (name, cluster, topic, part) DO {}
"""
_OVERWRITE: Final = """UPDATE SET topic_id = EXCLUDED.topic_id, next = EXCLUDED.next,
generation = EXCLUDED.generation, grp = EXCLUDED.grp"""


class PostgresStore(Store):
    """Rows of one table, and the offsets beside them.

    Args:
        settings: The server, the table and the mode.
        deployment: Whose offsets these are.
        columns: Columns that every row sets.
    """

    kind: ClassVar[str] = "postgres"
    limits = Limits(rows=1_000_000)

    def __init__(
        self, settings: PostgresSettings, deployment: Deployment, columns: Sequence[Column]
    ) -> None:
        self._settings = settings
        self._session_name = f"kafka-etl {deployment.member}"
        self._name = settings.offsets.name or deployment.group
        self._cluster = deployment.cluster
        self._letters = deployment.letter_table
        self._offsets = table(settings.offsets.table)
        self._staging = Staging(settings, columns)
        self._straight = settings.mode == "insert"
        self._session: Session | None = None

    def connect(self) -> None:
        """See `connect` of `session`."""
        self._session = connect(self._settings, self._session_name)

    def close(self) -> None:
        """Close the session; an open transaction is rolled back."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def interrupt(self) -> None:
        """Cancel the statement under way."""
        if self._session is not None:
            with suppress(psycopg.Error):
                self._session.cancel_safe(timeout=2.0)

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """See `Store.offsets`."""
        wanted = set(partitions)
        try:
            found = self._ready().execute(
                query(
                    "SELECT topic, part, next, generation, topic_id, grp FROM {} "
                    "WHERE name = %s AND cluster = %s"
                ).format(self._offsets),
                [self._name, self._cluster],
            )
            return {
                tp: StoredOffset(*standing)
                for topic, number, *standing in found
                if (tp := Partition(topic, number)) in wanted
            }
        except psycopg.Error as error:
            raise target(error, "reading offsets") from error

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """See `Store.place`."""
        action = query(_OVERWRITE if overwrite else "NOTHING")
        statement = query(_PLACE).format(self._offsets, action)
        rows = [
            (self._name, self._cluster, *tp, at.topic_id, at.next, at.generation, at.group)
            for tp, at in sorted(offsets.items())
        ]
        try:
            with self._ready().transaction(), self._ready().cursor() as cursor:
                cursor.executemany(statement, rows)
        except psycopg.Error as error:
            raise target(error, "writing offsets") from error

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`."""
        for left in reversed(range(_TRIES)):
            try:
                self._transaction(rows, moves, letters)
            except psycopg.Error as error:
                if left and passes(error):
                    continue
                raise target(error) from error
            else:
                return

    def _ready(self) -> Session:
        if self._session is None:
            raise Unreachable("PostgreSQL: no session")
        return self._session

    def _transaction(
        self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]
    ) -> None:
        session = self._ready()
        with session.transaction():
            session.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', '60s', true), "
                "set_config('lock_timeout', %s, true)",
                [f"{round(self._settings.lock_timeout * 1000)}ms"],
            )
            self._move(session, moves)
            if len(rows):
                refused = self._write(session, rows)
                if refused:
                    raise RefusedRows(refused)
            if letters and self._letters is not None:
                statement = query("INSERT INTO {} (letter) VALUES (%s::jsonb)")
                with session.cursor() as cursor:
                    cursor.executemany(
                        statement.format(table(self._letters)),
                        [(letter.decode().replace("\\u0000", "\\ufffd"),) for letter in letters],
                    )

    def _move(self, session: Session, moves: Mapping[Partition, Move]) -> None:
        """Move all partitions in one statement; those that stand elsewhere are the conflict."""
        ordered = sorted(moves.items())
        moved = session.execute(
            query(_MOVE).format(self._offsets),
            [
                [tp.topic for tp, _ in ordered],
                [tp.number for tp, _ in ordered],
                [move.begin for _, move in ordered],
                [move.next for _, move in ordered],
                [move.generation for _, move in ordered],
                self._name,
                self._cluster,
            ],
        ).fetchall()
        missed = moves.keys() - {Partition(*row) for row in moved}
        if missed:
            raise Conflict(missed)

    def _write(self, session: Session, rows: Rows) -> dict[int, Refused]:
        """Write all rows; returns every row that the server refuses."""
        if self._straight:
            try:
                with session.transaction():
                    self._staging.copy(session, rows)
                    session.execute("SET CONSTRAINTS ALL IMMEDIATE")
            except psycopg.Error as error:
                if copy_is_refused(error):
                    self._straight = False
                elif not is_of_a_row(error):
                    raise
            else:
                return {}
        positions: Sequence[int] = range(len(rows))
        if self._settings.mode != "insert":
            positions, gone = last_of_keys(rows)
            self._staging.delete(session, gone)
        if not positions:
            return {}
        self._staging.stage(session, rows, positions)
        return self._staging.insert(session, positions)
