"""Settings of the sink `redis`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from kafka_etl.contracts import ByteSinkSettings, OffsetSettings
from kafka_etl.routed_settings import RoutedSettings
from kafka_etl.units import Duration

RESERVED: Final = "kafka-etl:{"
"""How the keys of offsets begin; no row is written to such a key."""
_KEY: Final = re.compile(r"[^{}]*(\{[^{}]+\}[^{}]*)?")


class RedisSettings(RoutedSettings, ByteSinkSettings):
    """Settings of the sink `redis`.

    Attributes:
        url: The server as one URL, `redis://` or `rediss://`, instead of the parts below.
        host: Host name or address.
        port: Port.
        db: Number of the database.
        username: User; None: the default user.
        password: Password.
        tls: Whether the connection is encrypted.
        tls_ca: File with the authorities to trust, PEM; None: those of the system. A relative path
            begins at the folder of the pipeline file, here and below.
        tls_cert: File with the client's certificate, PEM.
        tls_key: File with the key of that certificate, PEM.
        timeout: How long to wait for an answer, or for a connection.
        into: What the rows become. `stream`: entries. `list`: elements at the end. `set`: members.
            `hash`: fields, named by the record's key. `string`: a Redis key each.
        name: Redis key of the stream, list, set or hash.
        prefix: Text before the record's key; both are the Redis key. `into: string` only.
        maxlen: Approximate number of entries that a stream keeps; None: all.
        offsets: Where the offsets are.
    """

    url: SecretStr | None = None
    host: str | None = Field(default=None, min_length=1, examples=["localhost"])
    port: int = Field(default=6379, ge=1, le=65535)
    db: int = Field(default=0, ge=0)
    username: str | None = None
    password: SecretStr | None = None
    tls: bool = False
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    timeout: Duration = Field(default=10.0, gt=0, le=600)
    into: Literal["stream", "list", "set", "hash", "string"] = Field(examples=["stream"])
    name: str | None = Field(default=None, min_length=1, examples=["orders"])
    prefix: str | None = Field(default=None, min_length=1)
    maxlen: int | None = Field(default=None, ge=1)
    offsets: OffsetSettings = OffsetSettings()

    @field_validator("url")
    @classmethod
    def _url_is_one(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.get_secret_value())
            good = parts.scheme in ("redis", "rediss") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ValueError("should be redis://[user:password@]host[:port][/db], or rediss://…")
        return url

    @field_validator("name", "prefix")
    @classmethod
    def _key_has_one_tag(cls, key: str | None) -> str | None:
        if key is not None and not _KEY.fullmatch(key):
            raise ValueError("may hold one pair of braces, a hash tag such as {orders}")
        if key is not None and key.startswith(RESERVED):
            raise ValueError(f"should not begin with {RESERVED}, as the keys of offsets do")
        return key

    @model_validator(mode="after")
    def _one_way_to_connect(self) -> RedisSettings:
        if (self.url is None) == (self.host is None):
            raise ValueError("needs `host` (and `port`, `username`, `password`) or `url`, one way")
        parts = ("port", "db", "username", "password", "tls")
        both = [part for part in parts if part in self.model_fields_set]
        if self.url is not None and both:
            raise ValueError(f"`{both[0]}` goes with `host`; with `url` it is part of the URL")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("`tls_cert` and `tls_key` go together")
        if not self.encrypted and (self.tls_ca is not None or self.tls_cert is not None):
            raise ValueError("`tls_ca` and `tls_cert` are of no use without TLS")
        return self

    @model_validator(mode="after")
    def _target_fits(self) -> RedisSettings:
        wanted, other = ("prefix", "name") if self.into == "string" else ("name", "prefix")
        if getattr(self, wanted) is None:
            raise ValueError(f"`into: {self.into}` needs `{wanted}`")
        if getattr(self, other) is not None:
            raise ValueError(f"`into: {self.into}` takes `{wanted}`, not `{other}`")
        if self.maxlen is not None and self.into != "stream":
            raise ValueError("`maxlen` goes with `into: stream` only")
        return self

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        if self.url is None:
            return self.tls
        return self.url.get_secret_value().startswith("rediss:")

    @property
    def place(self) -> str:
        """The server for messages, without a secret."""
        if self.url is None:
            return f"{self.host}:{self.port}"
        parts = urlsplit(self.url.get_secret_value())
        return f"{parts.hostname}:{parts.port or self.port}"

    @property
    def target(self) -> str:
        """The Redis key of the rows, or the text before their keys."""
        return self.name or self.prefix or ""

    def offsets_key(self, group: str) -> str:
        """The Redis key of the offsets: in the slot of the target, because of the hash tag."""
        tag = re.search(r"\{([^{}]+)\}", self.target)
        return f"{RESERVED}{tag[1] if tag else self.target}}}:{self.offsets.name or group}"
