"""The record of a dead letter, as it was before it failed."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from kafka_etl.dead_letters.letter import Place, StoredLetter
from kafka_etl.record import Headers

_CREATE_TIME: Final = 1
_ERROR: Final = 2_000


class ReplayedRecord(msgspec.Struct, frozen=True):
    """The record that failed; see `kafka_etl.record.SourceRecord`.

    Attributes:
        letter: The dead letter, whose history a further failure carries on.
        place: Where the record was; for an unknown or lost source, where the letter is.
        corrected: The value in place of the letter's own; None: the letter's own.
        kept_headers: Headers with those of the failure; None: the record's own.
    """

    letter: StoredLetter
    place: Place
    corrected: bytes | None = None
    kept_headers: Headers | None = None

    @property
    def failures(self) -> int:
        """How often the record has failed."""
        return len(_history(self.letter)) + 1

    @property
    def earlier(self) -> list[dict[str, Any]]:
        """The record's failures so far, oldest first; the last one is that of the letter."""
        letter = self.letter
        if self.kept_headers is not None:
            return []  # the headers tell of them
        failure = {
            "family": letter.family,
            "at_ms": letter.written_ms,
            "letter": letter.at.id,
            "topic": letter.source.topic,
            "partition": str(letter.source.partition),
            "offset": str(letter.source.offset),
            "pipeline": letter.pipeline,
            "operator": letter.operator,
            "version": letter.version,
            "condition": letter.condition,
            "attempts": letter.attempts,
            "error": letter.error[:_ERROR],
        }
        return [*_history(letter), failure]

    def topic(self) -> str | None:
        return self.place.topic

    def partition(self) -> int | None:
        return self.place.partition

    def offset(self) -> int | None:
        return self.place.offset

    def key(self) -> bytes | None:
        return self.letter.key

    def value(self) -> bytes | None:
        return self.letter.value if self.corrected is None else self.corrected

    def headers(self) -> Headers:
        return (self.letter.headers if self.kept_headers is None else self.kept_headers).copy()

    def timestamp(self) -> tuple[int, int]:
        return (_CREATE_TIME, self.letter.record_ms)

    def __len__(self) -> int:
        return len(self.value() or b"")


def _history(letter: StoredLetter) -> list[dict[str, Any]]:
    found: object = letter.context.get("history")
    entries = cast("list[object]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", entry) for entry in entries if isinstance(entry, dict)]
