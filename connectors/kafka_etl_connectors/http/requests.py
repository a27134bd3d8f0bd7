"""Requests: what is sent for a record, or for a set of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, cast
from urllib.parse import quote, urlencode

import orjson

from kafka_etl.contracts import Refused, Row, Rows
from kafka_etl.record import Record
from kafka_etl_connectors.http.settings import HttpSettings

HeaderList = list[tuple[bytes, bytes]]

_PATH_SIGNS: Final = "/!$&'()*+,;=:@~"
"""Signs that a path may hold as they are; all others are percent-encoded, as UTF-8."""
_FIELD_SIGNS: Final = "!#$&'()*+,/:;<=>?@[]^`{|}~"
"""Likewise for the value of a header: control characters cannot end it, `%` can be read back."""

_TOMBSTONE: Final = (
    "the record has no value; say what that means with `tombstone: send` or `tombstone: delete`"
)


class Outgoing(NamedTuple):
    """One request.

    Attributes:
        method: Method.
        url: Address with path and query.
        headers: Headers, without the login.
        body: Body.
    """

    method: str
    url: str
    headers: HeaderList
    body: bytes


class Requests:
    """Makes the requests of a pipeline.

    Args:
        settings: The sink's settings.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._method: str = settings.method
        self._array = settings.mode == "array"
        self._lines = settings.mode == "lines"
        self._tombstone = settings.tombstone
        self._path = None if settings.path is None else settings.path.on_record()
        self._base = settings.url
        query = {name: value.get_secret_value() for name, value in settings.query.items()}
        self._query = f"?{urlencode(query)}" if query else ""
        self._url = self._base + self._query
        self._headers = _fixed_headers(settings)
        self._typed: HeaderList = [
            *self._headers, (b"Content-Type", settings.body_type.encode("ascii"))
        ]  # fmt: skip
        self._key_header = (settings.key_header or "").encode("ascii")
        self._id_header = settings.idempotency_header.encode("ascii")
        self._idempotent = settings.idempotent
        # The codec `json` makes one line of JSON; other codecs and the source's own may not.
        self._checks_json = settings.value is None or settings.value.use != "json"

    def of_row(self, row: Row) -> Outgoing | Refused:
        """Return the request of a record; `Refused`: there is none."""
        url = self._url_of(row)
        if isinstance(url, Refused):
            return url
        value = cast("bytes | None", row.value)
        method, headers, body = self._method, self._typed, value or b""
        if value is None and self._tombstone == "refuse":
            return Refused("Tombstone", _TOMBSTONE)
        if value is None and self._tombstone == "delete":
            method, headers = "DELETE", self._headers
        return Outgoing(method, url, [*headers, *self._row_headers(row)], body)

    def of_rows(self, rows: Rows) -> tuple[Outgoing, Mapping[int, Refused]]:
        """Return the request of a set, and the records that have no place in any."""
        values: list[bytes] = []
        refused: dict[int, Refused] = {}
        for position, value in enumerate(cast("Sequence[bytes | None]", rows.values)):
            verdict = self._element_refusal(value)
            if rows.destinations is not None and rows.destinations[position] is not None:
                verdict = Refused("Destination", "a set has one address; use `mode: record`")
            if verdict is None:
                values.append(b"null" if value is None else value)
            else:
                refused[position] = verdict
        body = b"\n".join([*values, b""]) if self._lines else b"[%b]" % b",".join(values)
        return Outgoing(self._method, self._url, self._typed, body), refused

    def _element_refusal(self, value: bytes | None) -> Refused | None:
        """Return why a value cannot stand beside others; None: the value can."""
        if value is None:
            return Refused("Tombstone", _TOMBSTONE) if self._tombstone == "refuse" else None
        if self._lines and b"\n" in value:
            return Refused("EncodeError", "the value holds a line break, and would be two lines")
        if self._array and self._checks_json:
            try:
                orjson.loads(value)
            except orjson.JSONDecodeError as error:
                return Refused("EncodeError", f"the value is not JSON: {error}")
        return None

    def _row_headers(self, row: Row) -> HeaderList:
        found: HeaderList = []
        if self._key_header and row.key is not None:
            found.append((self._key_header, _field(row.key)))
        if self._idempotent and row.id is not None:
            found.append((self._id_header, _field(row.id.encode())))
        return found

    def _url_of(self, row: Row) -> str | Refused:
        """Return the address for a record; `Refused`: the record gives no path."""
        path: object = row.destination
        if path is None and self._path is None:
            return self._url
        if path is None and self._path is not None:
            try:
                path = self._path(_record_of(row))
            except Exception as error:  # noqa: BLE001 - an expression over a record fails in many ways
                return Refused("PathError", f"`path` fails: {type(error).__name__}: {error}")
        return self._joined(path)

    def _joined(self, path: object) -> str | Refused:
        if not isinstance(path, str | int | bytes) or path in ("", b""):
            return Refused("PathError", f"the path should be text; it is {path!r:.100}")
        text = path if isinstance(path, bytes) else str(path).encode("utf-8", "surrogateescape")
        parts = text.removeprefix(b"/").split(b"/")
        if b"." in parts or b".." in parts:
            return Refused("PathError", f"the path {path!r:.100} would leave `url`")
        return f"{self._base.rstrip('/')}/{quote(b'/'.join(parts), _PATH_SIGNS)}{self._query}"


def _fixed_headers(settings: HttpSettings) -> HeaderList:
    """The headers that every request has, but for content type and login."""
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    if "user-agent" not in {name.lower() for name in headers}:
        headers["User-Agent"] = "kafka-etl"
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


def _field(data: bytes) -> bytes:
    """Bytes as the value of a header: what is no visible ASCII is percent-encoded."""
    return quote(data, _FIELD_SIGNS).encode("ascii")


def _record_of(row: Row) -> Record:
    """The record that `path` looks at; its value is never looked at."""
    return Record(None, row.key, row.headers, row.timestamp, None, row.source)
