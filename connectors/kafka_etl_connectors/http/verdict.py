"""The meaning of an answer, or of none: whose fault, and what is to be done."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import httpx2

from kafka_etl.contracts import TAKEN, Again, Refused, Taken, Unreachable

Verdict = Taken | Refused | Again | Unreachable
"""`Unreachable` is a value here; whoever asked raises the exception."""

SHOWN_BYTES: Final = 2048
"""Bytes of an answer's body that a dead letter shows."""

_MOST_WAIT: Final = 300.0
_BUSY_WAIT: Final = 1.0
"""Seconds to leave a server alone that answers 429 without saying for how long."""

_OF_THE_RECORD: Final = frozenset([400, 413, 422])
_TOO_LARGE: Final = 413
_GONE: Final = frozenset([404, 410])
_AGAIN: Final = frozenset([408, 409, 425])
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_OF_THE_SERVER: Final = range(500, 600)

_MEND: Final[Mapping[int, str]] = {
    401: "mend `auth`",
    403: "mend `auth`, or the server's rights",
    404: "mend `url`; where the path comes from a record, name 404 under `refuse`",
    405: "mend `method`",
    407: "the proxy wants a login",
    415: "mend `content_type`",
}
_MEND_OTHERS: Final = "mend `url`, or name the status under `refuse` or `success`"
_MEND_REDIRECT: Final = "redirects are not followed: name the new address in `url`"
_REDIRECTS: Final = range(300, 400)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the server.

    Attributes:
        status: HTTP status.
        retry_after: The header `Retry-After`; None: the answer has none.
        body: The first bytes of the body.
    """

    status: int
    retry_after: str | None = None
    body: bytes = b""

    def __str__(self) -> str:
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


@dataclass(frozen=True, slots=True)
class Policy:
    """Statuses whose meaning the settings say.

    Attributes:
        success: Statuses that acknowledge.
        refuse: Statuses that are the record's fault, beside the usual ones.
    """

    success: frozenset[int]
    refuse: frozenset[int]


def of_answer(answer: Answer, policy: Policy, now: datetime, *, deletes: bool = False) -> Verdict:
    """Return what an answer means.

    Args:
        answer: The answer.
        policy: Statuses whose meaning the settings say.
        now: The time, for a `Retry-After` with a date.
        deletes: Whether the request was a DELETE: what is gone already needs no second one.
    """
    status = answer.status
    if status in policy.success or (deletes and status in _GONE):
        return TAKEN
    if status in policy.refuse or status in _OF_THE_RECORD:
        return Refused(str(status), _words(answer), too_large=status == _TOO_LARGE)
    if status in _AGAIN or status == _TOO_MANY or status in _OF_THE_SERVER:
        return _again(answer, now)
    if status in _REDIRECTS:
        return Unreachable(f"the server answered {answer}; {_MEND_REDIRECT}", mend=True)
    advice = _MEND.get(status, _MEND_OTHERS)
    return Unreachable(f"the server answered {answer}; {advice}", mend=True)


def of_error(error: Exception) -> Again | Unreachable:
    """Return what it means that no answer came.

    A server that takes a request and then says nothing, or hangs up, may do so because of this very
    record. So that is the record's, and uses up a try; a server that cannot be reached is not.
    """
    match error:
        case _ if tls := _tls_reason(error):
            return Unreachable(f"TLS: {tls}; mend `tls`", mend=True)
        case httpx2.ProxyError():
            return Unreachable(f"the proxy refuses: {_said(error)}", mend=True)
        case httpx2.ConnectTimeout():
            return Unreachable("no connection: the server does not answer")
        case httpx2.ConnectError():
            return Unreachable(f"no connection: {_said(error)}")
        case httpx2.TimeoutException() | TimeoutError():
            return Again("no answer within `timeout`")
        case _:
            return Again(f"the connection broke before the answer's end: {_said(error)}")


def _again(answer: Answer, now: datetime) -> Again:
    """A busy server has all the time it wants; one that fails may fail because of the record."""
    status = answer.status
    after = 0.0
    if status in (_TOO_MANY, _UNAVAILABLE):
        after = wait_of(answer.retry_after, now)
        if status == _TOO_MANY:
            after = after or _BUSY_WAIT
    patient = status in (_TOO_MANY, _UNAVAILABLE)
    return Again(f"the server answered {answer}", after=after, patient=patient)


def wait_of(retry_after: str | None, now: datetime) -> float:
    """Seconds of a header `Retry-After`, at most 300; 0: the header says none."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _MOST_WAIT)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    if until.tzinfo is None:  # `-0000`: UTC of a source that does not know its own zone
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), _MOST_WAIT)


def _words(answer: Answer) -> str:
    body = answer.body[:SHOWN_BYTES].decode("utf-8", "replace").strip()
    return f"{answer}: {body}" if body else str(answer)


def _tls_reason(error: BaseException) -> str:
    """What TLS says against the connection; empty: TLS is not the reason.

    An end in the middle of a handshake is what a restarting server looks like.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return getattr(cause, "verify_message", "") or str(cause)
        passing = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, passing):
            return (getattr(cause, "reason", None) or str(cause)).replace("_", " ").lower()
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _said(error: Exception) -> str:
    """The text of the innermost error that has one; the client's own errors often have none."""
    texts = [str(cause) for cause in _causes(error) if str(cause)]
    return texts[-1] if texts else type(error).__name__
