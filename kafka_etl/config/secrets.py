"""Keeps secrets out of what is shown: those of a pipeline file, and those in data."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final
from urllib.parse import unquote

from kafka_etl.config.document import Document
from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.config.report import SECRET_NAME

HIDDEN: Final = "***"
_SHORTEST: Final = 4
"""Characters of a secret: hiding shorter ones would garble unrelated texts."""
_LOGIN: Final = re.compile(r"(://[^/:@\s]*:)([^@/\s]+)(?=@)")


def hiding(document: Document) -> Callable[[str], str]:
    """A function that replaces the document's secrets in a text.

    Secrets are values of variables, settings whose names look like a secret's, and passwords in
    URLs. A secret is also found in the form in which `repr` writes it.
    """
    secrets = dict.fromkeys(_literal(document.data), HIDDEN) | dict(document.secrets)
    secrets |= {repr(secret)[1:-1]: shown for secret, shown in secrets.items()}
    longest_first = sorted(secrets, key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, secrets[secret])
        return _LOGIN.sub(rf"\1{HIDDEN}", text)

    return hide


def redacted(data: Any, names: Collection[str]) -> Any:
    """JSON without the values of fields that have one of these names, or a telling name."""

    def is_secret(name: object) -> bool:
        return name in names or SECRET_NAME.search(str(name)) is not None

    if is_list(data):
        return [redacted(part, names) for part in data]
    if not is_mapping(data):
        return data
    is_header = "name" in data and data.keys() <= {"name", "value", "value_hex"}
    if is_header and is_secret(data["name"]):
        return {"name": data["name"], "value": HIDDEN}
    return {name: HIDDEN if is_secret(name) else redacted(d, names) for name, d in data.items()}


def _literal(data: Any) -> Iterator[str]:
    """The secrets that stand in the file itself, each at least four characters long."""
    for name, text in _texts(data, ""):
        found = [unquote(login[1]) for login in _LOGIN.findall(text)]
        found += [login[1] for login in _LOGIN.findall(text)]
        if SECRET_NAME.search(name):
            found += [text, text.rpartition(":")[2]]  # `user:password` holds a secret, too
        yield from (one for one in found if len(one) >= _SHORTEST)


def _texts(data: Any, name: str) -> Iterator[tuple[str, str]]:
    """Each text in the data, with the name of its setting."""
    if is_mapping(data):
        for key, value in data.items():
            yield from _texts(value, str(key))
    elif is_list(data):
        for value in data:
            yield from _texts(value, name)
    elif isinstance(data, str):
        yield name, data
