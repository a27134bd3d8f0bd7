"""Settings of the sink `postgres`."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from kafka_etl.table_settings import OffsetTableSettings, SqlTableSettings
from kafka_etl.units import Duration

LONGEST_NAME: Final = 63
"""Bytes of a name that the server keeps; a longer one would be cut without an error."""
_PART: Final = re.compile(r'"((?:[^"]|"")+)"|([^."]+)')
_IN_URL: Final = frozenset(
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "options", "service", "connect_timeout"]
)
_SCHEMES: Final = ("postgres", "postgresql")


def parts_of(name: str) -> tuple[str, ...]:
    """Schema and table of `table`, `schema.table` or `"Sche.ma"."table"`; the case is kept.

    Raises:
        ValueError: The text is no such name, or a part of the name is too long.
    """
    parts: list[str] = []
    at = 0
    while (found := _PART.match(name, at)) is not None:
        parts.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        at = found.end() + 1
        if found.end() == len(name) or name[found.end()] != ".":
            break
    if at != len(name) + 1 or len(parts) not in (1, 2) or "\0" in name:
        raise ValueError(f"{name!r} should be a table, or schema.table")
    for part in parts:
        check_name(part)
    return tuple(parts)


def check_name(name: str) -> None:
    """Raise `ValueError` for a name that the server would cut."""
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"{name!r} has more than {LONGEST_NAME} bytes, the most of a name")


class QualifiedOffsetSettings(OffsetTableSettings):
    """Where the store keeps the offsets; the table's name may have a schema."""

    @field_validator("table")
    @classmethod
    def _is_a_name(cls, table: str) -> str:
        parts_of(table)
        return table


class PostgresSettings(SqlTableSettings):
    """Settings of the sink `postgres`; a part of the address that is left out is libpq's default.

    Attributes:
        url: Address as `postgresql://user:password@host:port/dbname?sslmode=…`, instead of parts.
        host: Host, several with commas between them, or the folder of a Unix socket.
        port: Port.
        dbname: Database.
        user: User.
        password: Password.
        service: Entry of the service file.
        sslmode: How TLS is used, as libpq names it.
        sslrootcert: File with the certificates of the authorities to trust, or `system`.
        sslcert: File with the client's own certificate.
        sslkey: File with the key of `sslcert`.
        options: Further settings of the session, as `-c name=value`.
        offsets: Where the offsets are.
        types: Column -> SQL type, for `create` and `evolve`.
        pooling: `session`: the connection is the sink's own. `transaction`: a pooler, such as
            pgbouncer, may give each transaction another connection.
        connect_timeout: How long to wait for a connection.
        lock_timeout: How long to wait for a lock that another transaction holds.
    """

    url: SecretStr | None = None
    host: str | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    dbname: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    service: str | None = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = (
        None
    )
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    options: str | None = None
    offsets: QualifiedOffsetSettings = QualifiedOffsetSettings()
    types: dict[str, str] = Field(default_factory=dict[str, str])
    pooling: Literal["session", "transaction"] = "session"
    connect_timeout: Duration = Field(default=10.0, ge=2, le=600)
    lock_timeout: Duration = Field(default=10.0, gt=0, le=600)

    @model_validator(mode="before")
    @classmethod
    def _url_is_read(cls, given: Any) -> Any:
        """Read the parts out of `url`; the password is no part of any text from here on."""
        if not isinstance(given, dict):
            return given
        named = cast("dict[str, Any]", given)
        url = named.get("url")
        if not isinstance(url, str):
            return named
        parts = _parsed(url)
        for name in parts.keys() & named.keys():
            raise ValueError(f"`{name}` is set in `url`, and beside it")
        return {**{name: value for name, value in named.items() if name != "url"}, **parts}

    @field_validator("table")
    @classmethod
    def _is_a_name(cls, table: str) -> str:
        parts_of(table)
        return table

    @field_validator("routes")
    @classmethod
    def _are_names(cls, routes: tuple[str, ...]) -> tuple[str, ...]:
        for table in routes:
            parts_of(table)
        return routes

    @model_validator(mode="after")
    def _names_fit(self) -> PostgresSettings:
        for name in {*(self.columns or {}), *self.key_columns, *self.types}:
            check_name(name)
        if (self.create or self.evolve) and not self.types:
            raise ValueError(
                "`create` and `evolve` need `types`, the SQL type of each column: "
                "`types: {id: bigint, paid: 'numeric(12, 2)'}`"
            )
        return self


def _parsed(url: str) -> dict[str, Any]:
    """The parts of an address.

    Raises:
        ValueError: The text is no address; the error does not quote the text.
    """
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise ValueError("`url` should be postgresql://user@host:port/dbname") from None
    if split.scheme not in _SCHEMES or split.fragment:
        raise ValueError("`url` should begin with postgresql:// and have no fragment")
    found: dict[str, Any] = {
        "host": split.hostname,
        "port": port,
        "dbname": unquote(split.path.lstrip("/")),
        "user": unquote(split.username or ""),
        "password": unquote(split.password or ""),
    }
    for name, value in parse_qsl(split.query):
        if name not in _IN_URL:
            raise ValueError(f"`url` sets {name}, which is none of {', '.join(sorted(_IN_URL))}")
        found[name] = f"{value}s" if name == "connect_timeout" else value
    return {name: value for name, value in found.items() if value}
