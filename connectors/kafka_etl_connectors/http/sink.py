"""The plug-in `http`; imports the client only where one is made."""

from __future__ import annotations

from typing import Final

from kafka_etl.contracts import (
    Deployment,
    Guarantee,
    Label,
    Preflight,
    Sender,
    SinkPlugin,
    Writer,
    require_extra,
)
from kafka_etl_connectors.http.settings import HttpSettings


def label(settings: HttpSettings) -> Label:
    """What the sink promises with these settings."""
    if not settings.idempotent:
        return Label(Guarantee.AT_LEAST_ONCE, "after a crash requests are sent again")
    if settings.mode == "record":
        header = settings.idempotency_header
        because = f"each request carries its record's id in {header}, which the server must honour"
    else:
        because = "`idempotent: true`: the server must recognise records that come again"
    return Label(Guarantee.EFFECTIVELY_ONCE, because, "the server's memory of ids")


def _require_client() -> None:
    """Check that the client is installed, without importing it.

    Raises:
        ExtraMissing: The client is not installed.
    """
    require_extra("http", "the sink http needs the package", "httpx2")


def _build(settings: HttpSettings, deployment: Deployment) -> Sender | Writer:
    _require_client()
    from kafka_etl_connectors.http.doors import door  # noqa: PLC0415 - the client, where it is used

    return door(settings, deployment.folder)


def _check(settings: HttpSettings, deployment: Deployment) -> Preflight:
    _require_client()
    from kafka_etl_connectors.http.check import check  # noqa: PLC0415 - likewise

    return check(settings, deployment)


SINK: Final = SinkPlugin(
    settings=HttpSettings,
    label=label,
    build=_build,
    check=_check,
    summary="requests to an HTTP server, one for each record or for each set of them",
    require=_require_client,
)
