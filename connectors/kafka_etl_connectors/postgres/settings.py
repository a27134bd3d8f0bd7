"""Settings of the sink `postgres`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator

from kafka_etl.contracts import Settings
from kafka_etl.table_settings import TableSettings
from kafka_etl.units import Duration


class OffsetSettings(Settings):
    """Where the store keeps the offsets.

    Attributes:
        table: Table of the offsets, with its schema if need be; made if it is missing.
        name: Name under which they stand; default: the consumer group.
    """

    table: str = Field(default="kafka_etl_offsets", min_length=1)
    name: str | None = Field(default=None, min_length=1)


class PostgresSettings(TableSettings):
    """Settings of the sink `postgres`.

    Attributes:
        url: The server and database as one URL, instead of the parts below.
        host: Host name, address, or folder of a Unix socket; several, separated by commas, are
            tried in turn until one takes writes.
        port: Port.
        dbname: Database.
        user: User.
        password: Password.
        service: Name of an entry in a `pg_service.conf`, instead of all of these.
        sslmode: How the connection is secured, in the words of libpq.
        sslrootcert: File with the certificates that vouch for the server.
        sslcert: File with the client's certificate.
        sslkey: File with the client's key.
        connect_timeout: Seconds for one try to connect.
        lock_timeout: Seconds to wait for a row that another transaction holds.
        pooling: `transaction`: the server stands behind a pooler that gives each transaction
            another session.
        types: Column -> SQL type, for `create` and `evolve`.
        offsets: Where the offsets are.
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
    connect_timeout: Duration = Field(default=10.0, ge=1, le=300)
    lock_timeout: Duration = Field(default=10.0, gt=0, le=600)
    pooling: Literal["session", "transaction"] = "session"
    types: dict[str, str] = Field(default_factory=dict[str, str])
    offsets: OffsetSettings = OffsetSettings()

    @model_validator(mode="after")
    def _one_way_to_connect(self) -> PostgresSettings:
        if self.url is None and self.host is None and self.service is None:
            raise ValueError("needs `host` (and `dbname`, `user`, `password`), `url` or `service`")
        if self.url is not None and (self.host is not None or self.service is not None):
            raise ValueError("takes `url`, or `host`, or `service`, not several of them")
        return self

    @property
    def place(self) -> str:
        """The server for messages, without a secret."""
        if self.service is not None:
            return f"service {self.service}"
        return f"{self.host}:{self.port or 5432}" if self.host else "the server of `url`"
