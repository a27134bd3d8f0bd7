"""Objects below one URL: the few operations that the sink needs, and the errors they end in."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import MemoryStore, from_url

from kafka_etl.contracts import Unreachable
from kafka_etl_connectors.objects.errors import unreachable
from kafka_etl_connectors.objects.settings import BucketSettings

if TYPE_CHECKING:
    from obstore import ObjectMeta

UPLOADS: Final = 8
"""Partitions that are closed at once."""
_PART: Final = 16 * 1024 * 1024
_PARTS_AT_ONCE: Final = 2
_SLOWEST: Final = 1024 * 1024
"""Bytes a second of a line that still must do."""
_REQUEST: Final = timedelta(seconds=30)
_UPLOAD: Final = _REQUEST + timedelta(seconds=UPLOADS * _PARTS_AT_ONCE * _PART / _SLOWEST)
"""The client counts time for one request, a part, while others are under way."""
_RETRY: Final = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
_LATER_FIRST: Final = ("file", "memory")
"""Stores that list objects in no order."""


class Bucket:
    """Objects below one URL. Paths are relative to the URL; all methods may be called by threads.

    Every method but `create` raises `Unreachable` for any failure.

    Args:
        settings: The place and the account.
        folder: Folder that paths in the settings are relative to.

    Raises:
        Unreachable: The client takes the settings for wrong.
    """

    def __init__(self, settings: BucketSettings, folder: Path) -> None:
        self._scheme = urlsplit(settings.url).scheme
        with _explained():
            self._small = _client(settings, folder, _REQUEST)
            self._large = (
                self._small if self._scheme in _LATER_FIRST else _client(settings, folder, _UPLOAD)
            )

    def put(self, path: str, content: IO[bytes] | bytes) -> None:
        """Write an object, whatever was there."""
        with _explained():
            obstore.put(
                self._large, path, content, chunk_size=_PART, max_concurrency=_PARTS_AT_ONCE
            )

    def create(self, path: str, content: bytes) -> bool:
        """Write a small object unless it is there; return whether it was not.

        Raises:
            Unreachable: Nobody knows whether the object was written.
        """
        with _explained():
            try:
                obstore.put(self._small, path, content, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
        return True

    def get(self, path: str) -> bytes | None:
        """The content of an object; None: there is none."""
        with _explained():
            try:
                return bytes(obstore.get(self._small, path).bytes())
            except FileNotFoundError:
                return None

    def first(self, prefix: str) -> str | None:
        """The first path below a folder in the order of paths; None: the folder is empty.

        A store that lists in order is asked for one page.
        """
        with _explained():
            for page in _pages(self._small, prefix):
                paths = [found["path"] for found in page]
                if self._scheme in _LATER_FIRST:
                    paths += self._rest(prefix)
                if paths:
                    return min(paths)
        return None

    def paths(self, prefix: str) -> list[str]:
        """All paths below a folder, in order."""
        with _explained():
            return sorted(self._rest(prefix))

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; those that are not there are deleted already."""
        for path in paths:
            with _explained():
                try:
                    obstore.delete(self._small, path)
                except FileNotFoundError:
                    continue

    def _rest(self, prefix: str) -> list[str]:
        return [found["path"] for page in _pages(self._small, prefix) for found in page]


def _pages(store: Any, prefix: str) -> Iterable[Sequence[ObjectMeta]]:
    return obstore.list(store, prefix)  # pyright: ignore[reportUnknownMemberType] - Arrow's pages


@contextmanager
def _explained() -> Generator[None]:
    try:
        yield
    except Unreachable:
        raise
    except Exception as error:
        raise unreachable(error) from error


def _client(settings: BucketSettings, folder: Path, timeout: timedelta) -> Any:
    parts = urlsplit(settings.url)
    if parts.scheme == "memory":
        return _in_memory(settings.url)
    if parts.scheme == "file":
        return from_url(settings.url, mkdir=True)
    client: dict[str, Any] = {"timeout": timeout, "connect_timeout": timedelta(seconds=5)}
    if settings.allow_http:
        client["allow_http"] = True
    make: Any = from_url  # typed for each provider apart
    return make(
        settings.url,
        config=_config(settings, folder),
        client_options=client,
        retry_config=dict(_RETRY),
    )


def _config(settings: BucketSettings, folder: Path) -> dict[str, Any]:
    keys = settings.credentials
    secrets = {
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "session_token": keys.session_token,
        "account_key": keys.account_key,
        "sas_token": keys.sas_token,
    }
    config: dict[str, Any] = {
        name: secret.get_secret_value() for name, secret in secrets.items() if secret is not None
    }
    if keys.account_name is not None:
        config["account_name"] = keys.account_name
    if keys.service_account is not None:
        config["service_account"] = str(folder / keys.service_account)
    if settings.endpoint is not None:
        config["endpoint"] = settings.endpoint
    if settings.region is not None:
        config["region"] = settings.region
    if urlsplit(settings.url).scheme == "s3":
        config["disable_bulk_delete"] = True  # not every S3-compatible server has it
    return config


@cache
def _in_memory(_url: str) -> MemoryStore:
    """One store for each URL, so that tests find what a sink has written."""
    return MemoryStore()


def is_missing(url: str) -> bool:
    """Whether a URL is one of a local folder that does not exist."""
    parts = urlsplit(url)
    return parts.scheme == "file" and not Path(unquote(parts.path)).exists()


def address(url: str, path: str) -> str:
    """What other tools call an object: a path for a folder, else a URL."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return str(Path(unquote(parts.path)) / path)
    return f"{url.rstrip('/')}/{path}"
