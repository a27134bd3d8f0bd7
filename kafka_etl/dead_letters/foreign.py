"""Reads dead letters of other systems: a record, and headers that tell of its failure.

`FOREIGN` has the marks by which such a record is known. Anybody can write to a topic: nothing in a
record is trusted, and what is missing stays empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kafka_etl.dead_letters.document import as_object
from kafka_etl.dead_letters.java import JavaError, frames, simple, telling, without_data
from kafka_etl.dead_letters.letter import Place, StoredLetter, told_number
from kafka_etl.envelope import FOREIGN, Family, Texts, fingerprint_of, taken_apart, told
from kafka_etl.invocation import Condition
from kafka_etl.record import SourceRecord, headers_of, offset_of, partition_of

_CREATED: Final = 1
"""Kafka's type of a timestamp that a producer has set."""
_UNKNOWN: Final = -1


def decode_foreign(record: SourceRecord) -> StoredLetter | None:
    """The dead letter of another system that a record is; None for any other record.

    Where several systems have written, the last one tells; the others are in `history` of the
    context. Of a header that is there several times, the last value counts.
    """
    own, _, foreign = taken_apart(headers_of(record))
    if not foreign:
        return None
    *earlier, last = told(foreign)
    texts: Texts = last["headers"]
    family = next(f for f in FOREIGN if f.name == last["family"] and f.marks <= texts.keys())
    headers = {name: text if isinstance(text, str) else text[-1] for name, text in texts.items()}
    failure = _READERS[family.name](headers)
    kind, text = telling(failure.errors, failure.stacktrace)
    condition = failure.condition or _condition_of(failure, kind)
    place, (stamp, written_ms) = partition_of(record), record.timestamp()
    kept_ms = written_ms if family.name in _KEEP_TIME and stamp == _CREATED else _UNKNOWN
    context = {**last, "history": earlier} if earlier else last
    return StoredLetter(
        at=Place(place.topic, place.number, offset_of(record)),
        source=_source(family, headers),
        written_ms=written_ms,
        pipeline=failure.pipeline,
        operator=failure.operator,
        condition=condition.value,
        error_type=kind,
        error_text=text,
        fingerprint=fingerprint_of(
            condition, failure.operator, kind, without_data(text), frames(failure.stacktrace)
        ),
        attempts=max(0, failure.attempts),
        record_ms=kept_ms if failure.record_ms == _UNKNOWN else failure.record_ms,
        version="",
        key=record.key(),
        value=record.value(),
        headers=own,
        context=context,
        family=family.name,
    )


_KEEP_TIME: Final = frozenset(["connect", "streams"])
"""Systems whose dead letter has the timestamp of its record."""


def _source(family: Family, headers: Mapping[str, str]) -> Place:
    return Place(
        headers[family.topic],
        told_number(headers[family.partition]),
        told_number(headers[family.offset]),
    )


# What each system tells


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the headers of one system tell.

    Attributes:
        errors: The exception that the system caught, and further ones that headers name: causes.
        condition: None: the classes of the errors tell.
    """

    errors: tuple[JavaError, ...]
    stacktrace: str = ""
    condition: Condition | None = None
    pipeline: str = ""
    operator: str = ""
    attempts: int = _UNKNOWN
    record_ms: int = _UNKNOWN


_STAGES: Final = {
    "KEY_CONVERTER": Condition.DECODE_ERROR,
    "VALUE_CONVERTER": Condition.DECODE_ERROR,
    "HEADER_CONVERTER": Condition.DECODE_ERROR,
    "KAFKA_CONSUME": Condition.DECODE_ERROR,
    "TRANSFORMATION": Condition.OPERATOR_ERROR,
    "TASK_POLL": Condition.OPERATOR_ERROR,
    "TASK_PUT": Condition.REFUSED,
    "KAFKA_PRODUCE": Condition.REFUSED,
}


def _connect(headers: Mapping[str, str]) -> _Failure:
    told = _Named(headers, "__connect.errors.")
    return _Failure(
        errors=(JavaError(told["exception.class.name"], told["exception.message"]),),
        stacktrace=told["exception.stacktrace"],
        condition=_STAGES.get(told["stage"], Condition.OPERATOR_ERROR),
        pipeline=told["connector.name"],
        operator=simple(told["class.name"]),
    )


def _streams(headers: Mapping[str, str]) -> _Failure:
    told = _Named(headers, "__streams.errors.")
    return _Failure((JavaError(told["exception"], told["message"]),), told["stacktrace"])


def _share_group(headers: Mapping[str, str]) -> _Failure:
    told = _Named(headers, "__dlq.errors.")
    kind = next((kind for words, kind in _DELIVERIES.items() if words in told["message"]), "")
    return _Failure(
        errors=(JavaError(kind, told["message"]),),
        condition=Condition.EXPIRED if kind == _EXCEEDED else Condition.OPERATOR_ERROR,
        pipeline=told["group"],
        attempts=told_number(told["delivery.count"]),
    )


_EXCEEDED: Final = "DeliveryCountExceeded"
_DELIVERIES: Final = {"rejected": "Rejected", "exceeded": _EXCEEDED}
"""Words of a broker's message -> what we call the error: a broker names no class."""


def _spring_kafka(headers: Mapping[str, str]) -> _Failure:
    prefix = "kafka_dlt-" if "kafka_dlt-original-topic" in headers else "kafka_"
    told = _Named(headers, prefix)
    kind = "" if told["exception-fqcn"] else "key-"  # where only the key could not be read
    errors = [JavaError(told[f"{kind}exception-fqcn"], told[f"{kind}exception-message"])]
    if told["exception-cause-fqcn"]:
        errors.append(JavaError(told["exception-cause-fqcn"]))
    attempts = headers.get("retry_topic-attempts", headers.get("kafka_deliveryAttempt"))
    return _Failure(
        errors=tuple(errors),
        stacktrace=told[f"{kind}exception-stacktrace"],
        condition=Condition.DECODE_ERROR if told["key-exception-fqcn"] else None,
        pipeline=told["original-consumer-group"]
        or headers.get("kafka_dlt-original-consumer-group", ""),
        attempts=told_number(attempts),
        record_ms=told_number(told["original-timestamp"]),
    )


def _spring_cloud_stream(headers: Mapping[str, str]) -> _Failure:
    told = _Named(headers, "x-")
    return _Failure(
        errors=(JavaError(told["exception-fqcn"], told["exception-message"]),),
        stacktrace=told["exception-stacktrace"],
        record_ms=told_number(told["original-timestamp"]),
    )


def _smallrye(headers: Mapping[str, str]) -> _Failure:
    told = _Named(headers, "dead-letter-")
    errors = [JavaError(told["exception-class-name"], told["reason"])]
    if told["cause-class-name"]:
        errors.append(JavaError(told["cause-class-name"], told["cause"]))
    return _Failure(tuple(errors))


_SAID: Final = ("fallback_error", "error", "error_message", "dlq_error")
"""Headers with an error, by the habit of Benthos's users; `fallback_error` is set by Benthos."""


def _benthos(headers: Mapping[str, str]) -> _Failure:
    """The error as text, or as the object that `@error` is; its class is unknown."""
    told = _Named(headers, "")
    name = next((name for name in (*_SAID, "error_reason", "dlq_reason") if told[name]), "error")
    text, component = _error_object(told[name])
    stamp = told_number(told["kafka_timestamp_ms"])
    seconds = told_number(told["kafka_timestamp_unix"])
    return _Failure(
        errors=(JavaError(name, text),),
        condition=Condition.REFUSED if name == "fallback_error" else None,
        operator=component,
        record_ms=seconds * 1000 if stamp == _UNKNOWN and seconds != _UNKNOWN else stamp,
    )


def _error_object(text: str) -> tuple[str, str]:
    """Text of an error, and the label or name of the component that failed."""
    error = as_object(text.encode())  # empty for anything but an object
    what, component = error.get("what"), error.get("label") or error.get("name")
    if not isinstance(what, str):
        return text, ""
    return what, component if isinstance(component, str) else ""


class _Named:
    """The texts of a family's headers, without their prefix; empty where there is none."""

    def __init__(self, headers: Mapping[str, str], prefix: str) -> None:
        self._headers = headers
        self._prefix = prefix

    def __getitem__(self, name: str) -> str:
        return self._headers.get(self._prefix + name, "")


_READERS: Final[Mapping[str, Callable[[Mapping[str, str]], _Failure]]] = {
    "connect": _connect,
    "streams": _streams,
    "share_group": _share_group,
    "spring_kafka": _spring_kafka,
    "spring_cloud_stream": _spring_cloud_stream,
    "smallrye": _smallrye,
    "benthos": _benthos,
}


# The condition of a failure

_CONDITIONS: Final = (
    (re.compile(r"Timeout"), Condition.TIMEOUT),
    (re.compile(r"RecordTooLarge"), Condition.RECORD_TOO_LARGE),
    (re.compile(r"Seriali[sz]|[dD]eseriali[sz]|^DataException|^Json"), Condition.DECODE_ERROR),
    (re.compile(r"Validation|Constraint|ArgumentNotValid"), Condition.INVALID),
)
"""What the class of an error tells, without its package."""


def _condition_of(failure: _Failure, kind: str) -> Condition:
    """The condition that the classes of the errors tell; the most telling one first."""
    names = [simple(kind), *(simple(error.type) for error in failure.errors)]
    for name in names:
        for pattern, condition in _CONDITIONS:
            if pattern.search(name):
                return condition
    return Condition.OPERATOR_ERROR
