"""`python -m tests.kit.error_page` writes docs/errors.md: every code, from `kafka_etl.errors`."""

from __future__ import annotations

import re
from pathlib import Path

from kafka_etl import errors
from kafka_etl.errors import Code, KafkaEtlError

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"

_BEGIN = """# Errors

Each has a code that stays, says what happened with the names involved, and what to do next.
`validate` finds E100 to E203 without Kafka, all at once, with their lines. A running pipeline that
meets one of the others waits until it is over, pauses until `kafka-etl resume NAME`, or stops, and
`kafka-etl status` shows which and why. The daemon's other pipelines run on, and `kafka-etl restart
NAME` starts one again. With the last of them the daemon ends, too, and says why: then it is for
`kafka-etl run`. What is wrong with single records has no code: it stands in their dead letters.

This page is made from `kafka_etl/errors.py`: `python -m tests.kit.error_page`.

## In pipeline files

| code | |
|---|---|
"""
_RUNNING = """
## Beyond them

| code | | then | next |
|---|---|---|---|
"""


def page() -> str:
    """The page as it should be."""
    findings = [f"| {code.value} | {_words(code.name)} |\n" for code in Code]
    known: list[type[KafkaEtlError]] = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, KafkaEtlError) and cls is not KafkaEtlError
    ]
    rows = [
        f"| {cls.code} | {_words(cls.__name__)} | {_then(cls)} | {cls.advice} |\n"
        for cls in sorted(known, key=lambda cls: str(cls.code))
        if not isinstance(cls.code, Code)
    ]
    return _BEGIN + "".join(findings) + _RUNNING + "".join(rows)


def _words(name: str) -> str:
    """`UNKNOWN_KEY` and `TopicMissing` as words."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    return spaced.capitalize().replace("yaml", "YAML")


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
