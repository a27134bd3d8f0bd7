"""The plug-ins `objects` and `parquet`; import the client only where one is made."""

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
from kafka_etl_connectors.objects.settings import ObjectsSettings, ObjectTarget, ParquetSettings

_BECAUSE: Final = "for readers of the manifests; for readers that list folders effectively_once"


def _label(_settings: ObjectTarget) -> Label:
    return Label(Guarantee.EXACTLY_ONCE, _BECAUSE)


def _require_client() -> None:
    """Check that the clients are installed, without importing them.

    Raises:
        ExtraMissing: A package is not installed.
    """
    require_extra("objects", "the sinks objects and parquet need", "obstore", "pyarrow")


def _build(settings: ObjectsSettings | ParquetSettings, deployment: Deployment) -> Store:
    _require_client()
    from kafka_etl_connectors.objects.assemble import store  # noqa: PLC0415 - the client

    return store(settings, deployment)


def _check(settings: ObjectsSettings | ParquetSettings, deployment: Deployment) -> Preflight:
    _require_client()
    from kafka_etl_connectors.objects.check import check  # noqa: PLC0415 - the client

    return check(settings, deployment)


SINK: Final[SinkPlugin[ObjectsSettings]] = SinkPlugin(
    settings=ObjectsSettings,
    label=_label,
    build=_build,
    check=_check,
    summary="files of lines (JSON, text) in S3, Google, Azure or a folder",
    require=_require_client,
)
PARQUET: Final[SinkPlugin[ParquetSettings]] = SinkPlugin(
    settings=ParquetSettings,
    label=_label,
    build=_build,
    check=_check,
    summary="Parquet files in S3, Google, Azure or a folder",
    require=_require_client,
)
