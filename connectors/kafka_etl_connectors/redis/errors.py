"""Whose fault an error of the server is: all are the target's, some of them for a user to mend."""

from __future__ import annotations

import re
from typing import Final

from redis import RedisError, ResponseError, exceptions

from kafka_etl.contracts import Unreachable

_CODE: Final = re.compile(r"(?:ERR )?(?:-)?([A-Z]{3,})\b")
_WHERE_IN_SCRIPT: Final = re.compile(r",? script: [0-9a-f]{40}.*")
_DENIED_IN_SCRIPT: Final = "ACL failure in script"
_TO_MEND: Final = frozenset(
    {
        "OOM", "READONLY", "NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE", "MISCONF", "MOVED",
        "CROSSSLOT", "DENIED",
    }
)  # fmt: skip
"""Codes of full memory, of a replica, of missing rights, of a key of another type, of a disk that
is full, of a cluster, and of protected mode. Not among them: LOADING, BUSY, MASTERDOWN, TRYAGAIN,
NOREPLICAS and CLUSTERDOWN, which pass."""
_CLASSES: Final = (
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.AuthenticationError, "NOAUTH"),
)
"""Classes whose text the client has robbed of the code."""


def code_of(error: RedisError) -> str:
    """The server's code of an error; empty: there is none, as in a lost connection."""
    for kind, code in _CLASSES:
        if isinstance(error, kind):
            return code
    if str(error).startswith(_DENIED_IN_SCRIPT):
        return "NOPERM"
    found = _CODE.match(str(error)) if isinstance(error, ResponseError) else None
    return found[1] if found else ""


def target(error: RedisError, place: str) -> Unreachable:
    """The error as the target's fault; the text is the server's first line."""
    code = code_of(error)
    lines = str(error).splitlines() or [type(error).__name__]
    said = _WHERE_IN_SCRIPT.sub("", lines[0])[:300]
    if code and not said.startswith(code):
        said = f"{code} {said}"
    return Unreachable(f"Redis at {place}: {said}", mend=code in _TO_MEND)
