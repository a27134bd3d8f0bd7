"""The word that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A question that names the nearest of the words; empty where none is near."""
    by_letters = {known.lower(): known for known in words}
    close = difflib.get_close_matches(word.lower(), by_letters, n=1)
    return f"did you mean `{by_letters[close[0]]}`?" if close else ""
