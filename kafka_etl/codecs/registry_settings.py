"""Which settings of the schema registry's client a pipeline may give. Imports no client."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

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

_NUMBERS: Final = frozenset(["timeout", "max.retries", "retries.wait.ms", "retries.max.wait.ms"])
_CERTIFICATE: Final = "ssl.certificate.location"

Value = str | int | float | bool

DEFAULTS: Final[Mapping[str, int]] = {"timeout": 5, "max.retries": 0}
"""The client's own are to wait for ever, and to sleep between tries while the batch is in hand."""


def objection(name: str) -> str | None:
    """Why this setting may not stand under `registry`; None when it may."""
    if name in ALLOWED:
        return None
    if name in REFUSED:
        return f"`{name}` cannot be set: {REFUSED[name]}"
    return f"`{name}` is not a setting of the schema registry's client that pipelines may give"


def value_objection(name: str, value: Value, settings: Mapping[str, Value]) -> str | None:
    """Why the client would not take this value; None when it would. Never says the value itself.

    Args:
        name: Of the setting.
        value: What was given for it.
        settings: All that was given.
    """
    if name in _NUMBERS:
        return _number_objection(name, value)
    if not isinstance(value, str):
        fine = name not in ALLOWED or (name == "ssl.ca.location" and value is False)
        return None if fine else f"`{name}` should be text: put it in quotes"
    match name:
        case "url":
            return _url_objection(value)
        case "basic.auth.user.info":
            return _login_objection(value, str(settings.get("url", "")))
        case "ssl.key.location" | "ssl.key.password" if _CERTIFICATE not in settings:
            return f"`{name}` is of no use without `{_CERTIFICATE}`"
        case _:
            return None


def fitting(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Settings as the client wants them: a variable of the environment makes text of a number."""
    return {
        name: _number(value) if name in _NUMBERS and isinstance(value, str) else value
        for name, value in settings.items()
    }


def _number(value: Value) -> float:
    """-1 for what is none."""
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except ValueError:
        return -1.0
    return number if math.isfinite(number) else -1.0


def _number_objection(name: str, value: Value) -> str | None:
    number, least = _number(value), "more than 0" if name == "timeout" else "0 or more"
    sound = number > 0 or (number == 0 and name != "timeout")
    return None if sound else f"`{name}` should be a number, {least}"


def _url_objection(url: str) -> str | None:
    parts = [part.strip() for part in url.split(",")]
    if all(part.startswith(("http://", "https://")) and _authority(part) for part in parts):
        return None
    return "`registry.url` should begin with http:// or https:// and name a host"


def _login_objection(login: str, url: str) -> str | None:
    if ":" not in login:
        return "`basic.auth.user.info` should be USER:PASSWORD"
    first, _, _ = url.partition(",")
    if "@" in _authority(first.strip()):
        return "`basic.auth.user.info` and `registry.url` both name a user: leave one of them out"
    return None


def _authority(url: str) -> str:
    """Host and port, perhaps with a user; empty for what is no URL."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
