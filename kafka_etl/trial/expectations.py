"""Compares a trial with the expectations of a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from kafka_etl.config.case_model import (
    ErrorSpec,
    HeadersSpec,
    LetterSpec,
    PayloadSpec,
    milliseconds,
)
from kafka_etl.contracts import Codec
from kafka_etl.invocation import DeadLetter, Failure
from kafka_etl.readable import shown, text_of, time_of
from kafka_etl.record import Headers, headers_of, offset_of, partition_of
from kafka_etl.trial.given import contents
from kafka_etl.trial.matching import differences, pairs, show
from kafka_etl.trial.payload import PLAIN, decoded, plain
from kafka_etl.trial.run import Trial

_FRAMES: Final = 3
"""Frames of a traceback that are shown, from the innermost outwards."""

S = TypeVar("S", bound=PayloadSpec)
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Payload:
    """Value, key, headers and place of an output, or of the record of a dead letter.

    Attributes:
        value: Encoded value; None: a tombstone.
        key: Encoded key.
        headers: Headers.
        place: What else an expectation may name, such as `topic`.
        codecs: Codecs of values and keys.
        folder: Folder of the files that expectations name.
    """

    value: Any
    key: Any
    headers: Headers
    place: Mapping[str, Any]
    codecs: tuple[Codec, Codec]
    folder: Path

    def differences(self, expected: PayloadSpec) -> Iterator[str]:
        """Yield a line for each expected part that this payload lacks."""
        for part, data, codec in (
            ("key", self.key, self.codecs[1]),
            ("value", self.value, self.codecs[0]),
        ):
            if expected.has(part):
                yield from self._of_part(expected, part, data, codec)
        if "headers" in expected.model_fields_set:
            yield from differences(named(expected.headers), _by_name(self.headers), "headers")
        for name in sorted(expected.model_fields_set & self.place.keys()):
            wanted = getattr(expected, name)
            if name == "timestamp":
                wanted = time_of(milliseconds(wanted))
            yield from differences(wanted, self.place[name], name)

    def _of_part(self, expected: PayloadSpec, part: str, data: Any, codec: Codec) -> Iterator[str]:
        given = expected.model_dump(exclude_unset=True)
        if f"{part}_hex" in given:
            came = data.hex() if isinstance(data, bytes) else plain(data)
            yield from differences(given[f"{part}_hex"].lower(), came, f"{part}_hex")
        elif f"{part}_text" in given:
            came = text_of(data) if isinstance(data, bytes) else plain(data)
            yield from differences(given[f"{part}_text"], came, f"{part}_text")
        else:
            wanted = given.get(part)
            if f"{part}_file" in given:
                whole = contents(self.folder / given[f"{part}_file"], f"{part}_file")
                wanted = plain(decoded(whole, codec, []))
            elif codec.name in PLAIN and isinstance(wanted, int | float):
                wanted = orjson.dumps(wanted).decode()  # the codec knows text only
            yield from differences(wanted, plain(decoded(data, codec, self.headers)), part)

    def __str__(self) -> str:
        parts = {
            **self.place,
            "key": plain(decoded(self.key, self.codecs[1], self.headers)),
            "value": plain(decoded(self.value, self.codecs[0], self.headers)),
            "headers": _by_name(self.headers),
        }
        told = {name: part for name, part in parts.items() if part not in (None, {})}
        return show(told if self.value is not None else {**told, "value": None})


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter that came, and its record."""

    failure: Failure
    record: Payload

    def differences(self, expected: LetterSpec) -> Iterator[str]:
        """Yield a line for each expected part that this dead letter lacks."""
        error = self.failure.error
        if isinstance(expected.error, str):
            whole = f"{error.type}: {error.message}"
            if expected.error not in whole:
                yield f"error: expected a part {show(expected.error)}, got {show(whole)}"
        else:
            yield from self._of_error(expected.error)
        for name, came in (
            ("condition", self.failure.condition.value),
            ("operator", self.failure.operator),
            ("attempts", len(self.failure.attempts) + self.failure.deaths),
        ):
            if getattr(expected, name) is not None:
                yield from differences(getattr(expected, name), came, name)
        yield from self.record.differences(expected)

    def _of_error(self, expected: ErrorSpec) -> Iterator[str]:
        error = self.failure.error
        if expected.type is not None and not f".{error.type}".endswith(f".{expected.type}"):
            yield f"error.type: expected {show(expected.type)}, got {show(error.type)}"
        if expected.message is not None and expected.message not in error.message:
            yield (
                f"error.message: expected a part {show(expected.message)}, "
                f"got {show(error.message)}"
            )

    def __str__(self) -> str:
        failure = self.failure
        operator = f" in {failure.operator}" if failure.operator else ""
        said = f"{failure.condition.value}{operator}: {failure.error.type}: {failure.error.message}"
        frames = failure.error.traceback.splitlines()[-_FRAMES:]
        return "\n".join([said, *frames, f"  record: {self.record}"])


def outputs_in(trial: Trial, folder: Path) -> list[Payload]:
    """Return the outputs of a trial."""
    outputs, codecs = trial.settlement.outputs, trial.pipeline.codecs
    topics = trial.pipeline.sink_settings.topics
    main = topics[0] if topics else None

    def place(row: int) -> dict[str, Any]:
        number = outputs.partitions[row] if outputs.partitions else -1
        return {
            "topic": (outputs.topics[row] if outputs.topics else None) or main,
            "partition": None if number < 0 else number,
            "timestamp": time_of(outputs.timestamps[row]) if outputs.timestamps else None,
        }

    return [
        Payload(
            value,
            outputs.keys[row],
            (outputs.headers[row] if outputs.headers else None) or [],
            place(row),
            (codecs.sink_value, codecs.sink_key),
            folder,
        )
        for row, value in enumerate(outputs.values)
    ]


def letters_in(trial: Trial, folder: Path) -> list[Letter]:
    """Return the dead letters of a trial."""
    codecs = trial.pipeline.codecs

    def letter(dead: DeadLetter) -> Letter:
        record, at = dead.record, partition_of(dead.record)
        place = {"topic": at.topic, "partition": at.number, "offset": offset_of(record)}
        headers, own = headers_of(record), (codecs.source_value, codecs.source_key)
        return Letter(
            dead.failure, Payload(record.value(), record.key(), headers, place, own, folder)
        )

    return [letter(dead) for dead in trial.settlement.dead_letters]


def compared(
    kind: str,
    expected: Sequence[S],
    came: Sequence[C],
    differences_of: Callable[[C, S], Iterator[str]],
) -> Iterator[str]:
    """Yield what differs, what is missing, and what was not expected, in lines for people.

    Args:
        kind: Word for an entry, such as `output`.
        expected: Expected entries.
        came: Entries that came, whose text shows them.
        differences_of: Yields the differences of an entry from an expected one.
    """

    def fits(row: int, column: int) -> bool:
        return next(differences_of(came[column], expected[row]), None) is None

    paired = pairs(len(expected), len(came), fits)
    for row, column in paired:
        for line in differences_of(came[column], expected[row]):
            yield f"{kind} {column + 1}: {line}"
    for row in sorted(set(range(len(expected))) - {row for row, _ in paired}):
        wanted = expected[row].model_dump(mode="json", exclude_unset=True)
        yield f"{kind} missing: {show(wanted)}"
    for column in sorted(set(range(len(came))) - {column for _, column in paired}):
        yield f"{kind} not expected: {came[column]}"


def named(headers: HeadersSpec) -> dict[str, str | None]:
    """Return the headers of a case as name -> value; a value in hex as `show` shows it."""
    if isinstance(headers, dict):
        return headers
    return {
        one.name: one.value if one.value_hex is None else f"hex:{one.value_hex}" for one in headers
    }


def _by_name(headers: Headers) -> dict[str, str | None]:
    return {name: None if value is None else shown(value) for name, value in headers}
