"""Rows of the index: what is kept of each dead letter, and how a record becomes a row."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

import orjson

from kafka_etl.dead_letters import StoredLetter
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.letter import told_number
from kafka_etl.dead_letters.statuses import LetterPlace
from kafka_etl.envelope import PREFIX
from kafka_etl.record import Headers, SourceRecord, headers_of, offset_of

_TEXT: Final = 300
"""Characters of an error's text that the index keeps."""
_LARGEST: Final = 2**63 - 1
_NAMES: Final = tuple(
    PREFIX + name
    for name in (
        "fingerprint",
        "condition",
        "operator",
        "operator.version",
        "error.type",
        "pipeline",
        "topic",
    )
)
_CONDITION: Final = PREFIX + "condition"
_MESSAGE: Final = PREFIX + "error.message"
_NUMBERS: Final = tuple(PREFIX + name for name in ("partition", "offset", "attempts"))


class Group(NamedTuple):
    """What many dead letters have in common; the index keeps each group once."""

    fingerprint: str
    condition: str
    operator: str
    version: str
    error_type: str
    pipeline: str
    source_topic: str
    family: str

    @property
    def error_name(self) -> str:
        """The class of the error without its module."""
        return self.error_type.rpartition(".")[2]


class Own(NamedTuple):
    """What a dead letter has for itself.

    Attributes:
        written_ms: When the dead letter was written, in milliseconds since the epoch.
        size: Bytes of key and value.
        error_text: The first 300 characters of the error's text.
    """

    partition: int
    offset: int
    written_ms: int
    source_partition: int
    source_offset: int
    attempts: int
    size: int
    error_text: str


class LetterRow(NamedTuple):
    """A dead letter as the index knows it; see `Group` and `Own`.

    Attributes:
        status: One of `LetterStatus`, as text.
    """

    partition: int
    offset: int
    written_ms: int
    source_partition: int
    source_offset: int
    attempts: int
    size: int
    error_text: str
    fingerprint: str
    condition: str
    operator: str
    version: str
    error_type: str
    pipeline: str
    source_topic: str
    family: str
    status: str

    @property
    def place(self) -> LetterPlace:
        return LetterPlace(self.partition, self.offset)

    @property
    def group(self) -> Group:
        return Group._make([getattr(self, name) for name in Group._fields])

    @property
    def source(self) -> str:
        """The ID of the record that failed."""
        return f"{self.source_topic}/{self.source_partition}/{self.source_offset}"

    @property
    def error_name(self) -> str:
        """The class of the error without its module."""
        return self.error_type.rpartition(".")[2]

    @property
    def error(self) -> str:
        return f"{self.error_type}: {self.error_text}"


class Payload:
    """Key, value and headers of the record that failed, decoded when a filter asks for them.

    Attributes:
        key: The key as text where the key is text, else in bytes; None: no key.
    """

    def __init__(self, letter: StoredLetter) -> None:
        self.key = _as_text(letter.key)
        self._value = letter.value
        self._headers = letter.headers

    @cached_property
    def value(self) -> Any:
        """The value from JSON where the value is JSON, else as text or in bytes."""
        try:
            return None if self._value is None else orjson.loads(self._value)
        except orjson.JSONDecodeError:
            return _as_text(self._value)

    @property
    def headers(self) -> Headers:
        return self._headers


def row_of(record: SourceRecord) -> tuple[Group, Own] | None:
    """The row of a record of a dead-letter topic; None: the record is no dead letter.

    Only the small headers of our own dead letters are read, not their context of kilobytes.
    """
    headers = dict(headers_of(record))
    if _CONDITION not in headers:
        letter = decode_letter(record)
        return None if letter is None else _row_of_any(letter, record)
    group = _group(*[headers.get(name) for name in _NAMES])
    partition, offset, attempts = [told_number(headers.get(name)) for name in _NUMBERS]
    own = Own(
        record.partition() or 0,
        offset_of(record),
        record.timestamp()[1],
        partition,
        offset,
        max(0, attempts),
        _size(record),
        _text(headers.get(_MESSAGE))[:_TEXT],
    )
    return group, own


@lru_cache(maxsize=10_000)
def _group(*values: bytes | None) -> Group:
    return Group._make([*map(_text, values), "kafka_etl"])


def _row_of_any(letter: StoredLetter, record: SourceRecord) -> tuple[Group, Own]:
    group = Group(
        letter.fingerprint,
        letter.condition,
        letter.operator,
        letter.version,
        letter.error_type,
        letter.pipeline,
        letter.source.topic,
        letter.family,
    )
    own = Own(
        record.partition() or 0,
        offset_of(record),
        _bounded(letter.written_ms),
        _bounded(letter.source.partition),
        _bounded(letter.source.offset),
        _bounded(letter.attempts),
        _size(record),
        letter.error_text[:_TEXT],
    )
    return Group(*map(_storable, group)), own._replace(error_text=_storable(own.error_text))


def _size(record: SourceRecord) -> int:
    return len(record.key() or b"") + len(record.value() or b"")


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _storable(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot tell."""
    return text.encode("utf-8", "replace").decode()


def _bounded(number: int) -> int:
    """The number, or -1 where a database could not keep it."""
    return number if -_LARGEST <= number <= _LARGEST else -1


def _as_text(data: bytes | None) -> str | bytes | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return data
