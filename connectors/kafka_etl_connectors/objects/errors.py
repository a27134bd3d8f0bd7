"""What an error of an object store means: nothing that it says is ever a row's fault."""

from __future__ import annotations

import re
from typing import Final

from kafka_etl.contracts import Unreachable

_FOR_USERS: Final = {
    "FileNotFoundError": "there is no such bucket or folder",
    "InvalidPathError": "the path is not allowed",
    "NotADirectoryError": "a file stands where a folder should be",
    "NotSupportedError": "the store lacks this operation",
    "PermissionDeniedError": "access is denied",
    "PermissionError": "access is denied",
    "UnauthenticatedError": "the credentials are not accepted",
    "UnknownConfigurationKeyError": "a setting does not belong to this kind of store",
    "ValueError": "a setting is wrong",
}
"""Names of the client's errors that only a user can mend."""
_SAID_BY_SERVERS: Final = re.compile(
    r"NoSuchBucket|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|NotImplemented"
    r"|ExpiredToken|InvalidBucketName|No space left|Read-only file system|Permission denied"
    r"|status:? 40[13]|status:? 501",
    re.IGNORECASE,
)
_SECRETS: Final = re.compile(
    r"(?i)((?:signature|sig|token|credential|secret)[\w-]*=|authorization\s*[=:]\s*(?:\w+ )?)"
    r"[^\s,&<>]+"
)
_ANSWER: Final = re.compile(r"<Code>(?P<code>[^<]+)</Code>\s*<Message>(?P<message>[^<]*)</Message>")
_CLUTTER: Final = (
    (re.compile(r"^Generic \w+ error: "), ""),
    (re.compile(r"Error performing (?:list request: Error performing )?(?=[A-Z]+ http)"), ""),
    (re.compile(r"(https?://[^/\s]+)/\S*"), r"\1/…"),
    (
        re.compile(
            r" in [\d.]+\w*s\b(?:, after \d+ retries, max_retries: \d+, retry_timeout: \w+)?"
        ),
        "",
    ),
    (re.compile(r" - (?:HTTP error: )?"), ": "),
)
"""What the client adds, which differs from try to try or names an object that nobody looks for."""
_LONGEST: Final = 300


def unreachable(error: Exception) -> Unreachable:
    """The error as the framework knows it; `mend` where waiting alone does not help."""
    text = words(error)
    meant = _FOR_USERS.get(type(error).__name__)
    if meant is not None:
        return Unreachable(f"{meant}: {text}", mend=True)
    if isinstance(error, OSError):  # of a folder, or of open files
        return Unreachable(text, mend=True)
    return Unreachable(text, mend=_SAID_BY_SERVERS.search(str(error)) is not None)


def words(error: Exception) -> str:
    """What the server said, else the client's first lines: without secrets, and each time alike."""
    text = str(error).split("\n\nDebug source:")[0]
    said = _ANSWER.search(text)
    if said is not None:
        text = f"{said['code']}: {said['message']}"
    for pattern, replacement in _CLUTTER:
        text = pattern.sub(replacement, text)
    return _SECRETS.sub(r"\1***", " ".join(text.split()))[:_LONGEST] or type(error).__name__
