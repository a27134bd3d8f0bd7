"""The plug-in of the sink `postgres`; the client is imported only where it is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from kafka_etl.contracts import Deployment, Guarantee, Label, Preflight, SinkPlugin, Store
from kafka_etl.errors import ExtraMissing
from kafka_etl.table_settings import mapped_columns
from kafka_etl_connectors.postgres.settings import PostgresSettings


def _build(settings: PostgresSettings, deployment: Deployment) -> Store:
    _require_client()
    from kafka_etl_connectors.postgres.store import PostgresStore  # noqa: PLC0415

    columns = mapped_columns(settings, deployment.columns) if deployment.columns else ()
    return PostgresStore(settings, deployment, columns)


def _check(settings: PostgresSettings, deployment: Deployment) -> Preflight:
    _require_client()
    import psycopg  # noqa: PLC0415

    from kafka_etl_connectors.postgres import catalog  # noqa: PLC0415
    from kafka_etl_connectors.postgres.errors import target  # noqa: PLC0415
    from kafka_etl_connectors.postgres.session import connect  # noqa: PLC0415

    try:
        with connect(settings, f"kafka-etl {deployment.pipeline} preflight") as session:
            made = catalog.prepare(session, settings, deployment.letter_table)
            columns = catalog.columns_of(session, settings.table)
            mapped_columns(settings, columns)
            catalog.check_key(session, settings)
    except psycopg.Error as error:
        raise target(error, f"looking at table {settings.table}") from error
    return replace(Preflight(), columns=columns, notes=made)


def _require_client() -> None:
    try:
        import psycopg  # noqa: F401, PLC0415 - only whether it is there
    except ImportError as error:
        raise ExtraMissing(
            "the sink `postgres` needs the extra `postgres`", "pip install 'kafka-etl[postgres]'"
        ) from error


SINK: Final = SinkPlugin(
    settings=PostgresSettings,
    label=lambda _settings: Label(
        Guarantee.EXACTLY_ONCE, "rows and offsets in one transaction of the database"
    ),
    build=_build,
    summary="rows of a PostgreSQL table, in one transaction with the offsets",
    check=_check,
    letters="table",
)
