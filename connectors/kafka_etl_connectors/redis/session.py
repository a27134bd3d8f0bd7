"""A connection to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from kafka_etl_connectors.redis.settings import RedisSettings


def client_of(settings: RedisSettings, folder: Path, name: str) -> Any:
    """Make a client that connects at its first command, and never repeats one by itself.

    The client's type hints would have every answer be two things, so they are left out.

    Args:
        settings: The server.
        folder: Where relative paths begin.
        name: Shown by `CLIENT LIST`.
    """
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "".join(sign if "!" <= sign <= "~" else "-" for sign in name),
    }
    if settings.encrypted:
        for option, path in (
            ("ssl_ca_certs", settings.tls_ca),
            ("ssl_certfile", settings.tls_cert),
            ("ssl_keyfile", settings.tls_key),
        ):
            if path is not None:
                options[option] = str(folder / path)
    if settings.url is not None:
        library: Any = redis
        return library.Redis.from_url(settings.url.get_secret_value(), **options)
    if settings.encrypted:
        options["ssl"] = True
    password = settings.password
    return redis.Redis(
        host=settings.host or "",
        port=settings.port,
        db=settings.db,
        username=settings.username,
        password=None if password is None else password.get_secret_value(),
        **options,
    )
