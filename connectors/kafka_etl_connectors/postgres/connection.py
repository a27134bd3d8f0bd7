"""Connections to the server, and the server's errors in words."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.types.json import set_json_dumps

from kafka_etl.contracts import Refused, Unreachable
from kafka_etl_connectors.postgres.settings import PostgresSettings, parts_of
from kafka_etl_connectors.postgres.verdict import LOCKED, Fault, fault_of

Connection = psycopg.Connection[tuple[Any, ...]]

_PARTS: Final = (
    "host", "port", "dbname", "user", "service", "sslmode", "sslrootcert", "sslcert", "sslkey",
)  # fmt: skip
_SESSION: Final = (
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3 "
    "-c tcp_user_timeout=60000"
)
"""The server notices within a minute that this host is gone, and lets go of the locks."""
_ALIVE: Final = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_REFUSED: Final = re.compile(
    r"authentication failed|no pg_hba\.conf entry|pg_hba\.conf rejects|does not exist|"
    r"no password supplied|permission denied|is not permitted to log in|certificate|"
    r"server does not support SSL|could not read root certificate|definition of service",
    re.IGNORECASE,
)
"""What a server, or libpq, says of a wrong address, name or password: libpq gives no SQLSTATE."""
_CANCEL_TIMEOUT: Final = 2.0


def connected(settings: PostgresSettings, application: str) -> Connection:
    """Connect to a server that takes writes.

    Raises:
        Unreachable: The server is away, or refuses the user.
    """
    given: dict[str, Any] = dict(_ALIVE)
    given |= {name: value for name in _PARTS if (value := getattr(settings, name)) is not None}
    password = None if settings.password is None else settings.password.get_secret_value()
    if settings.pooling == "session":
        # A pooler refuses options that it does not know; what is needed is set LOCAL, too.
        given["options"] = f"{_SESSION} {settings.options or ''}".strip()
    elif settings.options:
        given["options"] = settings.options
    try:
        connection = psycopg.connect(
            **given,
            password=password,
            connect_timeout=int(settings.connect_timeout),
            target_session_attrs="read-write",
            application_name=application[:63],
            client_encoding="utf8",
            autocommit=True,
            prepare_threshold=None if settings.pooling == "transaction" else 5,
        )
    except psycopg.Error as error:
        raise _not_connected(error, password) from None
    set_json_dumps(str.encode, connection)  # JSON comes as text
    return connection


def _not_connected(error: psycopg.Error, password: str | None) -> Unreachable:
    said = " ".join(str(error).split())
    if password:
        said = said.replace(password, "***")
    if _REFUSED.search(said):
        return Unreachable(
            f"PostgreSQL refuses the connection: {said}; correct host, user, password or dbname "
            "under sink.with, or the server's pg_hba.conf",
            mend=True,
        )
    return Unreachable(f"PostgreSQL cannot be reached: {said}")


def interrupt(connection: Connection) -> None:
    """Break the call under way on another thread: ask the server first, then cut the line."""
    with suppress(psycopg.Error, OSError):
        connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
    with suppress(psycopg.Error, OSError):
        line = socket.socket(fileno=connection.fileno())
        try:
            line.shutdown(socket.SHUT_RDWR)
        finally:
            line.detach()  # the descriptor is the client's, which closes it


def identifier(name: str) -> sql.Identifier:
    """A table's name as SQL."""
    return sql.Identifier(*parts_of(name))


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Columns as SQL, with commas between them."""
    return sql.SQL(", ").join(map(sql.Identifier, names))


def fault(error: psycopg.Error) -> Fault:
    """Whose fault an error is."""
    return fault_of(error.sqlstate, error.diag.source_function)


def refused(error: psycopg.Error) -> Refused:
    """The verdict on a row: the server's words, the row's data among them, are for its letter."""
    diag = error.diag
    parts = [diag.message_primary or str(error)]
    if diag.message_detail:
        parts.append(diag.message_detail)
    if diag.constraint_name:
        parts.append(f"constraint {diag.constraint_name}")
    if diag.column_name:
        parts.append(f"column {diag.column_name}")
    return Refused(error.sqlstate or "", "; ".join(parts), too_large=error.sqlstate == "54000")


def unreachable(error: psycopg.Error) -> Unreachable:
    """The target's fault in words that hold no row's data."""
    said = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    state = error.sqlstate
    if state == LOCKED:
        return Unreachable(f"PostgreSQL: another transaction holds a lock: {said} ({state})")
    mend = fault(error) is Fault.MEND
    if state == "42501":
        said += "; GRANT the right to the user"
    if state == "53100":
        said += "; free some space"
    return Unreachable(f"PostgreSQL: {said}" + (f" ({state})" if state else ""), mend=mend)
