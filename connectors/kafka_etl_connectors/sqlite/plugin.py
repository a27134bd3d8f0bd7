"""The plug-in of the sink `sqlite`."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from kafka_etl.contracts import Deployment, Guarantee, Label, Preflight, SinkPlugin, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl.sql_tables import check_tables
from kafka_etl.table_settings import mapped_columns
from kafka_etl_connectors.sqlite.schema import check_table, columns_of, is_held, letters_ddl
from kafka_etl_connectors.sqlite.settings import SqliteSettings
from kafka_etl_connectors.sqlite.store import SqliteStore


def _build(settings: SqliteSettings, deployment: Deployment) -> SqliteStore:
    columns = mapped_columns(settings, deployment.columns) if deployment.columns else ()
    return SqliteStore(settings, deployment, columns)


def _check(settings: SqliteSettings, deployment: Deployment) -> Preflight:
    path = settings.file_below(deployment.folder)
    if deployment.looks_only and not Path(path).exists():
        return Preflight(notes=(f"the file {path} would be made",))
    try:
        connection = sqlite3.connect(path, timeout=settings.lock_timeout, isolation_level=None)
        try:
            if deployment.letter_table is not None and not deployment.looks_only:
                connection.execute(letters_ddl(deployment.letter_table))
            found, made = check_tables(
                settings,
                example="id: INTEGER",
                columns_of=partial(columns_of, connection),
                run=None if deployment.looks_only else connection.execute,
                check=partial(check_table, connection),
            )
        finally:
            connection.close()
    except sqlite3.Error as error:
        if is_held(error):
            if deployment.looks_only:
                return Preflight(notes=(f"{path} is in use, so nobody has looked at it",))
            raise Unreachable(f"SQLite: {error}") from error
        raise SinkFailed(
            f"{path} cannot be used: {error}", "Correct `path`, or its rights, or free the file."
        ) from error
    return replace(Preflight(), columns=found, notes=made)


SINK: Final = SinkPlugin(
    settings=SqliteSettings,
    label=lambda _settings: Label(
        Guarantee.EXACTLY_ONCE, "rows and offsets in one transaction of the file"
    ),
    build=_build,
    summary="rows of a table in a SQLite file, in one transaction with the offsets",
    check=_check,
    letters="table",
)
