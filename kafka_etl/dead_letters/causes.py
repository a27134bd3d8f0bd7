"""The commonest causes of the dead letters of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from kafka_etl.dead_letters.letter import Place
from kafka_etl.envelope import fingerprint, fingerprint_of_failure
from kafka_etl.invocation import DeadLetter, Failure
from kafka_etl.record import SourceRecord, offset_of, partition_of

_CAUSES: Final = 50
_TEXT: Final = 200


class Cause(msgspec.Struct, frozen=True):
    """Dead letters of one fingerprint.

    Attributes:
        error: Type and start of the text of the first error, on one line.
        example: The source record of the first one.
        others: Whether some errors say something else than the first one does.
    """

    fingerprint: str
    condition: str
    operator: str
    error: str
    example: Place
    count: int = 1
    others: bool = False

    def __str__(self) -> str:
        operator = f" in {self.operator}" if self.operator else ""
        others = ", and other messages" if self.others else ""
        return (
            f"{self.count:,} {self.condition}{operator}: {self.error}{others} "
            f"(first: {self.example})"
        )


class Causes:
    """How many dead letters there were of each cause; beyond 50 causes, no new one is noted."""

    def __init__(self) -> None:
        self._causes: dict[str, Cause] = {}
        self._texts: dict[str, str] = {}

    def add(self, letter: DeadLetter) -> Cause | None:
        """Count a dead letter; returns its cause if the cause is new."""
        kind = fingerprint(letter)
        known = self._causes.get(kind)
        if known is not None:
            others = known.others or letter.failure.error.message != self._texts.get(kind)
            self._causes[kind] = msgspec.structs.replace(
                known, count=known.count + 1, others=others
            )
            return None
        if len(self._causes) >= _CAUSES:
            return None
        self._causes[kind] = cause_of(letter.failure, letter.record)
        self._texts[kind] = letter.failure.error.message
        return self._causes[kind]

    def include(self, causes: Iterable[Cause]) -> None:
        """Add the counts of another worker."""
        for cause in causes:
            known = self._causes.get(cause.fingerprint)
            if known is None:
                self._causes[cause.fingerprint] = cause
            else:
                self._causes[cause.fingerprint] = msgspec.structs.replace(
                    known,
                    count=known.count + cause.count,
                    others=known.others or cause.others or known.error != cause.error,
                )

    def commonest(self) -> tuple[Cause, ...]:
        """All of them, the commonest first."""
        return tuple(sorted(self._causes.values(), key=lambda cause: -cause.count))


def cause_of(failure: Failure, record: SourceRecord) -> Cause:
    """The cause of one failure, with its record as the example."""
    place = partition_of(record)
    return Cause(
        fingerprint=fingerprint_of_failure(failure),
        condition=failure.condition.value,
        operator=failure.operator,
        error=_one_line(f"{failure.error.type}: {failure.error.message}"),
        example=Place(place.topic, place.number, offset_of(record)),
    )


def _one_line(text: str) -> str:
    """The text on one line, without control characters."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 2 * _TEXT])
    line = " ".join(plain.split())
    return line if len(line) <= _TEXT else f"{line[:_TEXT]}…"
