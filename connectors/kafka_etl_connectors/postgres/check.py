"""Preflight: the server, the table with its columns, keys and rights, the store's own tables."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Final

import psycopg
from psycopg import sql

from kafka_etl.contracts import Column, Deployment, Preflight, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl.table_settings import check_alike, mapped_columns
from kafka_etl_connectors.postgres.connection import (
    Connection,
    connected,
    identifier,
    identifiers,
    unreachable,
)
from kafka_etl_connectors.postgres.offsets import OffsetTable
from kafka_etl_connectors.postgres.schema import (
    columns_of,
    is_unlogged,
    missing_rights,
    table_names,
    unique_keys,
)
from kafka_etl_connectors.postgres.settings import PostgresSettings, check_name, parts_of
from kafka_etl_connectors.postgres.store import letters_ddl

_LOCK: Final = 0x6B61666B
"""Key of the advisory lock under which tables are made; `kafk` in ASCII."""
_RACES: Final = frozenset({"23505", "42P07", "42701", "42710"})
"""Another preflight has made the same table or column at this moment."""
_RIGHTS: Final = {
    "insert": ("INSERT",),
    "upsert": ("SELECT", "INSERT", "UPDATE"),
    "replace": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}


def check(settings: PostgresSettings, deployment: Deployment) -> Preflight:
    """Connect, make what is missing and may be made, and read the columns.

    Raises:
        Unreachable: The server is away.
        SinkFailed: The server refuses the user, or the table does not fit the settings.
    """
    try:
        connection = connected(settings, f"kafka-etl {deployment.pipeline} preflight")
    except Unreachable as error:
        raise _final(error) from error
    try:
        with connection:
            if not deployment.looks_only:
                return _checked(connection, settings, deployment)
            with connection.transaction(force_rollback=True):  # tables are made in transactions
                return _checked(connection, settings, deployment)
    except psycopg.Error as error:
        raise _final(unreachable(error)) from error


def _final(away: Unreachable) -> Exception:
    """What a user has to mend stops the pipeline at once; else the server is waited for."""
    if away.mend:
        return SinkFailed(away.reason, "Mend that, and start the pipeline again.")
    return away


def _checked(
    connection: Connection, settings: PostgresSettings, deployment: Deployment
) -> Preflight:
    offsets = OffsetTable(
        settings.offsets.table, settings.offsets.name or deployment.group, deployment.cluster
    )
    made = _own_table(connection, settings.offsets.table, offsets.ddl())
    if deployment.letter_table is not None:
        _check_letters(deployment.letter_table)
        made += _own_table(
            connection, deployment.letter_table, letters_ddl(deployment.letter_table)
        )
    columns: tuple[Column, ...] = ()
    for one in settings.each_table():
        made += _target_table(connection, one)
        found = _checked_table(connection, one)
        columns = columns or found
        check_alike(settings.table, columns, one.table, found)
    other = offsets.other_cluster(connection) if deployment.cluster else ""
    if other:
        raise SinkFailed(
            f"the offsets in {settings.offsets.table} are of another Kafka cluster, {other}; this "
            f"one is {deployment.cluster}",
            "Give this pipeline offsets of its own: sink.with.offsets.name.",
        )
    unlogged = [
        f"table {table} is UNLOGGED: a crash of the server empties it, and the offsets stay"
        for table in (settings.table, *settings.routes)
        if is_unlogged(connection, table)
    ]
    notes = unlogged if deployment.looks_only else made + unlogged
    return Preflight(columns=columns, notes=tuple(notes))


def _checked_table(connection: Connection, settings: PostgresSettings) -> tuple[Column, ...]:
    """The columns of a table that fits the settings."""
    columns = columns_of(connection, settings.table)
    if not columns:
        raise _no_table(connection, settings)
    mapped_columns(settings, columns)
    _check_key(connection, settings)
    _check_rights(connection, settings)
    return columns


def _check_letters(table: str) -> None:
    try:
        parts_of(table)
    except ValueError as error:
        raise SinkFailed(f"dead_letter.table: {error}", "Correct it.") from None


def _own_table(connection: Connection, name: str, ddl: sql.Composed) -> list[str]:
    """Make a table of the store's own, if it is missing; return what was run."""
    if columns_of(connection, name):
        return []
    return _run(connection, [ddl], lambda: bool(columns_of(connection, name)))


def _target_table(connection: Connection, settings: PostgresSettings) -> list[str]:
    """Make the table, or add its missing columns, where the settings say so."""
    present = {column.name for column in columns_of(connection, settings.table)}
    table = identifier(settings.table)
    if not present:
        if not settings.create:
            return []
        fields = [_field(name, kind) for name, kind in settings.types.items()]
        if settings.key_columns:
            keys = identifiers(settings.key_columns)
            fields.append(sql.SQL("PRIMARY KEY ({})").format(keys))
        ddl = sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(fields))
        return _run(connection, [ddl], lambda: bool(columns_of(connection, settings.table)))
    new = [name for name in settings.types if name not in present] if settings.evolve else []
    statements = [
        sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(table, _field(name, settings.types[name]))
        for name in new
    ]

    def are_there() -> bool:
        return set(new) <= {column.name for column in columns_of(connection, settings.table)}

    return _run(connection, statements, are_there)


def _field(name: str, kind: str) -> sql.Composed:
    check_name(name)
    raw: Any = kind  # the user's own SQL, of which there is no closed list
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(raw))


def _run(
    connection: Connection, statements: list[sql.Composed], is_done: Callable[[], bool]
) -> list[str]:
    """Run statements that make something, one preflight at a time.

    Returns:
        What was run; empty: another preflight was faster.

    Raises:
        SinkFailed: The user may not do that.
    """
    if not statements:
        return []
    shown = [statement.as_string(connection).strip() for statement in statements]
    try:
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '5s'")
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            if is_done():
                return []
            for statement in statements:
                connection.execute(statement)
    except psycopg.Error as error:
        if error.sqlstate in _RACES and is_done():
            return []
        raise SinkFailed(
            f"{unreachable(error).reason}, when the pipeline ran: {'; '.join(shown)}",
            "Run it as a user who may, or correct sink.with.",
        ) from error
    return shown


def _no_table(connection: Connection, settings: PostgresSettings) -> SinkFailed:
    known = table_names(connection)
    near = difflib.get_close_matches(settings.table.lower(), [name.lower() for name in known], n=3)
    names = [name for name in known if name.lower() in near]
    hint = f"; there is {', '.join(names)}" if names else ""
    return SinkFailed(
        f"there is no table {settings.table}{hint}",
        "Create it, or say `create: true` and give `types: {column: SQL type}`.",
    )


def _check_key(connection: Connection, settings: PostgresSettings) -> None:
    if settings.mode == "insert":
        return
    if frozenset(settings.key_columns) in unique_keys(connection, settings.table):
        return
    ddl = sql.SQL("CREATE UNIQUE INDEX ON {} ({})").format(
        identifier(settings.table), identifiers(settings.key_columns)
    )
    raise SinkFailed(
        f"table {settings.table} has no unique index exactly on "
        f"{', '.join(settings.key_columns)} that is neither partial nor deferrable, which `mode: "
        f"{settings.mode}` needs",
        f"Run: {ddl.as_string(connection)};",
    )


def _check_rights(connection: Connection, settings: PostgresSettings) -> None:
    rights = list(_RIGHTS[settings.mode])
    if settings.deletes and "DELETE" not in rights:
        rights.append("DELETE")
    missing = missing_rights(connection, settings.table, rights)
    if missing:
        listed = ", ".join(missing)
        table = identifier(settings.table).as_string(connection)
        user = sql.Identifier(connection.info.user).as_string(connection)
        raise SinkFailed(
            f"user {connection.info.user} has no right to {listed} on {settings.table}",
            f"Run: GRANT {listed} ON {table} TO {user};",
        )
