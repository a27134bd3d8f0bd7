"""Checks the settings of the schema registry's client in a pipeline file, without the client."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
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
_SOURCE: Final = "bearer.auth.credentials.source"
_ISSUER: Final = "bearer.auth.issuer.endpoint.url"
_CLUSTER: Final = "bearer.auth.logical.cluster"
_POOL: Final = "bearer.auth.identity.pool.id"
_BEARER: Final[Mapping[str, Sequence[str]]] = {
    "STATIC_TOKEN": [_CLUSTER, "bearer.auth.token"],
    "OAUTHBEARER": [
        _CLUSTER,
        "bearer.auth.client.id",
        "bearer.auth.client.secret",
        "bearer.auth.scope",
        _ISSUER,
    ],
    "OAUTHBEARER_AZURE_IMDS": [_CLUSTER, _ISSUER],
}
"""Source of bearer credentials -> the further settings that the source requires."""

_WEB: Final = ("http://", "https://")
_SOCKS: Final = ("socks5://", "socks5h://")
_HOST: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?|[\da-f.]*:[\da-f:.]*(%\w+)?")

_SHOWN: Final = re.compile(r"(\w+://)?[\w.-]*(:\d+)?/?")
"""The form of an address that errors may quote: any longer address may contain a password."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HEADER: Final = re.compile(r"([!-~]([ -~]*[!-~])?)?")
_HEADERS: Final = frozenset([_CLUSTER, _POOL, "bearer.auth.token"])
"""The settings that the client sends unchanged in HTTP headers."""

Value = str | int | float | bool

DEFAULTS: Final[Mapping[str, int]] = {"timeout": 5, "max.retries": 0}
"""Values of settings that the pipeline file leaves out; the timeout is in seconds.

The client's own defaults wait for ever, and sleep between retries while the worker has a batch.
"""


def objection(name: str) -> str | None:
    """Return why a setting is not allowed under `registry`; None: the setting is allowed."""
    if name in ALLOWED:
        return None
    if name in REFUSED:
        return f"`{name}` cannot be set: {REFUSED[name]}"
    return f"`{name}` is not a setting of the schema registry's client that pipelines may give"


def value_objection(name: str, value: Value, settings: Mapping[str, Value]) -> str | None:
    """Return why the client would refuse a value; None: the client accepts the value.

    The text quotes no password.

    Args:
        name: Name of the setting.
        value: Value of the setting in the pipeline file.
        settings: All settings under `registry`.
    """
    if name in _NUMBERS:
        return _number_objection(name, value)
    if isinstance(value, str):
        return _sending_objection(name, value) or _text_objection(name, value, settings)
    fine = name not in ALLOWED or (name == "ssl.ca.location" and value is False)
    return None if fine else f"`{name}` should be text: put it in quotes"


def fitting(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Return the settings in the types that the client requires.

    A number that comes from an environment variable is text in the pipeline file.
    """
    return {name: _number(value) if name in _NUMBERS else value for name, value in settings.items()}


def _number(value: Value) -> float:
    """Return a number from a setting; -1: the value is no number.

    A whole number is an `int`, because the client passes the number of retries to `range`.
    """
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except ValueError:
        return -1
    if not math.isfinite(number):
        return -1
    return int(number) if number.is_integer() else number


def _number_objection(name: str, value: Value) -> str | None:
    number = _number(value)
    kind, least = "a number", "0 or more"
    sound = number >= 0
    if name == "timeout":
        sound, least = number > 0, "more than 0"
    elif name == "max.retries":
        sound, kind = sound and isinstance(number, int), "a whole number"
    return None if sound else f"`{name}` should be {kind}, {least}; it is {value}"


def _text_objection(name: str, value: str, settings: Mapping[str, Value]) -> str | None:
    if not value and name in ALLOWED - {"ssl.key.password"}:
        return f"`{name}` is empty: leave it out"
    match name:
        case "url" | "proxy" | "bearer.auth.issuer.endpoint.url":
            return _url_objection(name, value)
        case "basic.auth.user.info":
            return _login_objection(value, str(settings.get("url", "")))
        case "ssl.key.location" | "ssl.key.password" if _CERTIFICATE not in settings:
            return f"`{name}` is of no use without `{_CERTIFICATE}`"
        case _ if name.startswith("bearer."):
            return _bearer_objection(name, value, settings)
        case _:
            return None


def _sending_objection(name: str, value: str) -> str | None:
    """Return why HTTP cannot send a value; mounted secrets, for example, end with a line break."""
    if name not in ALLOWED:
        return None
    if value.endswith("\n"):
        return f"`{name}` ends with a line break: take it off"
    if _CONTROL.search(value):
        return f"`{name}` holds a control character, perhaps a line break or a tab"
    if name in _HEADERS and not _HEADER.fullmatch(value):
        return f"`{name}` should be plain ASCII, without blanks at its ends"
    return None


def _url_objection(name: str, text: str) -> str | None:
    urls = [url.strip() for url in text.split(",")] if name == "url" else [text]
    schemes = (*_WEB, *_SOCKS) if name == "proxy" else _WEB
    for url in urls:
        if not url.startswith(schemes):
            either = f"{', '.join(schemes[:-1])} or {schemes[-1]}"
            return f"`{name}` should begin with {either}{_it_is(url, text)}"
        if url.startswith(_SOCKS) and find_spec("socksio") is None:
            return f"`{name}` needs the package socksio{_it_is(url, text)}"
        if not _names_host(url):
            wanted = "a host, and if a port, one from 1 to 65535"
            return f"`{name}` should name {wanted}{_it_is(url, text)}"
    return None


def _names_host(url: str) -> bool:
    """Whether an address has a well-formed host and, if any, a valid port."""
    try:
        parts = urlsplit(url)
        return _HOST.fullmatch(parts.hostname or "") is not None and parts.port != 0
    except ValueError:
        return False


def _it_is(url: str, text: str) -> str:
    """Return `; it is URL` for an error; empty: the text may contain a password.

    If the whole text names a user, this part of it may be a piece of a password with a comma.
    """
    return f"; it is {url}" if "@" not in text and _SHOWN.fullmatch(url) else ""


def _login_objection(login: str, url: str) -> str | None:
    user, colon, _ = login.partition(":")
    if not (user and colon):
        return "`basic.auth.user.info` should be USER:PASSWORD"
    first, _, _ = url.partition(",")
    if "@" in _authority(first.strip()):
        return "`basic.auth.user.info` and `registry.url` both name a user: leave one of them out"
    return None


def _bearer_objection(name: str, value: str, settings: Mapping[str, Value]) -> str | None:
    if name == _SOURCE:
        if value not in _BEARER:
            return f"`{name}` should be one of {', '.join(_BEARER)}; it is {value}"
        missing = [f"`{needed}`" for needed in _BEARER[value] if needed not in settings]
        return f"`{name}: {value}` needs {', '.join(missing)}, too" if missing else None
    source = settings.get(_SOURCE)
    if source is None:
        return f"`{name}` is of no use without `{_SOURCE}`"
    used = [_POOL, *_BEARER.get(str(source), ALLOWED)]
    return None if name in used else f"`{name}` is of no use with `{_SOURCE}: {source}`"


def _authority(url: str) -> str:
    """Return host and port of an address, with the user if any; empty: the text is no URL."""
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
