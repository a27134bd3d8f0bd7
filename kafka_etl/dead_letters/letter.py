"""A dead letter as it is read back from its topic, whichever system wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from kafka_etl.record import Headers

_LARGEST: Final = 2**63 - 1


def told_number(value: str | bytes | None) -> int:
    """A number that a header tells; -1: none, or one that is too large for Kafka."""
    try:
        number = int(value or "")
    except ValueError:
        return -1
    return number if abs(number) <= _LARGEST else -1


class Place(msgspec.Struct, frozen=True):
    """Where a record is."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"

    @property
    def id(self) -> str:
        """As one argument of a command."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class StoredLetter(msgspec.Struct, frozen=True):
    """A dead letter in its topic.

    Attributes:
        at: Where the dead letter is.
        source: Where the record is that failed.
        written_ms: When the dead letter was written; milliseconds since the epoch.
        record_ms: Timestamp of the record; -1: unknown.
        pipeline: Name of the pipeline, or of a foreign system's connector, group or the like.
        version: Version of the operator.
        headers: Those of the record that failed, without those of its failure.
        context: The whole invocation; empty where it was cut or is no JSON object. Of a foreign
            dead letter: `family`, and `headers`, those of its failure as texts, with a list of
            texts for a header that is there several times; `history` has earlier failures.
        family: The system that wrote the dead letter: `kafka_etl`, or one of `FOREIGN`.
    """

    at: Place
    source: Place
    written_ms: int
    pipeline: str
    operator: str
    condition: str
    error_type: str
    error_text: str
    fingerprint: str
    attempts: int
    record_ms: int
    version: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    context: Mapping[str, Any]
    family: str = "kafka_etl"

    @property
    def error(self) -> str:
        return f"{self.error_type}: {self.error_text}"

    @property
    def traceback(self) -> str:
        """Traceback of the last attempt, as its language writes it; empty: none, or cut."""
        error = self.context.get("error")
        if not isinstance(error, dict):
            return self._stacktrace
        found = cast("dict[str, Any]", error).get("traceback")
        return found if isinstance(found, str) else ""

    @property
    def _stacktrace(self) -> str:
        """Stack trace in the headers of a foreign dead letter; that of the value before the key."""
        headers = self.context.get("headers")
        if not isinstance(headers, dict):
            return ""
        texts = cast("dict[str, str | list[str]]", headers)
        names = [name for name in texts if name.endswith("stacktrace")]
        found = texts[min(names, key=len)] if names else ""
        return found if isinstance(found, str) else found[-1]
