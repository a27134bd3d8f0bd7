"""A session with the server: connecting, and what stands in the way of that."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import pq, sql
from psycopg.abc import Buffer
from psycopg.adapt import Dumper

from kafka_etl.contracts import Unreachable
from kafka_etl_connectors.postgres.errors import target
from kafka_etl_connectors.postgres.settings import PostgresSettings

Session = psycopg.Connection[tuple[Any, ...]]

_JSON_OID: Final = 114
_JSONB_OID: Final = 3802
_LONGEST_NAME: Final = 63
_SERVER: Final = (
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=60000"
)
"""A session whose client has died is ended within a minute, and its locks with it."""


class _JsonText(Dumper):
    """Writes text that is JSON already."""

    format = pq.Format.BINARY
    oid = _JSON_OID

    def dump(self, obj: Any) -> Buffer | None:
        return str(obj).encode()


class _JsonbText(Dumper):
    """Writes text that is JSON already, behind the version that `jsonb` wants."""

    format = pq.Format.BINARY
    oid = _JSONB_OID

    def dump(self, obj: Any) -> Buffer | None:
        return b"\x01" + str(obj).encode()


def connect(settings: PostgresSettings, name: str) -> Session:
    """Open a session that may write.

    Args:
        settings: Where, and as whom.
        name: Name of the session in `pg_stat_activity`.

    Raises:
        Unreachable: The server is away, or does not take this user.
    """
    try:
        session = psycopg.connect(
            settings.url.get_secret_value() if settings.url else "",
            autocommit=True,
            prepare_threshold=None if settings.pooling == "transaction" else 5,
            **_parameters(settings, name),
        )
    except psycopg.Error as error:
        raise target(error, f"connecting to {settings.place}") from error
    session.adapters.register_dumper(None, _JsonText)
    session.adapters.register_dumper(None, _JsonbText)
    if session.read_only:
        session.close()
        raise Unreachable(f"{settings.place} takes no writes", mend=True)
    return session


def _parameters(settings: PostgresSettings, name: str) -> dict[str, Any]:
    password = settings.password
    parameters: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "dbname": settings.dbname,
        "user": settings.user,
        "password": password.get_secret_value() if password else None,
        "service": settings.service,
        "sslmode": settings.sslmode,
        "sslrootcert": settings.sslrootcert,
        "sslcert": settings.sslcert,
        "sslkey": settings.sslkey,
        "application_name": name[:_LONGEST_NAME],
        "connect_timeout": max(2, round(settings.connect_timeout)),
        "target_session_attrs": "read-write",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "options": _SERVER if settings.pooling == "session" else None,
    }
    return {key: value for key, value in parameters.items() if value is not None}


def table(name: str) -> sql.Identifier:
    """A table's name as SQL; `shop.orders` names a schema, too."""
    return sql.Identifier(*name.split("."))


def query(text: str) -> sql.SQL:
    """A statement with `{}` in it for names; the text is ours, never a user's."""
    literal: Any = text
    return sql.SQL(literal)
