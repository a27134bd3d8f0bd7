"""Which settings of the schema registry's client a pipeline may give. Imports no client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ALLOWED: Final = frozenset(
    [
        "url",
        "basic.auth.user.info",
        "bearer.auth.credentials.source",
        "bearer.auth.token",
        "bearer.auth.logical.cluster",
        "bearer.auth.identity.pool.id",
        "bearer.auth.client.id",
        "bearer.auth.client.secret",
        "bearer.auth.scope",
        "bearer.auth.issuer.endpoint.url",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "proxy",
        "timeout",
        "max.retries",
        "retries.wait.ms",
        "retries.max.wait.ms",
    ]
)

_CACHED: Final = "each schema is asked for once, and the latest one once per start"
REFUSED: Final[Mapping[str, str]] = {
    "cache.capacity": _CACHED,
    "cache.latest.ttl.sec": _CACHED,
    "auto.register.schemas": "give the codec `register: true`",
    "use.latest.version": "it is the default; give the codec `schema` for another",
    "subject.name.strategy": "give the codec `subject: topic`, `record` or `topic_record`",
}

DEFAULTS: Final[Mapping[str, int]] = {"timeout": 5, "max.retries": 0}
"""The client's own are to wait for ever, and to sleep between tries while the batch is in hand."""


def objection(name: str) -> str | None:
    """Why this setting may not stand under `registry`; None when it may."""
    if name in ALLOWED:
        return None
    if name in REFUSED:
        return f"`{name}` cannot be set: {REFUSED[name]}"
    return f"`{name}` is not a setting of the schema registry's client that pipelines may give"
