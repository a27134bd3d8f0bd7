"""Renders dead letters as text for people, and as JSON for programs."""

from __future__ import annotations

from typing import Any, Final

import orjson

from kafka_etl.dead_letters import StoredLetter
from kafka_etl.readable import data_of, headers_of, shown, time_of, value_of

_PAYLOAD: Final = 300
_ERROR: Final = 300


def brief(letter: StoredLetter, status: str) -> str:
    """Render a dead letter of a topic on a few lines, beginning with ID, time and status."""
    return f"{letter.at.id}  {time_of(letter.written_ms)}  {status}  {briefly(letter)}"


def briefly(letter: StoredLetter) -> str:
    """Render a dead letter on a few lines: condition, operator, error, record, key and value."""
    tries = f"{letter.attempts} attempt{'' if letter.attempts == 1 else 's'}"
    lines = [
        failure(letter, _ERROR),
        f"    record  {letter.source}, {tries}",
        f"    key     {shown(letter.key, _PAYLOAD)}",
        f"    value   {shown(letter.value, _PAYLOAD)}",
    ]
    return "\n".join(lines)


def as_json(letter: StoredLetter, status: str) -> str:
    """Render a dead letter as JSON on one line, with its status and its whole context."""
    return orjson.dumps({**parts_of(letter), "status": {"status": status}}).decode()


def parts_of(letter: StoredLetter) -> dict[str, Any]:
    """A dead letter as an object for JSON, with its whole context."""
    return {
        "id": letter.at.id,
        "written": time_of(letter.written_ms),
        "condition": letter.condition,
        "operator": letter.operator,
        "error": {"type": letter.error_type, "message": letter.error_text},
        "fingerprint": letter.fingerprint,
        "pipeline": letter.pipeline,
        "source": {
            "topic": letter.source.topic,
            "partition": letter.source.partition,
            "offset": letter.source.offset,
        },
        "attempts": letter.attempts,
        **data_of("key", letter.key),
        **value_of(letter.value),
        "headers": headers_of(letter.headers),
        "context": letter.context,
    }


def failure(letter: StoredLetter, limit: int) -> str:
    """Condition, operator and error on one line; `limit` is the most characters, 0: no limit."""
    operator = f" in {plain(letter.operator)}" if letter.operator else ""
    error = " ".join(shown(letter.error.encode(), limit).split())
    return f"{plain(letter.condition)}{operator}: {error}"


def plain(text: str) -> str:
    """Text that anybody may have written, without control characters."""
    return shown(text.encode())
