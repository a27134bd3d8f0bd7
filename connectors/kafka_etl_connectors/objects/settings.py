"""Settings of the sinks `objects` and `parquet`."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from kafka_etl.contracts import (
    ByteSinkSettings,
    CodecUse,
    Column,
    OffsetSettings,
    Settings,
    UseSettings,
)
from kafka_etl.routed_settings import RoutedSettings
from kafka_etl.table_settings import TableSettings
from kafka_etl.units import Duration, Size
from kafka_etl_connectors.objects.columns import column_of
from kafka_etl_connectors.objects.folders import FolderTemplate

SCHEMES: Final = ("s3", "gs", "az", "file", "memory")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class CredentialSettings(Settings):
    """Keys of an account; without any the client looks where its provider's tools look.

    Attributes:
        access_key_id: S3: the name of the key.
        secret_access_key: S3: the key.
        session_token: S3: the token that goes with a temporary key.
        service_account: Google: path of the file with the account's key.
        account_name: Azure: the account.
        account_key: Azure: the account's key.
        sas_token: Azure: a shared access signature.
    """

    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    service_account: Path | None = None
    account_name: str | None = None
    account_key: SecretStr | None = None
    sas_token: SecretStr | None = None


class RollSettings(Settings):
    """When open files are closed and become objects; the first limit reached counts.

    Attributes:
        bytes: Size of one file, as it is in the store.
        every: Age of the first record in an open file.
        memory: Rows of all open files of a worker that are held in memory; more of them go to disk.
        disk: Size of all open files of a worker; the largest are closed when there is more.
    """

    bytes: Size = Field(default=128 * 1024 * 1024, ge=1)
    every: Duration = Field(default=300.0, gt=0)
    memory: Size = Field(default=256 * 1024 * 1024, ge=1)
    disk: Size = Field(default=10 * 1024 * 1024 * 1024, ge=1)


class ObjectOffsetSettings(OffsetSettings):
    """Where the offsets are kept among the objects; the name is a folder's."""

    @field_validator("name")
    @classmethod
    def _is_a_plain_word(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("should be letters, digits, dots, dashes and underscores")
        return name


class BucketSettings(Settings):
    """A place for objects.

    Attributes:
        url: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `file:///FOLDER`,
            or for tests within one process `memory://NAME`.
        endpoint: URL of an S3-compatible server; None: the provider's own.
        region: Region of the bucket.
        allow_http: Whether a server without TLS is allowed.
        credentials: Keys of an account.
    """

    url: str = Field(examples=["s3://lake/raw"])
    endpoint: str | None = None
    region: str | None = None
    allow_http: bool = False
    credentials: CredentialSettings = CredentialSettings()

    @field_validator("url")
    @classmethod
    def _is_known_and_holds_no_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not (parts.netloc or parts.path.strip("/")):
            raise ValueError(f"should begin with one of {', '.join(f'{s}://' for s in SCHEMES)}")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("should be a place alone; keys and tokens go into `credentials`")
        return url.rstrip("/")

    @field_validator("endpoint")
    @classmethod
    def _is_a_server_alone(cls, endpoint: str | None) -> str | None:
        parts = urlsplit(endpoint or "https://")
        if parts.scheme not in {"http", "https"} or parts.username or parts.password or parts.query:
            raise ValueError("should be http(s)://HOST:PORT; keys go into `credentials`")
        return endpoint


class ObjectTarget(RoutedSettings, BucketSettings):
    """Settings that both sinks share.

    Attributes:
        path: Folder of a row's file below the URL: text with `{topic}`, `{partition}`,
            `{timestamp:%Y-%m-%d}` (UTC), `{to}` (where an operator or `set` sends the row) and, of
            the sink `parquet`, `{table}`.
        roll: When open files become objects.
        offsets: Where the offsets are kept.
        spool: Folder for open files; None: the system's temporary folder.
    """

    path: str = "{topic}/dt={timestamp:%Y-%m-%d}/"
    roll: RollSettings = RollSettings()
    offsets: ObjectOffsetSettings = ObjectOffsetSettings()
    spool: Path | None = None

    @field_validator("path")
    @classmethod
    def _can_be_filled_in(cls, path: str) -> str:
        FolderTemplate(path)
        return path

    @cached_property
    def folders(self) -> FolderTemplate:
        """The template `path`, compiled."""
        return FolderTemplate(self.path)

    @property
    def destinations(self) -> Collection[str] | None:
        return None if self.folders.names_destination else ()


class ObjectsSettings(ObjectTarget, ByteSinkSettings):
    """Settings of the sink `objects`.

    Attributes:
        value: Codec of values, which gives a line.
        format: `jsonl`: a line of JSON for each row. `text`: a line of text.
        compression: Compression of the files.
    """

    value: CodecUse | None = UseSettings(use="json")
    format: Literal["jsonl", "text"] = "jsonl"
    compression: Literal["zstd", "gzip", "none"] = "zstd"


class ParquetSettings(ObjectTarget, TableSettings):
    """Settings of the sink `parquet`; `table` is the first folder of the data set.

    Attributes:
        types: Column -> type, such as `int64`, `text`, `decimal(12,2)`, `timestamptz`, `text[]`,
            `int64 not null`.
        compression: Compression within the files.
    """

    path: str = "{table}/dt={timestamp:%Y-%m-%d}/"
    types: dict[str, str] = Field(
        min_length=1, examples=[{"id": "int64 not null", "paid": "float64"}]
    )
    compression: Literal["zstd", "snappy", "gzip", "none"] = "zstd"

    @field_validator("types")
    @classmethod
    def _types_are_known(cls, types: dict[str, str]) -> dict[str, str]:
        for name, text in types.items():
            column_of(name, text)
        return types

    @model_validator(mode="after")
    def _files_are_only_added(self) -> ParquetSettings:
        if self.mode != "insert" or self.key or self.newer:
            raise ValueError("files are only added: `mode: insert`, without `key` and `newer`")
        if self.create or self.evolve:
            raise ValueError("columns are those of `types`; leave out `create` and `evolve`")
        if self.columns is not None and set(self.columns) != set(self.types):
            differing = ", ".join(sorted(set(self.columns) ^ set(self.types)))
            raise ValueError(f"`columns` and `types` should name the same columns: {differing}")
        return self

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The columns of `types`, in their order."""
        return tuple(column_of(name, text) for name, text in self.types.items())

    @cached_property
    def folders(self) -> FolderTemplate:
        """The template `path`, compiled."""
        return FolderTemplate(self.path, self.table)
