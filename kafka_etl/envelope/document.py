"""A dead letter or a success as one JSON document, in the shape of a function service's messages.

Five keys are those that such a service sends to its destinations: `timestamp`, `requestContext`,
`requestPayload`, `responseContext` and `responsePayload`. A consumer that was written for them
reads ours unchanged. All else that is known stands under further keys; `envelope.schema.json`
beside this module describes every key.

A document that is too large is cut in a fixed order, and each cut is listed in `truncated`. No dead
letter is lost because of its size.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, Final, Literal

from kafka_etl.envelope.cuts import CUTS, REFERENCES, Draft
from kafka_etl.envelope.raw import (
    HISTORY,
    Encoded,
    Provenance,
    encode_raw,
    fingerprint,
    told_apart,
)
from kafka_etl.invocation import Condition, DeadLetter, printable
from kafka_etl.record import (
    Headers,
    SourceRecord,
    UnreadableHeaders,
    headers_of,
    offset_of,
    partition_of,
)

Claim = Callable[[bytes], str]
"""Stores a whole document elsewhere, and returns the URI where a reader finds the document."""

LetterFormat = Literal["raw", "raw+connect", "envelope"]
"""`raw+connect`: format `raw`, with Kafka Connect's headers beside ours."""

_TRACE: Final = 512
"""Longest `traceparent` or `tracestate`; longer ones are no such thing."""

_STAGES: Final = {
    Condition.DECODE_ERROR: "decode",
    Condition.OPERATOR_ERROR: "operator",
    Condition.TIMEOUT: "operator",
    Condition.WORKER_CRASHED: "operator",
    Condition.ENCODE_ERROR: "encode",
    Condition.RECORD_TOO_LARGE: "sink",
    Condition.REFUSED: "sink",
}
_OK: Final = 200
_FAILED: Final = 500


class OutputTooLarge(Exception):
    """An output does not fit into a document, even without the record that the output is made of.

    Args:
        size: Bytes of the document.
        limit: Bytes that a document may have.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the envelope has {size:,} bytes; the target takes {limit:,}")


def encode_failure(
    letter: DeadLetter, about: Provenance, limit: int, claim: Claim | None = None
) -> bytes:
    """The dead letter as a JSON document of at most `limit` bytes.

    Args:
        letter: The dead letter.
        about: Where the dead letter comes from.
        limit: At least 2,048, and the length of the URI that `claim` returns; a smaller limit is
            exceeded, because the core of a document is never cut.
        claim: Stores a document that is too large; its URI becomes `payloadRef`. May raise.
    """
    headers = headers_of(letter.record)
    own, earlier = told_apart(letter.record, headers)
    document = _failure(letter, about, headers)
    document["history"] = earlier[-HISTORY:]
    draft = Draft(document, _input_of(letter, own))
    whole = draft.encoded()
    if len(whole) <= limit:
        return whole
    for cut in CUTS:
        if cut is REFERENCES and claim is not None:
            _claimed(draft, whole, claim)
            if len(encoded := draft.encoded()) <= limit:
                return encoded
        cut(draft)
        if len(encoded := draft.encoded()) <= limit:
            return encoded
    return draft.core(len(whole))


def encode_success(  # noqa: PLR0913 - what is known about one output
    record: SourceRecord | None,
    output: bytes | None,
    about: Provenance,
    limit: int,
    *,
    request_id: str,
    at_ms: int,
    claim: Claim | None = None,
) -> bytes:
    """An output and the record of which it is made, as a JSON document of at most `limit` bytes.

    The output is never cut: where the document is too large, a reference replaces the record's
    value.

    Args:
        record: The source record; None: the output belongs to many.
        output: The encoded value; None: a tombstone.
        about: Where the output comes from.
        limit: Bytes.
        request_id: The same each time the output is sent, so that a reader can tell a repeat.
        at_ms: Now, in milliseconds since the epoch.
        claim: Stores a document that is too large; its URI becomes `payloadRef`. May raise.

    Raises:
        OutputTooLarge: Even without the record's value, the output does not fit.
    """
    document, records = _success(output, about, request_id, at_ms), []
    if record is not None:
        headers = headers_of(record)
        document["source"] = _source(record, headers, about)
        document["trace"] = _trace(headers)
        records = [_element(record, headers)]
    draft = Draft(document, records)
    whole = draft.encoded()
    if len(whole) <= limit:
        return whole
    if claim is not None:
        _claimed(draft, whole, claim)
    for cut in CUTS[CUTS.index(REFERENCES) :]:
        cut(draft)
        if len(encoded := draft.encoded()) <= limit:
            return encoded
    if claim is None:
        raise OutputTooLarge(len(draft.encoded()), limit)
    return draft.core(len(whole))


def encode_letter(
    letter: DeadLetter,
    about: Provenance,
    form: LetterFormat,
    limit: int,
    claim: Claim | None = None,
) -> Encoded:
    """The dead letter for any sink of bytes, in at most `limit` bytes; the key is the record's.

    In format `raw` everything about the failure is in headers, in format `envelope` in the value:
    a sink that sends no headers needs the latter.
    """
    if form != "envelope":
        return encode_raw(letter, about, limit, connect=form == "raw+connect")
    return Encoded(letter.record.key(), encode_failure(letter, about, limit, claim), [])


def _claimed(draft: Draft, whole: bytes, claim: Claim) -> None:
    draft.document["payloadRef"] = {
        "uri": claim(whole),
        "bytes": len(whole),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }


# The document


def _failure(letter: DeadLetter, about: Provenance, headers: Headers) -> dict[str, Any]:
    failure, record = letter.failure, letter.record
    stage = _STAGES.get(failure.condition, "framework")
    by_operator = stage == "operator"
    place = partition_of(record)
    return {
        **_frame(
            letter.at_ms,
            {
                "requestId": f"{place.topic}/{place.number}/{offset_of(record)}",
                "functionArn": _arn(about, failure.operator),
                "condition": failure.condition.value,
                "approximateInvokeCount": len(failure.attempts) + failure.deaths,
            },
            {
                "statusCode": _OK if by_operator else _FAILED,
                "functionError": "UnhandledInvocationError" if by_operator else "",
            },
            printable(f"{failure.error.type}: {failure.error.message}"),
        ),
        "invocation": {
            "id": printable(letter.invocation_id),
            "status": "Failed",
            "attempts": [
                {
                    "n": attempt.number,
                    "startedAt": attempt.started_ms,
                    "endedAt": attempt.ended_ms,
                    "durationMs": attempt.ended_ms - attempt.started_ms,
                    "error": printable(attempt.error),
                }
                for attempt in failure.attempts
            ],
            "deaths": failure.deaths,
        },
        **_facts(about, failure.operator),
        "source": _source(record, headers, about),
        "error": {
            "type": printable(failure.error.type),
            "message": printable(failure.error.message),
            "traceback": printable(failure.error.traceback),
            "cause": [printable(cause) for cause in failure.error.causes],
            "stage": stage,
            "fingerprint": fingerprint(letter),
        },
        "trace": _trace(headers),
        "delivered": list(letter.delivered),
        "history": [],
        "truncated": [],
    }


def _success(
    output: bytes | None, about: Provenance, request_id: str, at_ms: int
) -> dict[str, Any]:
    operator = [*about.versions][-1] if about.versions else ""
    context = {
        "requestId": request_id,
        "functionArn": _arn(about, operator),
        "condition": "",
        "approximateInvokeCount": 1,
    }
    text, encoding = _text(output)
    document: dict[str, Any] = {
        **_frame(at_ms, context, {"statusCode": _OK, "functionError": ""}, text),
        "invocation": {"id": request_id, "status": "Succeeded", "attempts": [], "deaths": 0},
        **_facts(about, operator),
        "source": {"group": about.group},
        "trace": {},
        "truncated": [],
    }
    if encoding:
        document["responsePayloadEncoding"] = encoding
    return document


def _frame(
    at_ms: int, request: dict[str, Any], response: dict[str, Any], payload: str | None
) -> dict[str, Any]:
    """The five keys of a function service, and the version; `Draft` fills in `requestPayload`."""
    return {
        "version": "1.0",
        "timestamp": at_ms,
        "requestContext": request,
        "requestPayload": "[]",
        "responseContext": response,
        "responsePayload": payload,
    }


def _facts(about: Provenance, operator: str) -> dict[str, Any]:
    return {
        "pipeline": {"name": about.pipeline, "configHash": about.config_hash},
        "operator": {"name": operator, "version": about.versions.get(operator, "")},
        "runtime": {
            "workerId": about.worker,
            "host": about.host,
            "pid": about.pid,
            "pythonVersion": about.python,
            "frameworkVersion": about.kafka_etl,
        },
    }


def _arn(about: Provenance, operator: str) -> str:
    """`etl:PIPELINE/OPERATOR@VERSION`; without an operator only the pipeline."""
    if not operator:
        return f"etl:{about.pipeline}"
    return f"etl:{about.pipeline}/{operator}@{about.versions.get(operator, '')}"


def _source(record: SourceRecord, headers: Headers, about: Provenance) -> dict[str, Any]:
    place = partition_of(record)
    source = {
        "group": about.group,
        "topic": place.topic,
        "partition": place.number,
        "offset": offset_of(record),
    }
    if isinstance(headers, UnreadableHeaders):
        source["headersUnreadable"] = printable(headers.reason)
    return source


def _trace(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        if name in {"traceparent", "tracestate"} and value and len(value) <= _TRACE:
            found.setdefault(name, printable(value.decode("utf-8", "replace")))
    return found


# Records in the document


def _input_of(letter: DeadLetter, own: Headers) -> list[dict[str, Any]]:
    """The failed record; of many that failed as one, all of them without values."""
    if not letter.others:
        return [_element(letter.record, own)]
    return [_valueless(record) for record in _together(letter)]


def _together(letter: DeadLetter) -> Iterator[SourceRecord]:
    yield letter.record
    yield from letter.others


def _valueless(record: SourceRecord) -> dict[str, Any]:
    element = _element(record, [])
    element.pop("valueEncoding", None)
    return {**element, "value": None, "overflowFlag": record.value() is not None}


def _element(record: SourceRecord, headers: Headers) -> dict[str, Any]:
    """A record as the function service's Kafka trigger gives it, with its headers besides."""
    place, key, value = partition_of(record), record.key(), record.value()
    element: dict[str, Any] = {
        "key": None,
        "offset": offset_of(record),
        "overflowFlag": False,
        "partition": place.number,
        "timestamp": record.timestamp()[1],
        "topic": place.topic,
        "value": None,
        "valueSize": len(value or b""),
        "headers": [_header(name, content) for name, content in headers],
    }
    for name, data in (("key", key), ("value", value)):
        element[name], encoding = _text(data)
        if encoding:
            element[f"{name}Encoding"] = encoding
    return element


def _header(name: str, content: bytes | None) -> list[str | None]:
    text, encoding = _text(content)
    return [printable(name), text, encoding] if encoding else [printable(name), text]


def _text(data: bytes | None) -> tuple[str | None, str]:
    """Bytes as text and the mark of their encoding: `base64` for bytes that are no UTF-8."""
    if data is None:
        return None, ""
    try:
        return data.decode(), ""
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def schema() -> bytes:
    """The JSON Schema of the documents."""
    return files("kafka_etl.envelope").joinpath("envelope.schema.json").read_bytes()
