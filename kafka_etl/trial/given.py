"""Makes the records of a trial: those of cases, and those of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import ValidationError

from kafka_etl.config.build import Pipeline
from kafka_etl.config.case_model import GivenSpec, HeadersSpec, PayloadSpec, milliseconds
from kafka_etl.contracts import Codec
from kafka_etl.errors import KafkaEtlError
from kafka_etl.record import Headers
from kafka_etl.trial.clock import Clock
from kafka_etl.trial.payload import encoded, source_topic
from kafka_etl.trial.stored_record import StoredRecord

M = TypeVar("M", bound=PayloadSpec)


class Unreadable(Exception):
    """Raised when a file is missing, a line is no record, or a value cannot be encoded."""


def listed(entries: tuple[M, ...] | str, model: type[M], folder: Path, at: str) -> Sequence[M]:
    """Return the entries themselves, or those of the file that stands in their place.

    Raises:
        Unreadable: The file cannot be read, or a line is no such entry.
    """
    if not isinstance(entries, str):
        return entries
    return entries_in(contents(folder / entries, at), model, f"{at}: {entries}")


def entries_in(lines: bytes, model: type[M], name: str) -> list[M]:
    """Return the entries of a text with one JSON object a line.

    Args:
        lines: The text.
        model: Model of an entry.
        name: Name of the text, for errors.

    Raises:
        Unreadable: A line is no such entry.
    """
    found: list[M] = []
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(model.model_validate(orjson.loads(line)))
        except orjson.JSONDecodeError as error:
            raise Unreadable(f"{name}:{number}: no JSON: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise Unreadable(f"{name}:{number}: {place}: {first['msg']}") from error
    return found


def record_of(
    given: GivenSpec, number: int, pipeline: Pipeline, folder: Path, clock: Clock
) -> StoredRecord:
    """Make a record that the source gives.

    Args:
        given: The record as a case or a file has it.
        number: Position among the records.
        pipeline: The pipeline, whose codecs encode value and key.
        folder: Folder of the files that the record names.
        clock: The time of a record without a timestamp of its own.

    Raises:
        Unreadable: A value cannot be encoded, or its file cannot be read.
    """
    at, topic = f"given[{number}]", given.topic or source_topic(pipeline)
    time_ms = milliseconds(given.timestamp)
    return StoredRecord(
        _bytes(given, "value", pipeline.codecs.source_value, topic, folder, at),
        _bytes(given, "key", pipeline.codecs.source_key, topic, folder, at),
        _headers(given.headers, at),
        timestamp_ms=clock.now_ms() if time_ms is None else time_ms,
        topic=topic,
        partition=given.partition or 0,
        offset=number if given.offset is None else given.offset,
    )


def _bytes(  # noqa: PLR0913, PLR0917 - the parts of a value
    given: GivenSpec, part: str, codec: Codec, topic: str, folder: Path, at: str
) -> bytes | None:
    told = given.model_dump(exclude_unset=True)
    if f"{part}_hex" in told:
        return _unhexed(told[f"{part}_hex"], f"{at}.{part}_hex")
    if f"{part}_text" in told:
        text: str = told[f"{part}_text"]
        return text.encode()
    if f"{part}_file" in told:
        return contents(folder / told[f"{part}_file"], f"{at}.{part}_file")
    try:
        return encoded(told.get(part), codec, topic)
    except KafkaEtlError:
        raise
    except Exception as error:
        raise Unreadable(
            f"{at}.{part}: codec {codec.name} cannot encode it: {type(error).__name__}: {error}"
        ) from error


def _headers(headers: HeadersSpec, at: str) -> Headers:
    if isinstance(headers, dict):
        return [(name, _text(value)) for name, value in headers.items()]
    return [
        (
            one.name,
            _text(one.value)
            if one.value_hex is None
            else _unhexed(one.value_hex, f"{at}.headers.{one.name}"),
        )
        for one in headers
    ]


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


def _unhexed(text: str, at: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise Unreadable(f"{at}: no hex: {error}") from error


def contents(path: Path, at: str) -> bytes:
    """Return the content of a file that a case names.

    Raises:
        Unreadable: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{at}: {path}: {error.strerror}") from error
