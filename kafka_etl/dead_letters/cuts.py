"""Parts of a record that were cut from its dead letter, and their return from the source."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from kafka_etl.dead_letters.document import as_object, first_record
from kafka_etl.dead_letters.letter import StoredLetter
from kafka_etl.envelope.raw import told_apart
from kafka_etl.record import SourceRecord, headers_of

_DIGEST: Final = 64
"""Characters of a SHA-256 in hex."""


def cut_parts(letter: StoredLetter) -> Mapping[str, str]:
    """Parts of the record that were cut from the dead letter because of its size.

    Returns:
        `key`, `value` or `headers` -> SHA-256 of the part in hex; empty: the digest is unknown.
    """
    if "requestPayload" in letter.context:
        return _cut_from_document(letter)
    names = [
        cast("dict[str, Any]", cut).get("what") if isinstance(cut, dict) else cut
        for cut in _cuts(letter.context)
    ]
    cut: dict[str, str] = {}
    if "value" in names:
        reference = as_object(letter.value or b"").get("reference")
        cut["value"] = _digest_in(reference)
    if "key" in names:
        cut["key"] = _digest((letter.key or b"").decode("latin-1"))
    if "headers" in names:
        cut["headers"] = ""
    return cut


def restored(letter: StoredLetter, found: SourceRecord) -> StoredLetter | None:
    """The dead letter with the parts that were cut, taken from the source's record.

    Args:
        letter: The dead letter.
        found: The record at the place of the letter's source.

    Returns:
        None: the record there is another one, such as one of a topic that was created anew.
    """
    cut = cut_parts(letter)
    for name, own, other in (
        ("key", letter.key, found.key()),
        ("value", letter.value, found.value()),
    ):
        if name not in cut:
            same = own == other
        else:
            same = not cut[name] or cut[name] == hashlib.sha256(other or b"").hexdigest()
        if not same:
            return None
    if letter.record_ms >= 0 and found.timestamp()[1] != letter.record_ms:
        return None
    headers, _ = told_apart(found, headers_of(found))
    return msgspec.structs.replace(
        letter,
        key=found.key(),
        value=found.value(),
        headers=headers if "headers" in cut else letter.headers,
    )


def _cut_from_document(letter: StoredLetter) -> Mapping[str, str]:
    record = first_record(letter.context.get("requestPayload"))
    cuts = [cast("dict[str, Any]", cut) for cut in _cuts(letter.context) if isinstance(cut, dict)]
    core = any(cut.get("how") == "core" for cut in cuts)
    paths = {cut.get("path") for cut in cuts}
    cut: dict[str, str] = {}
    together = record.get("overflowFlag") is True and "sha256" not in record
    if core or record.get("overflowFlag") is True:
        cut["value"] = _digest(record.get("sha256"))
    if core or "keySha256" in record:
        cut["key"] = _digest(record.get("keySha256"))
    if core or together or "requestPayload[0].headers" in paths:
        cut["headers"] = ""
    return cut


def _cuts(context: Mapping[str, Any]) -> Sequence[Any]:
    found: object = context.get("truncated")
    return cast("Sequence[Any]", found) if isinstance(found, list) else []


def _digest_in(reference: object) -> str:
    return _digest(cast("dict[str, Any]", reference).get("sha256")) if _is_object(reference) else ""


def _is_object(found: object) -> bool:
    return isinstance(found, dict)


def _digest(found: object) -> str:
    return found if isinstance(found, str) and len(found) == _DIGEST else ""
