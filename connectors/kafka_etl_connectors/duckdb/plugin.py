"""The plug-in of the sink `duckdb`; the library is imported only where it is used."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from kafka_etl.contracts import (
    Deployment,
    Guarantee,
    Label,
    Preflight,
    SinkPlugin,
    Store,
    Unreachable,
    require_extra,
)
from kafka_etl.errors import SinkFailed
from kafka_etl.sql_tables import check_tables
from kafka_etl.table_settings import mapped_columns
from kafka_etl_connectors.duckdb.settings import DuckdbSettings


def _build(settings: DuckdbSettings, deployment: Deployment) -> Store:
    _require_library()
    from kafka_etl_connectors.duckdb.store import DuckdbStore  # noqa: PLC0415

    columns = mapped_columns(settings, deployment.columns) if deployment.columns else ()
    return DuckdbStore(settings, deployment, columns)


def _check(settings: DuckdbSettings, deployment: Deployment) -> Preflight:
    _require_library()
    import duckdb  # noqa: PLC0415

    from kafka_etl_connectors.duckdb import schema  # noqa: PLC0415

    path = settings.file_below(deployment.folder)
    if deployment.looks_only and not Path(path).exists():
        return Preflight(notes=(f"the file {path} would be made",))
    try:
        connection: Any = duckdb.connect(path, read_only=deployment.looks_only)
        try:
            if deployment.letter_table is not None and not deployment.looks_only:
                connection.execute(schema.letters_ddl(deployment.letter_table))
            found, made = check_tables(
                settings,
                example="id: BIGINT",
                columns_of=partial(schema.columns_of, connection),
                run=None if deployment.looks_only else connection.execute,
                check=partial(schema.check_table, connection),
            )
        finally:
            connection.close()
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        if schema.is_held(said):
            if deployment.looks_only:
                return Preflight(notes=(f"{path} is in use, so nobody has looked at it",))
            raise Unreachable(f"DuckDB: {said}") from error
        raise SinkFailed(f"{path} cannot be used: {said}", "Correct `path`.") from error
    return replace(Preflight(), columns=found, notes=made)


def _require_library() -> None:
    require_extra("duckdb", "the sink `duckdb` needs the package", "duckdb")


SINK: Final = SinkPlugin(
    settings=DuckdbSettings,
    label=lambda _settings: Label(
        Guarantee.EXACTLY_ONCE, "rows and offsets in one transaction of the file"
    ),
    build=_build,
    summary="rows of a table in a DuckDB file, in one transaction with the offsets",
    check=_check,
    letters="table",
    require=_require_library,
)
