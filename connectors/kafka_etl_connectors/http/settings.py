"""Settings of the sink `http`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from kafka_etl.contracts import ByteSinkSettings, Settings
from kafka_etl.expression import Expression
from kafka_etl.routed_settings import RoutedSettings
from kafka_etl.units import Duration, Size

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD: Final = re.compile(r"[!-~]([ -~\t]*[!-~])?|")
_FRAMING: Final = frozenset(["connection", "content-length", "transfer-encoding", "upgrade"])
"""Headers by which the client says where a request ends."""

_CLASS: Final = re.compile(r"([1-5])xx")
_STATUSES: Final = range(100, 600)
_PORTS: Final = range(1, 65536)

_BY_CODEC: Final = {
    "bytes": "application/octet-stream",
    "text": "text/plain; charset=utf-8",
}
_BY_MODE: Final = {"array": "application/json", "lines": "application/x-ndjson"}


def _statuses(value: Any) -> frozenset[int]:
    """The statuses of 204, "2xx", or of a list of such."""
    found: set[int] = set()
    many = isinstance(value, list | tuple | set | frozenset)
    for one in cast("Collection[object]", value) if many else [value]:
        by_class = _CLASS.fullmatch(one) if isinstance(one, str) else None
        if by_class is not None:
            found.update(range(int(by_class[1]) * 100, int(by_class[1]) * 100 + 100))
        elif isinstance(one, int) and one in _STATUSES:
            found.add(one)
        else:
            raise ValueError(f"{one!r} should be a status, such as 204, or a class, such as 2xx")
    return frozenset(found)


Statuses = Annotated[
    frozenset[int],
    BeforeValidator(_statuses, json_schema_input_type=int | str | list[int | str]),
]
"""HTTP statuses; written as 204, `2xx`, or a list of such."""


def _sendable(name: str, value: SecretStr) -> SecretStr:
    """Check that a text can be the value of a header; the error does not quote the text."""
    if not _FIELD.fullmatch(value.get_secret_value()):
        raise ValueError(
            f"{name} should be plain ASCII on one line, without blanks at its ends; "
            "a mounted secret often ends with a line break"
        )
    return value


class TokenFile(Settings):
    """A token in a file that somebody else keeps fresh.

    Attributes:
        file: Path; a relative one begins at the folder of the pipeline file.
    """

    file: Path


class BasicAuth(Settings):
    """Name and password of a user.

    Attributes:
        user: Name, without a colon.
        password: Password.
    """

    user: str = Field(pattern=r"^[^:\x00-\x1f\x7f]*$", examples=["shop"])
    password: SecretStr


class AuthSettings(Settings):
    """What proves to the server who is asking; one of the two.

    Attributes:
        basic: User and password.
        bearer: A token; or `file: PATH`, which is read again when the server answers 401.
    """

    basic: BasicAuth | None = None
    bearer: SecretStr | TokenFile | None = None

    @field_validator("bearer")
    @classmethod
    def _token_fits_a_header(
        cls, bearer: SecretStr | TokenFile | None
    ) -> SecretStr | TokenFile | None:
        return _sendable("the token", bearer) if isinstance(bearer, SecretStr) else bearer

    @model_validator(mode="after")
    def _one_way(self) -> AuthSettings:
        if (self.basic is None) == (self.bearer is None):
            raise ValueError("`auth` should hold `basic` or `bearer`, one of them")
        return self


class TlsSettings(Settings):
    """TLS of an `https` address; relative paths begin at the folder of the pipeline file.

    Attributes:
        ca: Certificates of the authorities to trust, PEM; None: those of the system.
        cert: The client's own certificate, PEM, with its chain.
        key: The key of `cert`; None: in the same file.
        key_password: Password of the key.
        verify: Whether the server's certificate is checked at all.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    key_password: SecretStr | None = None
    verify: bool = True

    @model_validator(mode="after")
    def _fields_fit_together(self) -> TlsSettings:
        if self.cert is None and (self.key is not None or self.key_password is not None):
            raise ValueError("`key` and `key_password` are of no use without `cert`")
        if self.ca is not None and not self.verify:
            raise ValueError("`ca` is of no use with `verify: false`")
        return self


class CheckSettings(Settings):
    """A request that is made once before the pipeline starts.

    Attributes:
        method: Method.
        path: Path, from the root of the server.
    """

    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    path: str = Field(default="/", pattern=r"^/[!-~]*$", examples=["/health"])


class HttpSettings(RoutedSettings, ByteSinkSettings):
    """Settings of the sink `http`.

    Attributes:
        url: Address, without user, query and fragment.
        query: Parameters of the address.
        path: Expression for a path below `url`, over `key`, `headers`, `topic`, `partition`,
            `offset` and `timestamp`; `mode: record` only.
        method: Method of the requests.
        headers: Further headers.
        content_type: Content type; None: by `mode` and by the codec of `value`.
        key_header: Header that gets the record's key; None: none does. `mode: record` only.
        auth: Credentials.
        tls: TLS of an `https` address.
        mode: `record`: one request for each record. `array`: one request for each set, a JSON
            array. `lines`: likewise, one record a line.
        max_rows: Records in a set of `array` and `lines`.
        max_bytes: Bytes of the values in such a set; a larger record is sent alone.
        concurrency: Requests in flight in `mode: record`.
        order: `key`: records of one key are sent one after the other. `none`: all at once.
        idempotent: Whether the server recognises a record that comes again. In `mode: record`
            every request then carries `idempotency_header`; in the other modes the server has to
            recognise records by their content.
        idempotency_header: Header with the record's id.
        atomic: Whether the server takes a set of `array` or `lines` as a whole or not at all.
        tombstone: What becomes of a record without a value. `refuse`: a dead letter. `send`: an
            empty body; in `array` and `lines` a `null`. `delete`: a DELETE without a body to the
            record's `path`; `mode: record` only.
        timeout: Time that a whole request may take.
        success: Statuses that acknowledge.
        refuse: Further statuses that make a dead letter of a record, beside 400, 413 and 422.
        check: A request at the start; None: none is made.
    """

    url: str = Field(examples=["https://example.org/orders"])
    query: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    path: Expression | None = None
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    content_type: str | None = Field(
        default=None, pattern=r"^[!-~]([ -~]*[!-~])?$", examples=["application/json"]
    )
    key_header: str | None = None
    auth: AuthSettings | None = None
    tls: TlsSettings = TlsSettings()
    mode: Literal["record", "array", "lines"] = "record"
    max_rows: int = Field(default=1000, ge=1, le=1_000_000)
    max_bytes: Size = Field(default=1_000_000, ge=1)
    concurrency: int = Field(default=16, ge=1, le=1024)
    order: Literal["key", "none"] = "key"
    idempotent: bool = False
    idempotency_header: str = "Idempotency-Key"
    atomic: bool = False
    tombstone: Literal["refuse", "send", "delete"] = "refuse"
    timeout: Duration = Field(default=30.0, gt=0, le=3600)
    success: Statuses = Field(default=_statuses("2xx"), json_schema_extra={"default": "2xx"})
    refuse: Statuses = frozenset()
    check: CheckSettings | None = None

    @field_validator("url")
    @classmethod
    def _url_is_bare(cls, url: str) -> str:
        _check_url(url)
        return url

    @field_validator("path")
    @classmethod
    def _path_needs_no_value(cls, path: Expression | None) -> Expression | None:
        if path is not None and "value" in path.names:
            raise ValueError(
                "`path` cannot look at `value`, which is encoded by then; "
                "write `set: {to: …}` instead"
            )
        return path

    @field_validator("idempotency_header", "key_header")
    @classmethod
    def _names_are_names(cls, name: str | None) -> str | None:
        if name is not None:
            _check_names([name])
        return name

    @field_validator("headers")
    @classmethod
    def _headers_can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        _check_names(headers)
        return {name: _sendable(f"header `{name}`", value) for name, value in headers.items()}

    @property
    def destinations(self) -> Collection[str] | None:
        return None if self.mode == "record" else ()

    @model_validator(mode="after")
    def _headers_come_once(self) -> HttpSettings:
        own = [self.key_header or "", self.idempotency_header if self.idempotent else ""]
        own += ["Authorization"] if self.auth is not None else []
        names = [name.lower() for name in (*self.headers, *own) if name]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"header `{name}` is set twice")
        if "content-type" in names:
            raise ValueError("give the content type as `content_type`, not as a header")
        return self

    @model_validator(mode="after")
    def _fields_fit_together(self) -> HttpSettings:
        if self.mode != "record":
            self._check_sets()
        else:
            self._check_records()
        if self.success & self.refuse:
            raise ValueError("`success` and `refuse` name the same status")
        if self.tls != TlsSettings() and not self.url.lower().startswith("https"):
            raise ValueError("`tls` is of no use with a `url` that does not begin with https")
        return self

    def _check_sets(self) -> None:
        for name in ("path", "key_header", "concurrency"):
            if name in self.model_fields_set and getattr(self, name) is not None:
                raise ValueError(f"`{name}` goes with `mode: record` only")
        if self.tombstone == "delete":
            raise ValueError("`tombstone: delete` goes with `mode: record` only")

    def _check_records(self) -> None:
        for name in ("max_rows", "max_bytes", "atomic"):
            if name in self.model_fields_set:
                raise ValueError(f"`{name}` goes with `mode: array` and `mode: lines` only")
        if self.tombstone == "delete" and self.path is None:
            raise ValueError(
                "`tombstone: delete` needs `path`, which names what to delete: `path: key`"
            )

    @property
    def body_type(self) -> str:
        """The content type of requests."""
        if self.content_type is not None:
            return self.content_type
        codec = "" if self.value is None else self.value.use
        return _BY_MODE.get(self.mode) or _BY_CODEC.get(codec, "application/json")


def _check_url(url: str) -> None:
    """Raise `ValueError` for an address that is none, or holds what has a setting of its own."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("`url` should be an address, such as https://host/path") from None
    if "@" in parts.netloc:
        raise ValueError("`url` holds a user; give user and password as `auth: {basic: …}`")
    if "?" in url or "#" in url:
        raise ValueError("`url` holds a query or a fragment; give parameters as `query`")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("`url` should begin with http:// or https:// and a host")
    if port is not None and port not in _PORTS:
        raise ValueError("the port in `url` should be from 1 to 65535")
    if not all("!" <= sign <= "~" for sign in url):
        raise ValueError("`url` should be plain ASCII without blanks; write others as %XX")


def _check_names(names: Iterable[str]) -> None:
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header")
        if name.lower() in _FRAMING:
            raise ValueError(f"header `{name}` is the client's own")
