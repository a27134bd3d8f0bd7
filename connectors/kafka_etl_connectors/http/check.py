"""Preflight: files that can be read, and a server that answers.

A server that is away makes a pipeline wait, not fail; so that is a note here, too.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from kafka_etl.contracts import Again, Deployment, Preflight, Refused, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.http.credentials import Credentials, tls_context
from kafka_etl_connectors.http.exchange import Exchange, knock, proxy_for
from kafka_etl_connectors.http.requests import Outgoing
from kafka_etl_connectors.http.settings import CheckSettings, HttpSettings

_OK: Final = frozenset(range(200, 300))


def check(settings: HttpSettings, deployment: Deployment) -> Preflight:
    """Check the files that settings name, and look whether the server is there.

    Raises:
        Unreachable: The server is away, and the check only looks.
        SinkFailed: A file cannot be read, or the server refuses the request of `check`.
    """
    folder = deployment.folder
    try:
        context = tls_context(settings.tls, folder)
        Credentials(settings.auth, folder).load()
    except Unreachable as error:
        raise SinkFailed(error.reason, "Mend the file, and start the pipeline again.") from error
    notes = [] if settings.tls.verify else ["`tls.verify: false`: anybody can be the server"]
    away: list[str] = []
    if settings.check is not None:
        away = asyncio.run(_ask(settings, settings.check, folder))
    elif proxy_for(settings.url) is None:
        away = asyncio.run(_knock(settings.url, context))
    if away and deployment.looks_only:
        raise Unreachable(away[0])
    return Preflight(notes=(*notes, *away))


async def _knock(url: str, context: ssl.SSLContext) -> list[str]:
    """Connect to the server without a request; return what keeps us from that."""
    try:
        await knock(url, context)
    except (OSError, UnicodeError) as error:
        reason = str(error) or "it does not answer"
        return [
            f"{urlsplit(url).netloc} cannot be reached now: {reason}; records wait until it can"
        ]
    return []


async def _ask(settings: HttpSettings, asked: CheckSettings, folder: Path) -> list[str]:
    """Make the request of `check`; return why the server does not answer it now.

    Raises:
        SinkFailed: The server refuses the request.
    """
    parts = urlsplit(settings.url)
    place = f"{asked.method} {parts.scheme}://{parts.netloc}{asked.path}"
    # What acknowledges a record need not be what a look at the server's health answers.
    either = settings.model_copy(update={"success": settings.success | _OK})
    exchange = Exchange(either, folder, connections=1)
    exchange.open()
    url = f"{parts.scheme}://{parts.netloc}{asked.path}"
    headers = [
        (name.encode("ascii"), value.get_secret_value().encode("ascii"))
        for name, value in settings.headers.items()
    ]
    try:
        verdict = await exchange.ask(Outgoing(asked.method, url, headers, b""))
    finally:
        await exchange.close()
    match verdict:
        case Refused(code=code):
            raise SinkFailed(f"{place} answered {code}", "Mend `check`, or leave it out.")
        case Unreachable(reason=reason) if verdict.mend and not reason.startswith("TLS"):
            raise SinkFailed(f"{place}: {reason}", "Mend it, and start the pipeline again.")
        case Unreachable(reason=reason):
            return [f"{place}: {reason}; records wait until it answers"]
        case Again(reason=reason):
            return [f"{place}: {reason}"]
        case _:
            return []
