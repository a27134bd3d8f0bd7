"""Operators that make records of a PostgreSQL log with `log_min_duration_statement` set."""

import re
from collections.abc import Iterator
from typing import TypedDict

from kafka_etl import Permanent, Record

LINE = re.compile(
    r"""
    (?P<at> \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d\.\d{3} )\ UTC
    \ \[(?P<pid> \d+ )\]
    \ (?: (?P<user> \w+ )@(?P<database> \w+ )\ )?
    (?P<level> [A-Z]+ ):\ +(?P<text> .+ )
    """,
    re.VERBOSE,
)
SLOW = re.compile(r"duration: (?P<ms>\d+\.\d+) ms  (?:statement|execute [^:]+): (?P<statement>.+)")
LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
TABLE = re.compile(r"\b(?:from|join|into|update)\s+([\w.]+)", re.IGNORECASE)


class SlowQuery(TypedDict):
    """One statement that took long."""

    at: str
    user: str
    database: str
    ms: float
    statement: str


def parse(line: str, *, slower_than_ms: float = 0) -> SlowQuery | None:
    """Read a line of the log; lines that tell of no slow statement are dropped.

    Literals become `?`: they hold personal data, and statements that differ in nothing else are
    one statement to whoever looks for the slow ones.
    """
    entry = LINE.fullmatch(line)
    if entry is None:
        raise Permanent("not a line of the log: it was cut off, or log_line_prefix has changed")
    slow = SLOW.fullmatch(entry["text"])
    if slow is None or float(slow["ms"]) < slower_than_ms:
        return None
    return {
        "at": entry["at"].replace(" ", "T") + "Z",
        "user": entry["user"],
        "database": entry["database"],
        "ms": float(slow["ms"]),
        "statement": LITERAL.sub("?", slow["statement"]),
    }


def per_table(query: SlowQuery) -> Iterator[Record]:
    """One record for each table of the statement, keyed by it: who owns a table reads its part."""
    for table in sorted(set(TABLE.findall(query["statement"]))):
        yield Record({"table": table, **query}, key=table)
