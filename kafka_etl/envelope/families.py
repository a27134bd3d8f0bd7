"""Dead letters of other systems: the headers by which they are known, and taken off a record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from kafka_etl.record import Headers

PREFIX: Final = "kafka_etl."
CONNECT: Final = "__connect.errors."

Texts = dict[str, str | list[str]]
"""Header name -> its text; all texts, in their order, of a header that is there several times."""

_MESSAGE: Final = 2_000
_JAVA_NUMBERS: Final = (4, 8)
_DIGITS: Final = 19
_LONG: Final = 200
"""Characters from which on what is UTF-8 is text."""
_LINES: Final = str.maketrans("", "", "\t\r\n")


@dataclass(frozen=True, slots=True)
class Family:
    """How another system marks its dead letters.

    A record without one of the marks, or with a place whose numbers are none, is no dead letter:
    headers that only look alike are the application's own, and so is a header that only begins like
    those of the family.

    Attributes:
        name: How we call the system.
        topic: Header with the topic of the record that failed.
        partition: Header with its partition, a number.
        offset: Header with its offset, a number.
        marks: Headers that each of the dead letters has, with those of the place.
        names: Every header of the family.
        one_of: Headers of which each of the dead letters has at least one; empty: no such rule.
    """

    name: str
    topic: str
    partition: str
    offset: str
    marks: frozenset[str]
    names: frozenset[str]
    one_of: frozenset[str] = field(default_factory=frozenset[str])

    def wrote(self, headers: Mapping[str, bytes | None]) -> bool:
        """Whether a record with these headers, each with its last value, is a dead letter."""
        return (
            self.marks <= headers.keys()
            and (not self.one_of or not self.one_of.isdisjoint(headers))
            and _may_be_number(headers[self.partition])
            and _may_be_number(headers[self.offset])
        )


def _family(name: str, place: str, marks: str, others: str, one_of: str = "") -> Family:
    """Names as one text; those without a colon follow the family's prefix, `PREFIX:` before them.

    Args:
        name: Name of the family.
        place: Headers of topic, partition and offset.
        marks: Further headers that each dead letter has.
        others: Headers that a dead letter may have.
        one_of: Headers of which a dead letter has at least one.
    """
    topic, partition, offset = _full(place)
    required = frozenset([topic, partition, offset, *_full(marks)])
    any_of = frozenset(_full(one_of))
    every = required | any_of | frozenset(_full(others))
    return Family(name, topic, partition, offset, required, every, any_of)


def _full(names: str) -> list[str]:
    """`PREFIX: a b` -> `PREFIXa`, `PREFIXb`."""
    prefix, _, rest = names.rpartition(":")
    return [prefix + name for name in rest.split()]


FOREIGN: Final = (
    _family(
        "connect",
        f"{CONNECT}:topic partition offset",
        f"{CONNECT}:connector.name stage",
        f"{CONNECT}:task.id class.name exception.class.name exception.message exception.stacktrace",
    ),
    _family(
        "streams",
        "__streams.errors.:topic partition offset",
        "__streams.errors.:exception",
        "__streams.errors.:message stacktrace",
    ),
    _family(
        "share_group",
        "__dlq.errors.:topic partition offset",
        "",
        "__dlq.errors.:group delivery.count message",
    ),
    _family(
        "spring_kafka",
        "kafka_dlt-original-:topic partition offset",
        "",
        "kafka_:"
        "dlt-exception-fqcn dlt-exception-cause-fqcn dlt-exception-message "
        "dlt-exception-stacktrace dlt-key-exception-fqcn dlt-key-exception-message "
        "dlt-key-exception-stacktrace dlt-original-timestamp dlt-original-timestamp-type "
        "dlt-original-consumer-group deliveryAttempt",
    ),
    _family(  # of retry topics
        "spring_kafka",
        "kafka_original-:topic partition offset",
        "kafka_:exception-fqcn",
        "kafka_:"
        "exception-cause-fqcn exception-message exception-stacktrace key-exception-fqcn "
        "key-exception-message key-exception-stacktrace original-timestamp "
        "original-timestamp-type original-consumer-group dlt-original-consumer-group "
        "deliveryAttempt",
    ),
    _family(
        "spring_cloud_stream",
        "x-original-:topic partition offset",
        "x-exception-:fqcn message",
        "x-:exception-stacktrace original-timestamp original-timestamp-type",
    ),
    _family(
        "smallrye",
        "dead-letter-:topic partition offset",
        "dead-letter-:reason",
        "dead-letter-:exception-class-name cause-class-name cause",
    ),
    _family(
        "benthos",
        "kafka_:topic partition offset",
        "",
        "kafka_:key timestamp timestamp_unix timestamp_ms lag tombstone_message",
        "error fallback_error error_message error_reason dlq_error dlq_reason",
    ),
)
"""Families of dead letters of other systems."""

RETRY_TOPIC: Final = frozenset(_full("retry_topic-:attempts backoff-timestamp original-timestamp"))
"""Headers of Spring Kafka's retry topics, which stay on their dead letters."""


def number_in(value: bytes | None) -> int | None:
    """A number as decimal text, or in four or eight bytes as Java writes them; None: none of both.

    Digits are text: as a binary number they would be beyond any partition and offset.
    """
    if value is None:
        return None
    if value.removeprefix(b"-").isdigit() and len(value) <= _DIGITS:
        return int(value)
    if len(value) in _JAVA_NUMBERS:
        return int.from_bytes(value, "big", signed=True)
    return None


def _may_be_number(value: bytes | None) -> bool:
    """Whether this is a number, or one that the system did not know."""
    return value is None or number_in(value) is not None


def readable(value: bytes | None) -> str:
    """A header as text; a number in four or eight bytes as decimal text, and other bytes as hex."""
    if value is None:
        return ""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if len(text) > _LONG or ((text or not value) and _is_plain(text)):
        return text
    if len(value) in _JAVA_NUMBERS:
        return str(int.from_bytes(value, "big", signed=True))
    return "hex:" + value.hex()


def _is_plain(text: str) -> bool:
    return text.isprintable() or text.translate(_LINES).isprintable()


# Taking a record's headers apart


class Parts(NamedTuple):
    """The headers of a record, taken apart.

    Attributes:
        own: The application's, byte for byte and in their order.
        ours: Those of our dead letters, without the prefix; the last value of each.
        foreign: Name of a family -> its headers; the family that wrote last is the last one.
    """

    own: Headers
    ours: dict[str, bytes]
    foreign: dict[str, Texts]


def taken_apart(headers: Headers) -> Parts:
    """The headers of a record by their writers.

    Connect's headers that a dead letter of ours has beside our own are not there twice: they are
    left out.
    """
    owners = _owners(headers)
    own: Headers = []
    ours: dict[str, bytes] = {}
    foreign: dict[str, Texts] = {}
    for name, value in headers:
        family = owners.get(name)
        if name.startswith(PREFIX):
            ours[name.removeprefix(PREFIX)] = value or b""
        elif family is None:
            own.append((name, value))
        else:
            texts = foreign.pop(family, {})
            texts[name] = _beside(texts[name], value) if name in texts else readable(value)
            foreign[family] = texts
    if "condition" in ours and _is_echo(foreign.get("connect", {}), ours):
        del foreign["connect"]
    return Parts(own, ours, foreign)


def _owners(headers: Headers) -> dict[str, str]:
    """Header name -> the family that wrote it."""
    last = dict(headers)
    found = [family for family in _with_marks(frozenset(last)) if family.wrote(last)]
    owners = {name: family.name for family in found for name in family.names}
    if "spring_kafka" in owners.values():
        owners |= dict.fromkeys(RETRY_TOPIC, "spring_kafka")
    return owners


@lru_cache(maxsize=256)
def _with_marks(names: frozenset[str]) -> Sequence[Family]:
    """The families whose marks are all among these names."""
    return [family for family in FOREIGN if family.marks <= names]


def _beside(held: str | list[str], value: bytes | None) -> list[str]:
    return [*([held] if isinstance(held, str) else held), readable(value)]


def _is_echo(connect: Texts, ours: Mapping[str, bytes]) -> bool:
    """Whether Connect's headers tell the failure of our own ones, as `compat: connect` writes."""
    told = {
        "topic": "topic",
        "partition": "partition",
        "offset": "offset",
        "connector.name": "pipeline",
    }
    return all(
        connect.get(CONNECT + theirs) == readable(ours.get(name)) for theirs, name in told.items()
    )


def parted(headers: Headers) -> tuple[Headers, list[dict[str, Any]]]:
    """The record's own headers, and the histories in dead-letter headers, oldest first."""
    own, ours, foreign = taken_apart(headers)
    return own, [*told(foreign), *_our_history(ours)]


def told(foreign: Mapping[str, Texts]) -> list[dict[str, Any]]:
    """Failures in other systems, as they stand in a history."""
    return [{"family": family, "headers": texts} for family, texts in foreign.items()]


def _our_history(ours: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    if not ours:
        return
    history, at_ms = _carried_on(ours.get("context", b""))
    yield from history
    names = ("topic", "partition", "offset", "pipeline", "operator", "condition")
    texts = {name: readable(ours[name]) for name in names if name in ours}
    error = f"{readable(ours.get('error.type'))}: {readable(ours.get('error.message'))}"
    yield {"family": "kafka_etl", "at_ms": at_ms, **texts, "error": error[:_MESSAGE]}


def _carried_on(context: bytes) -> tuple[list[Any], int | None]:
    """History and time of an earlier context. Anybody can write such a header: trust nothing."""
    try:
        earlier = orjson.loads(context)
        history: list[Any] = [entry for entry in earlier["history"] if isinstance(entry, dict)]
        orjson.dumps([[history]])  # what is too deep to be written again is not carried on
        at_ms = earlier["at_ms"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return [], None
    return history, at_ms if isinstance(at_ms, int) else None
