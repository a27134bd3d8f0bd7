"""How a document is made to fit: cuts in a fixed order, and a core that always fits."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Final

import orjson

from kafka_etl.envelope.raw import start_of

CORE_BYTES: Final = 2_048
"""Most bytes of a core without `payloadRef`."""

_TRACEBACK: Final = 8 * 1024
_TRACEBACK_HEAD: Final = 2 * 1024
_PAYLOAD: Final = 16 * 1024
_SHORT: Final = 2_000
_LINE: Final = 200
_KEY: Final = 256
_MARK: Final = "\n…\n"
_MANY: Final = 100
_NAME: Final = 60


class Draft:
    """A document on its way to its size.

    Attributes:
        document: The document; its `requestPayload` is made of `records`.
        records: The records of `requestPayload`.
    """

    def __init__(self, document: dict[str, Any], records: list[dict[str, Any]]) -> None:
        self.document = document
        self.records = records

    def encoded(self) -> bytes:
        """The document as JSON."""
        self.document["requestPayload"] = orjson.dumps(self.records).decode()
        return orjson.dumps(self.document)

    def note(self, path: str, original: int, kept: int, how: str) -> None:
        """List a cut, in bytes, or in entries for a list."""
        cut = {"path": path, "originalBytes": original, "keptBytes": kept, "how": how}
        self.document["truncated"].append(cut)

    def shorten(self, owner: dict[str, Any], name: str, path: str, keep: int, head: int) -> None:
        """Keep `head` bytes of a text's begin, and of its end the rest of `keep`."""
        text = owner.get(name)
        if not isinstance(text, str) or len(data := text.encode()) <= keep:
            return
        room = head - len(_MARK.encode())
        end = data[len(data) - (keep - head) :].decode("utf-8", "ignore") if keep > head else ""
        owner[name] = f"{start_of(text, room)}{_MARK}{end}" if keep else ""
        self.note(path, len(data), len(owner[name].encode()), "middle" if keep else "dropped")

    def core(self, original: int) -> bytes:
        """The document's ids, condition, kind of error and place, in about 2 KiB at most."""
        whole = self.document
        request, invocation = whole["requestContext"], whole["invocation"]
        records: list[dict[str, Any]] = []
        for first in self.records[:1]:
            names = ("offset", "overflowFlag", "partition", "timestamp", "valueSize")
            record: dict[str, Any] = {name: first[name] for name in names}
            record["topic"] = _brief(first["topic"], 249)
            records.append({**record, "key": None, "value": None, "headers": []})
        document: dict[str, Any] = {
            "version": whole["version"],
            "timestamp": whole["timestamp"],
            "requestContext": {
                **request,
                "requestId": _brief(request["requestId"], 300),
                "functionArn": _brief(request["functionArn"], 3 * _NAME),
            },
            "requestPayload": orjson.dumps(records).decode(),
            "responseContext": whole["responseContext"],
            "responsePayload": _brief(whole["responsePayload"] or "", _NAME),
            "invocation": {
                "id": _brief(invocation["id"], 2 * _NAME),
                "status": invocation["status"],
                "attempts": [],
                "deaths": invocation["deaths"],
            },
            "truncated": [],
        }
        if "error" in whole:
            error = whole["error"]
            document["error"] = {
                "type": _brief(error["type"], 2 * _NAME),
                "stage": error["stage"],
                "fingerprint": error["fingerprint"],
            }
        if "payloadRef" in whole:
            document["payloadRef"] = whole["payloadRef"]
        core = {"path": "", "originalBytes": original, "keptBytes": 0, "how": "core"}
        document["truncated"] = [core]
        core["keptBytes"] = len(orjson.dumps(document))
        return orjson.dumps(document)


def _brief(text: str, size: int) -> str:
    """The start of a text, in so many bytes of JSON at most."""
    return start_of("".join(c if c.isprintable() and c not in '"\\' else " " for c in text), size)


Cut = Callable[[Draft], None]


def _middle_attempts(draft: Draft) -> None:
    """Long errors of all attempts but the first and the last."""
    attempts: list[dict[str, Any]] = draft.document["invocation"]["attempts"]
    for number, attempt in enumerate(attempts[1:-1], 1):
        draft.shorten(attempt, "error", f"invocation.attempts[{number}].error", _LINE, _LINE)


def _traceback(draft: Draft) -> None:
    draft.shorten(
        draft.document["error"], "traceback", "error.traceback", _TRACEBACK, _TRACEBACK_HEAD
    )


def _response(draft: Draft) -> None:
    """The error's text, which stands in two places."""
    draft.shorten(draft.document, "responsePayload", "responsePayload", _PAYLOAD, _PAYLOAD // 2)
    draft.shorten(draft.document["error"], "message", "error.message", _PAYLOAD, _PAYLOAD // 2)


def _data(record: dict[str, Any], name: str) -> bytes:
    """A record's key or value as the bytes that they were."""
    text: str = record[name]
    return base64.b64decode(text) if f"{name}Encoding" in record else text.encode()


def refer_to_values(draft: Draft) -> None:
    """Replace values by what finds them in their topic: place and digest."""
    for position, record in enumerate(draft.records):
        if record["value"] is None:
            continue
        data = _data(record, "value")
        digest = hashlib.sha256(data).hexdigest()
        if len(data) > len(digest):
            record.pop("valueEncoding", None)
            record.update(value=None, overflowFlag=True, sha256=digest)
            draft.note(f"requestPayload[{position}].value", len(data), 0, "reference")


def _keys_and_headers(draft: Draft) -> None:
    for position, record in enumerate(draft.records):
        if record["headers"]:
            size = len(orjson.dumps(record["headers"]))
            record["headers"] = []
            draft.note(f"requestPayload[{position}].headers", size, 0, "dropped")
        key = record["key"]
        if key is not None and len(data := _data(record, "key")) > _KEY:
            record.pop("keyEncoding", None)
            record.update(key=None, keySha256=hashlib.sha256(data).hexdigest())
            draft.note(f"requestPayload[{position}].key", len(data), 0, "digest")


def _many_records(draft: Draft) -> None:
    size = len(draft.records)
    if size > _MANY:
        before = len(orjson.dumps(draft.records))
        del draft.records[_MANY // 2 : size - _MANY // 2]
        after = len(orjson.dumps(draft.records))
        draft.note("requestPayload", before, after, f"{size - _MANY} of {size} records dropped")


def _errors(draft: Draft) -> None:
    """Everything about the error but its begin."""
    document = draft.document
    if "error" not in document:
        return
    error, attempts = document["error"], document["invocation"]["attempts"]
    draft.shorten(error, "traceback", "error.traceback", 0, 0)
    for owner, name, path in (
        (error, "message", "error.message"),
        (document, "responsePayload", "responsePayload"),
    ):
        draft.shorten(owner, name, path, _SHORT, _SHORT)
    for owner, name, path in (
        (error, "cause", "error.cause"),
        (document, "history", "history"),
    ):
        if owner[name]:
            draft.note(path, len(orjson.dumps(owner[name])), 0, "dropped")
            owner[name] = []
    if len(attempts) > 2:  # noqa: PLR2004 - the first and the last
        before = len(orjson.dumps(attempts))
        del attempts[1:-1]
        draft.note("invocation.attempts", before, len(orjson.dumps(attempts)), "middle")


REFERENCES: Final[Cut] = refer_to_values
"""The first cut that takes a part of a record; a claim check comes before."""

CUTS: Final[tuple[Cut, ...]] = (
    _middle_attempts,
    _traceback,
    _response,
    REFERENCES,
    _errors,
    _many_records,
    _keys_and_headers,
)
