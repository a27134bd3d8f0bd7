"""The store `postgres`: one transaction for rows, offsets and dead letters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Final

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from kafka_etl.contracts import (
    Column,
    Deployment,
    Limits,
    Move,
    RefusedRows,
    Rows,
    Store,
    StoredOffset,
    Unreachable,
)
from kafka_etl.record import Partition
from kafka_etl.table_settings import mapped_columns
from kafka_etl_connectors.postgres.blame import Blame
from kafka_etl_connectors.postgres.connection import (
    Connection,
    connected,
    fault,
    identifier,
    interrupt,
    unreachable,
)
from kafka_etl_connectors.postgres.offsets import OffsetTable
from kafka_etl_connectors.postgres.parts import BadValue, Part
from kafka_etl_connectors.postgres.schema import changes, columns_of
from kafka_etl_connectors.postgres.settings import PostgresSettings
from kafka_etl_connectors.postgres.tables import TablesWriter
from kafka_etl_connectors.postgres.verdict import NO_COPY, Fault

_TRIES: Final = 4
"""Of a transaction that lost against another one: deadlock, serialisation."""
_ROWS: Final = 1_000_000


class PostgresStore(Store):
    """Rows of tables, and the offsets beside them.

    Args:
        settings: The server, the tables and the mode.
        deployment: Whose offsets these are; its columns are those of the table.
    """

    kind: ClassVar[str] = "postgres"
    limits = Limits(rows=_ROWS)

    def __init__(self, settings: PostgresSettings, deployment: Deployment) -> None:
        self._settings = settings
        self._columns: Sequence[Column] = (
            mapped_columns(settings, deployment.columns) if deployment.columns else ()
        )
        self._application = f"kafka-etl {deployment.member}"
        self._offsets = OffsetTable(
            settings.offsets.table, settings.offsets.name or deployment.group, deployment.cluster
        )
        self._letters = None
        if deployment.letter_table is not None:
            self._letters = letters_insert(deployment.letter_table)
        self._writer = TablesWriter(settings, self._columns)
        self._in_pool = settings.pooling == "transaction"
        idle = max(60, round(2 * settings.lock_timeout))
        self._begin_sql = sql.SQL(
            "BEGIN; SET LOCAL idle_in_transaction_session_timeout = {}; SET LOCAL lock_timeout = {}"
        ).format(idle * 1000, max(1, round(settings.lock_timeout * 1000)))
        self._connection: Connection | None = None

    def connect(self) -> None:
        """See `Store.connect`.

        Raises:
            Unreachable: The server is away, or refuses the user.
        """
        self._connection = connected(self._settings, self._application)
        if not self._in_pool:
            try:
                self._writer.prepare(self._connection, ends_with_commit=False)
            except psycopg.Error as error:
                raise self._of_target(self._connection, error) from error

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Break the call under way."""
        connection = self._connection
        if connection is not None:
            interrupt(connection)

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """See `Store.offsets`."""
        try:
            return self._offsets.read(self._ready(), partitions)
        except psycopg.Error as error:
            raise unreachable(error) from error

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """See `Store.place`."""
        try:
            self._offsets.place(self._ready(), offsets, overwrite=overwrite)
        except psycopg.Error as error:
            raise unreachable(error) from error

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`."""
        connection = self._ready()
        part = self._writer.part_of(rows)
        for remaining in reversed(range(_TRIES)):
            try:
                self._transact(connection, part, moves, letters)
                return
            except BadValue as error:
                self._roll_back(connection)
                raise self._refusal(connection, part, error) from error
            except psycopg.Error as error:
                self._roll_back(connection)
                kind = fault(error)
                if error.sqlstate in NO_COPY and not self._writer.staged and remaining:
                    self._stage(connection)
                elif kind is Fault.ROW:
                    raise self._refusal(connection, part, error) from error
                elif kind is not Fault.AGAIN or not remaining:
                    raise self._of_target(connection, error) from error
            except BaseException:
                self._roll_back(connection)
                raise

    def _ready(self) -> Connection:
        if self._connection is None:
            raise Unreachable("PostgreSQL is not connected")
        return self._connection

    def _transact(
        self,
        connection: Connection,
        part: Part,
        moves: Mapping[Partition, Move],
        letters: Sequence[bytes],
    ) -> None:
        self._begin(connection)
        if moves:
            self._offsets.move(connection, moves)
        self._writer.write(connection, part)
        if not self._writer.is_sound(connection, part):
            changed = self._changed(connection)
            tables = " or ".join(self._writer.names)
            raise changed or Unreachable(f"table {tables} is being changed")
        if letters and self._letters is not None:
            connection.execute(self._letters, ([letter.decode() for letter in letters],))
        # A deferred constraint fails before the COMMIT, which then is not run.
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE; COMMIT", prepare=False)

    def _begin(self, connection: Connection) -> None:
        connection.execute(self._begin_sql, prepare=False)
        if self._in_pool:
            self._writer.prepare(connection, ends_with_commit=True)

    def _stage(self, connection: Connection) -> None:
        """Rows go by the staging table from here on: COPY is refused by the table itself."""
        self._writer.stage()
        if not self._in_pool:
            try:
                self._writer.prepare(connection, ends_with_commit=False)
            except psycopg.Error as error:
                raise self._of_target(connection, error) from error

    def _refusal(
        self, connection: Connection, part: Part, error: BadValue | psycopg.Error
    ) -> Exception:
        """What follows from a row's error: all bad rows, unless the table has changed."""
        try:
            changed = self._changed(connection)
            if changed is not None:
                return changed
            found = Blame(connection, self._writer, lambda: self._begin(connection), part).find()
        except psycopg.Error as other:
            self._roll_back(connection)
            return self._of_target(connection, other)
        if found:
            return RefusedRows(found)
        if isinstance(error, psycopg.Error):
            return unreachable(error)
        return Unreachable(f"PostgreSQL's client: {type(error.error).__name__}")

    def _of_target(self, connection: Connection, error: psycopg.Error) -> Unreachable:
        """The target's fault in words; a table that is not as it was is looked at again."""
        if fault(error) is Fault.SCHEMA and not connection.closed:
            with suppress(psycopg.Error):
                self._roll_back(connection)
                return self._changed(connection) or unreachable(error)
        return unreachable(error)

    def _changed(self, connection: Connection) -> Unreachable | None:
        """Whether a table has changed so that the rows no longer fit."""
        for table in self._writer.names:
            news = changes(self._columns, columns_of(connection, table))
            if news:
                return Unreachable(
                    f"table {table} has changed: {news}; correct the table, or reload the pipeline",
                    mend=True,
                )
        return None

    def _roll_back(self, connection: Connection) -> None:
        if connection.closed or connection.info.transaction_status is TransactionStatus.IDLE:
            return
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")


def letters_ddl(table: str) -> sql.Composed:
    """The statement that makes the table of dead letters.

    The type is `json`: `jsonb` would refuse the letter of a record with a NUL in its text.
    """
    return sql.SQL(
        "CREATE TABLE IF NOT EXISTS {} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "at timestamptz NOT NULL DEFAULT now(), letter json NOT NULL)"
    ).format(identifier(table))


def letters_insert(table: str) -> sql.Composed:
    """The statement that writes dead letters."""
    return sql.SQL("INSERT INTO {} (letter) SELECT v::json FROM unnest(%s::text[]) AS v").format(
        identifier(table)
    )
