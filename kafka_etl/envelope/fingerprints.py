"""Fingerprints: equal for failures of one kind, whatever the data that a record brought along."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Final

_MESSAGE: Final = 500
"""Characters of a message that count."""
_FRAMES: Final = 3
"""Innermost frames of the user's own code that count."""
_LENGTH: Final = 16

_FRAME: Final = re.compile(
    r'^\s*File "(?P<path>[^"\n]*)", line (?P<line>\d+), in (?P<function>.*)$', re.MULTILINE
)
_LIBRARY: Final = re.compile(r"[/\\](?:site-packages|dist-packages|lib[/\\]python3[^/\\]*)[/\\]|^<")
_FRAMEWORK: Final = Path(__file__).parents[1]
_NAMES_IN_QUOTES: Final = re.compile(
    r"(?:Key|Attribute|Name|UnboundLocal|Type|Import|NotFound)Error$"
)
"""Classes whose messages quote names in the code or in the data's structure."""
_QUOTED: Final = re.compile(r"(?<!\w)'[^'\n]*'(?!\w)|\"[^\"\n]*\"")
_UUID: Final = re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b")
_HEX: Final = re.compile(r"\b(?:0[xX][0-9a-fA-F]+|(?=[a-fA-F]*\d)[0-9a-fA-F]{8,})\b")
_ADDRESS: Final = re.compile(r"\b\w+://\S+|\b[\w.+-]+@[\w-]+\.[\w.-]+")
_CODE: Final = re.compile(r"\b[A-Z][A-Z0-9_-]*[A-Z0-9]\b")
"""A word in capitals: a currency, a country, a status."""
_NUMBER: Final = re.compile(r"[+-]?\d+(?:[.,:_-]?\d+)*(?:[eE][+-]?\d+)?")


def fingerprint_of(
    condition: str, operator: str, error_type: str, message: str, traceback: str = ""
) -> str:
    """Make the fingerprint of a failure.

    Failures of one kind have the same condition, operator and class of error, the same innermost
    functions of the user's own code, and the same message once numbers, ids, times, words in
    capitals and quoted data are taken out. Line numbers do not count: an edit elsewhere in the file
    makes no new kind.

    Args:
        condition: Name of the condition.
        operator: Name of the operator; empty: no operator failed.
        error_type: Class of the error, with its module.
        message: Text of the error.
        traceback: Frames as Python writes them, without lines of source.
    """
    return _digest(condition, operator, error_type, message[:_MESSAGE], traceback)


@lru_cache(maxsize=256)
def _digest(condition: str, operator: str, error_type: str, message: str, traceback: str) -> str:
    parts = (condition, operator, error_type, normalised(message, error_type), *_own(traceback))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:_LENGTH]


def normalised(message: str, error_type: str = "") -> str:
    """The message without the data of its record: `no rate for XAU in 17` has `#` for both."""
    if not _NAMES_IN_QUOTES.search(error_type):
        message = _QUOTED.sub("'…'", message)
    for pattern in (_ADDRESS, _UUID, _HEX, _CODE, _NUMBER):
        message = pattern.sub("#", message)
    return " ".join(message.split())


def is_library(path: str) -> bool:
    """Whether a file of code is a library's, or no file at all, and so not the user's own."""
    return _LIBRARY.search(path) is not None


def is_users(path: str) -> bool:
    """Whether a file of code is the user's own: no library's, and none of the framework."""
    return not is_library(path) and not Path(path).is_relative_to(_FRAMEWORK)


def own_frame(traceback: str) -> str | None:
    """The innermost frame of the user's own code as `FILE:LINE, in FUNCTION`, if there is one."""
    own = [found for found in _FRAME.finditer(traceback) if not is_library(found["path"])]
    return f"{own[-1]['path']}:{own[-1]['line']}, in {own[-1]['function']}" if own else None


def _own(traceback: str) -> list[str]:
    """The innermost frames of the user's own code, or the innermost frame of all."""
    frames = [(found["path"], found["function"]) for found in _FRAME.finditer(traceback)]
    own = [frame for frame in frames if not is_library(frame[0])] or frames[-1:]
    return [f"{PurePath(path).name}:{function}" for path, function in own[-_FRAMES:]]
