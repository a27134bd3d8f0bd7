"""Renders kinds of dead letters, and dead letters one a line: as a table, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from kafka_etl.dead_letters.statuses import LetterStatus
from kafka_etl.readable import counted, shown, time_of
from kafka_etl.terminal import fitting, is_narrow, wrapped

if TYPE_CHECKING:
    from kafka_etl.dlq.index import Kind
    from kafka_etl.dlq.rows import LetterRow

_TITLES: Final = f"{'LETTERS':>9}  {'SHARE':>6}  FINGERPRINT"
_TIMES: Final = f"       {'FIRST':<19}  LAST"
_INDENT: Final = " " * 11
_FAILURE: Final = 300
_PERCENT: Final = 100
_LINE_END: Final = "\r\n"


def table(kinds: Iterable[Kind], total: int, topic: str, width: int | None) -> Iterator[str]:
    """Yield a line of titles, then three lines for each kind; more on a narrow terminal.

    Args:
        kinds: The kinds that are shown.
        total: Number of letters of all kinds, of which the shares are.
        topic: The dead-letter topic.
        width: Width of the terminal, to which failures are cut; None: the output is no terminal.
    """
    narrow = is_narrow(width)
    yield _TITLES if narrow else _TITLES + _TIMES
    for kind in kinds:
        share = f"{_PERCENT * kind.letters / total:.1f}%"
        first, last = _second(kind.first_ms), _second(kind.last_ms)
        head = f"{kind.letters:>9,}  {share:>6}  {_plain(kind.fingerprint):<16}"
        failure = failure_of(kind.example)
        if width is not None and narrow:
            yield head.rstrip()
            yield from wrapped(f"{first} to {last}", width, _INDENT)
            yield from wrapped(failure, width, _INDENT)
        else:
            yield f"{head}  {first:<19}  {last}"
            yield fitting(f"{_INDENT}{failure}", width)
        states = [f"{count:,} {status}" for status, count in sorted(kind.counts.items())]
        some = f" ({', '.join(states)})" if set(kind.counts) != {LetterStatus.OPEN} else ""
        yield f"{_INDENT}for example {place_of(kind.example, topic)}{some}{_others(kind)}"


def _others(kind: Kind) -> str:
    """How many letters of a kind say something else than the example does."""
    if not kind.other_texts:
        return ""
    least = "at least " if kind.is_sampled else ""
    return f"; and {least}{counted(kind.other_texts, 'other message')}"


def letter_line(row: LetterRow, topic: str, width: int | None) -> str:
    """Render a dead letter: ID, time, status unless open, failure; a narrow terminal gets lines."""
    status = "" if row.status == LetterStatus.OPEN else f"{row.status}  "
    place, facts = place_of(row, topic), f"{_second(row.written_ms)}  {status}{failure_of(row)}"
    if width is not None and is_narrow(width):
        return "\n".join([place, *wrapped(facts, width, "  ")])
    return fitting(f"{place}  {facts}", width)


def place_of(row: LetterRow, topic: str) -> str:
    """The ID of a dead letter."""
    return f"{topic}/{row.place}"


def failure_of(row: LetterRow) -> str:
    """Condition, operator and error of a dead letter, on one line."""
    operator = f" in {row.operator}" if row.operator else ""
    error = row.error if row.error_type else row.error_text
    return " ".join(_plain(f"{row.condition}{operator}: {error}").split())[:_FAILURE]


def kind_fields(kind: Kind, total: int, topic: str) -> dict[str, Any]:
    """A kind for programs, as one flat mapping."""
    row = kind.example
    return {
        "fingerprint": kind.fingerprint,
        "letters": kind.letters,
        "share": round(kind.letters / total, 6),
        **{status.value: kind.counts[status] for status in LetterStatus},
        "first": time_of(kind.first_ms),
        "last": time_of(kind.last_ms),
        "example": place_of(row, topic),
        "record": row.source,
        "condition": row.condition,
        "operator": row.operator,
        "versions": sorted(kind.versions),
        "error_type": row.error_type,
        "error_message": row.error_text,
    }


def letter_fields(row: LetterRow, topic: str) -> dict[str, Any]:
    """A dead letter for programs, as one flat mapping."""
    return {
        "id": place_of(row, topic),
        "written": time_of(row.written_ms),
        "status": row.status,
        "fingerprint": row.fingerprint,
        "condition": row.condition,
        "operator": row.operator,
        "version": row.version,
        "error_type": row.error_type,
        "error_message": row.error_text,
        "pipeline": row.pipeline,
        "record": row.source,
        "attempts": row.attempts,
        "size": row.size,
        "family": row.family,
    }


def json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (orjson.dumps(row).decode() for row in rows)


def csv_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line of names, then one for each row; a list is joined by blanks."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator=_LINE_END)  # cells that hold any of it are quoted
    for number, row in enumerate(rows):
        for cells in ([*row], [*row.values()]) if number == 0 else ([*row.values()],):
            writer.writerow(_cell(cell) for cell in cells)
            yield buffer.getvalue().removesuffix(_LINE_END)
            buffer.seek(0)
            buffer.truncate()


def _cell(value: Any) -> Any:
    return " ".join(cast("list[str]", value)) if isinstance(value, list) else value


def _second(ms: int) -> str:
    """A time without its fraction, in UTC."""
    return (time_of(ms) or "-")[:19].replace("T", " ")


def _plain(text: str) -> str:
    return shown(text.encode())
