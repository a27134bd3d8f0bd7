"""Clearer errors for bytes that are no JSON, where the parser's own error says little."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_MARKS: Final[Mapping[bytes, str]] = {
    b"\xef\xbb\xbf": "a byte order mark, which JSON does not have",
    b"\xff\xfe": "the byte order mark of UTF-16, and JSON is UTF-8",
    b"\xfe\xff": "the byte order mark of UTF-16, and JSON is UTF-8",
}
_HALF: Final = re.compile(
    rb"\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(\\ud[89a-f][0-9a-f]{2})", re.IGNORECASE
)
"""Matches escaped backslashes, escaped surrogate pairs and, as group 1, a lone surrogate.

The first two are matched so that the search skips them.
"""


def explain_broken(data: bytes, error: BaseException) -> BaseException:
    """Return a clearer error for bytes that the decoder refused; else the same error."""
    for mark, said in _MARKS.items():
        if data.startswith(mark):
            return ValueError(f"the value begins with {said}")
    if not data:
        return ValueError("the value is empty, which is no JSON")
    if "truncated" in str(error) or "surrogate" in str(error):
        for found in _HALF.finditer(data):
            if found[1]:
                return ValueError(
                    f"the text at byte {found.start()} has {found[1].decode()}, half of a "
                    "character of UTF-16, without its other half"
                )
    return error
