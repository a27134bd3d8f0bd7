"""`python -m tests.kit.error_page` writes docs/errors.md: all codes, with their explanations."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from kafka_etl import errors
from kafka_etl.errors import Code, KafkaEtlError
from kafka_etl.explanations import Explanation, explanation_of

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"

_BEGIN = """# Errors

Every error has a permanent code. It says what happened, with the names involved, and what to do
next. `kafka-etl explain CODE` explains one error; this page explains all of them.

`kafka-etl validate` finds E100 to E203 and E603 without Kafka, all at once, with their lines;
`--connect` also finds those of the others that show without changing anything. A running pipeline
with an error waits until it is over, pauses until `kafka-etl resume NAME`, or stops; `kafka-etl
status` shows which, and why. The other pipelines of the daemon keep running, and `kafka-etl restart
NAME` starts a stopped one again. When the last pipeline stops, the daemon ends, too, and says why:
then use `kafka-etl run`. Failures of single records have no codes: they are in the dead letters.

This page is made from `kafka_etl/explanations` and `kafka_etl/errors.py`: `python -m
tests.kit.error_page`.

## In pipeline files

| code | |
|---|---|
"""
_RUNNING = """
## Elsewhere

| code | | a running pipeline |
|---|---|---|
"""


def page() -> str:
    """The page as it should be."""
    findings = [explanation_of(code) for code in Code]
    known: list[type[KafkaEtlError]] = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, KafkaEtlError) and cls is not KafkaEtlError
    ]
    others = {
        cls.code: cls
        for cls in sorted(known, key=lambda cls: str(cls.code))
        if not isinstance(cls.code, Code)
    }
    explained = [explanation_of(code) for code in others]
    rows = [f"| {_link(each)} | {_then(others[each.code])} |\n" for each in explained]
    return "".join(
        [
            _BEGIN,
            *(f"| {_link(each)} |\n" for each in findings),
            _RUNNING,
            *rows,
            *map(_section, sorted([*findings, *explained], key=lambda each: each.code)),
        ]
    )


def _link(explained: Explanation) -> str:
    """Two cells of a row; the first one leads to the section."""
    anchor = re.sub(r"[^\w -]", "", _heading(explained)).lower().replace(" ", "-")
    return f"[{explained.code}](#{anchor}) | {explained.title}"


def _heading(explained: Explanation) -> str:
    return f"{explained.code}: {explained.title}"


def _section(explained: Explanation) -> str:
    steps = explained.next_step.split("\n\n")
    wrapped = (_filled(step, first=step is steps[0]) for step in steps)
    parts = [f"\n## {_heading(explained)}", explained.text, *wrapped]
    for word, examples in (("Wrong", explained.wrong), ("Right", explained.right)):
        blocks = (f"```{each.language}\n{each.text}```" for each in examples)
        parts += [f"{word}:", *blocks] if examples else []
    return "\n\n".join(parts) + "\n"


def _filled(step: str, *, first: bool) -> str:
    text = f"**Next:** {step}" if first else step
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _then(cls: type[KafkaEtlError]) -> str:
    if cls is errors.BrokersUnreachable:
        return "waits"
    if cls.pauses:
        return "pauses"
    if cls.code.startswith(("E33", "E34")):
        return "-"  # of commands: no pipeline is concerned
    return "stops" if cls.code[1] in "34" else "-"


if __name__ == "__main__":
    PAGE.write_text(page())
