"""Explanations of the error codes: a Markdown page each, in the folder of this module.

`kafka-etl explain` shows the pages, and docs/errors.md is made of them. What to do next begins with
the advice of the error's class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafka_etl.errors import advice_of

_PAGES: Final = Path(__file__).parent
_HEADING: Final = re.compile(r"^## (Next|Wrong|Right)\n", re.MULTILINE)
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Example:
    """A part of an example: of a pipeline file, of a module, or of a session in a shell.

    Attributes:
        language: `yaml`, `python` or `console`.
        text: Text of the part.
    """

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one error code.

    Attributes:
        code: Code of the error.
        title: The error in a few words.
        text: What has happened, and why, in paragraphs.
        next_step: What to do about it, likewise.
        wrong: Example that has the error, in parts; empty: the error shows in no file.
        right: The same without the error.
    """

    code: str
    title: str
    text: str
    next_step: str
    wrong: tuple[Example, ...] = ()
    right: tuple[Example, ...] = ()


def known_codes() -> list[str]:
    """Return all codes that have an explanation, in their order."""
    return sorted(page.stem for page in _PAGES.glob("E*.md"))


def explanation_of(code: str) -> Explanation:
    """Read the explanation of a known code."""
    page = (_PAGES / f"{code}.md").read_text(encoding="utf-8")
    title, _, body = page.partition("\n")
    text, *sections = _HEADING.split(body)
    by_heading = dict(zip(sections[::2], sections[1::2], strict=True))
    advice = (advice_of(code), by_heading.get("Next", "").strip())
    return Explanation(
        code,
        title.removeprefix("# "),
        text.strip(),
        "\n\n".join(filter(None, advice)),
        _examples(by_heading, "Wrong"),
        _examples(by_heading, "Right"),
    )


def _examples(sections: Mapping[str, str], heading: str) -> tuple[Example, ...]:
    found = _BLOCK.findall(sections.get(heading, ""))
    return tuple(Example(language, text) for language, text in found)
