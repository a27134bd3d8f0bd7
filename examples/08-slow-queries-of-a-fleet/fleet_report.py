"""Reports the slowest statements of one database in one night, from its log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kafka_etl import Context, Permanent, Record

LINE: Final = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\] (?:\w+@\w+ )?[A-Z]+:  (?P<text>.+)"
)
SLOW: Final = re.compile(
    r"duration: (?P<ms>\d+\.\d+) ms  (?:statement|execute [^:]+): (?P<statement>.+)"
)
LITERAL: Final = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
LIST: Final = re.compile(r"\(\?(?:, ?\?)+\)")
TELL_EVERY: Final = 1000


class DatabaseAway(OSError):
    """The logs of a database cannot be reached; they may be later."""


@dataclass
class Statement:
    """One statement with all its literals left out.

    Attributes:
        text: The statement.
        count: How often it was slow.
        total_ms: How long it took in all.
        max_ms: How long it took at most.
    """

    text: str
    count: int = 0
    total_ms: float = 0
    max_ms: float = 0

    def took(self, ms: float) -> None:
        """It was run once more."""
        self.count += 1
        self.total_ms += ms
        self.max_ms = max(self.max_ms, ms)


def report(
    task: dict[str, Any], context: Context, *, logs: str, slower_than_ms: float, top: int
) -> list[Record]:
    """Group the slow statements of a night, and make a record of each of the slowest.

    Args:
        task: Names the database and the night.
        context: Of the attempt.
        logs: Folder with a folder for each database, which is mounted from its host.
        slower_than_ms: Statements that took less are left out.
        top: How many statements are reported.
    """
    database, night = task["database"], task["night"]
    statements: dict[str, Statement] = {}
    for text, ms in slow_statements(Path(logs) / database, night, context):
        if ms >= slower_than_ms:
            key = normalised(text)
            statements.setdefault(key, Statement(key)).took(ms)
    slowest = sorted(statements.values(), key=lambda statement: -statement.total_ms)[:top]
    return [
        Record(
            {
                "database": database,
                "night": night,
                "rank": rank,
                "statement": statement.text,
                "count": statement.count,
                "total_ms": round(statement.total_ms),
                "max_ms": round(statement.max_ms),
            },
            key=database,
        )
        for rank, statement in enumerate(slowest, 1)
    ]


def slow_statements(folder: Path, night: str, context: Context) -> Iterator[tuple[str, float]]:
    """Yield statement and milliseconds of each slow statement in the log of a night."""
    if not folder.is_dir():
        raise DatabaseAway(f"{folder} is not mounted: is {folder.name} away?")
    file = folder / f"{night}.log"
    size = max(1, file.stat().st_size)
    read = 0
    with file.open("rb") as lines:
        for number, data in enumerate(lines, 1):
            line = LINE.fullmatch(data.decode("utf-8", "replace").rstrip("\n"))
            if line is None:
                raise Permanent(f"{file}, line {number} is no line of a PostgreSQL log")
            slow = SLOW.fullmatch(line["text"])
            if slow is not None:
                yield slow["statement"], float(slow["ms"])
            read += len(data)
            if number % TELL_EVERY == 0:
                context.check()
                context.progress(read / size, f"line {number:,}")


def normalised(statement: str) -> str:
    """The statement with `?` for its literals, and one for a list of them."""
    return LIST.sub("(?)", LITERAL.sub("?", " ".join(statement.split())))
