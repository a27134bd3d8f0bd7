"""Descriptions of settings, read from the docstrings that document them for developers.

One text serves both: `Attributes:` of a settings model and `Args:` of an operator.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Final

_SECTION: Final = re.compile(r"^(?:Attributes|Args):\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^(\w+): (.*(?:\n {4}.*)*)", re.MULTILINE)
_HEADING: Final = re.compile(r"^\w+:\n(?= {4})", re.MULTILINE)
_WITHOUT: Final = re.compile(r"(^|[;,.] )None: ")
_WORDS: Final = {"False: ": "false: ", "True: ": "true: "}


def summary_of(text: str) -> str:
    """Return what a docstring says before its first section, with a line for each paragraph."""
    paragraphs = _HEADING.split(inspect.cleandoc(text), maxsplit=1)[0].strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def settings_described(text: str) -> dict[str, str]:
    """Return the descriptions of a docstring's settings by name.

    Python's words for values become those of a pipeline file: `None: …` is about a setting that is
    left out.
    """
    section = _SECTION.search(inspect.cleandoc(text) + "\n")
    if section is None:
        return {}
    entries = _ENTRY.findall(textwrap.dedent(section[1]))
    return {name: _in_words(" ".join(told.split())) for name, told in entries}


def _in_words(told: str) -> str:
    def left_out(found: re.Match[str]) -> str:
        begin = "L" if found[1] in ("", ". ") else "l"
        return f"{found[1]}{begin}eft out: "

    for python, yaml in _WORDS.items():
        told = told.replace(python, yaml)
    return _WITHOUT.sub(left_out, told)
