"""The plug-in `postgres`; imports the client only where one is made."""

from __future__ import annotations

from typing import Final

from kafka_etl.contracts import (
    Deployment,
    Guarantee,
    Label,
    Preflight,
    SinkPlugin,
    Store,
    require_extra,
)
from kafka_etl_connectors.postgres.settings import PostgresSettings


def _require_client() -> None:
    """Check that the client is installed, without importing it.

    Raises:
        ExtraMissing: The client is not installed.
    """
    require_extra("postgres", "the sink postgres needs the package", "psycopg")


def _build(settings: PostgresSettings, deployment: Deployment) -> Store:
    _require_client()
    from kafka_etl_connectors.postgres.store import PostgresStore  # noqa: PLC0415 - the client

    return PostgresStore(settings, deployment)


def _check(settings: PostgresSettings, deployment: Deployment) -> Preflight:
    _require_client()
    from kafka_etl_connectors.postgres.check import check  # noqa: PLC0415 - likewise

    return check(settings, deployment)


SINK: Final = SinkPlugin(
    settings=PostgresSettings,
    label=lambda _settings: Label(Guarantee.EXACTLY_ONCE, "rows and offsets in one transaction"),
    build=_build,
    summary="rows of a table in PostgreSQL, in one transaction with the offsets",
    check=_check,
    letters="table",
    require=_require_client,
)
