"""The plug-in of the sink `redis`; the client is imported only where it is used."""

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
from kafka_etl_connectors.redis.settings import RedisSettings


def _build(settings: RedisSettings, deployment: Deployment) -> Store:
    _require_client()
    from kafka_etl_connectors.redis.store import RedisStore  # noqa: PLC0415

    return RedisStore(settings, deployment)


def _check(settings: RedisSettings, deployment: Deployment) -> Preflight:
    _require_client()
    from kafka_etl_connectors.redis.check import check  # noqa: PLC0415

    return check(settings, deployment)


def _require_client() -> None:
    require_extra("redis", "the sink `redis` needs the package", "redis")


SINK: Final = SinkPlugin(
    settings=RedisSettings,
    label=lambda _settings: Label(
        Guarantee.EFFECTIVELY_ONCE,
        "one script writes rows and offsets, but a server that fails over takes rows back that "
        "were read, and they come again",
    ),
    build=_build,
    summary="entries of a Redis stream, list, set or hash, or keys, by one script with the offsets",
    check=_check,
    require=_require_client,
)
