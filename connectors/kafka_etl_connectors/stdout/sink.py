"""Values as JSON lines on the worker's standard output; at least once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Literal

import orjson
from pydantic import field_validator

from kafka_etl.contracts import (
    CodecUse,
    Deployment,
    Guarantee,
    Pulse,
    SinkPlugin,
    SinkSettings,
    UseSettings,
)
from kafka_etl.errors import SinkFailed
from kafka_etl.invocation import Outputs

_ATOMIC: Final = 4096
"""Bytes that a pipe takes in one piece: the lines of two workers do not run into each other."""


class StdoutSettings(SinkSettings):
    """How lines look.

    Attributes:
        format: `value`: the value alone. `record`: an object with key, value and headers.
    """

    value: CodecUse | None = UseSettings(use="json")
    format: Literal["value", "record"] = "value"

    @field_validator("value")
    @classmethod
    def _lines_are_json(cls, value: UseSettings | None) -> UseSettings | None:
        if value is None or value.use != "json":
            raise ValueError("should be json: a line holds one value")
        return value


class StdoutWriter:
    """See `kafka_etl.contracts.Writer`."""

    def __init__(self, settings: StdoutSettings, out: BinaryIO) -> None:
        self._line = _record_line if settings.format == "record" else _value_line
        self._out = out

    def open(self) -> None:
        """Standard output is open as long as the process lives."""

    def write(self, outputs: Outputs) -> None:
        try:
            for chunk in _chunks(self._line(outputs, i) for i in range(len(outputs))):
                self._out.write(chunk)
                self._out.flush()
        except BrokenPipeError as error:
            raise SinkFailed(
                "nobody reads standard output any more", "Start again with a reader that stays."
            ) from error

    def close(self) -> None:
        """Every write was flushed."""


def _value_line(outputs: Outputs, index: int) -> bytes:
    value = outputs.values[index]
    return b"null\n" if value is None else _as_json(value) + b"\n"


def _record_line(outputs: Outputs, index: int) -> bytes:
    key, value = outputs.keys[index], outputs.values[index]
    headers = (outputs.headers[index] if outputs.headers else None) or []
    record = {
        "key": _text(key),
        "value": None if value is None else orjson.Fragment(_as_json(value)),
        "headers": [[name, _text(content)] for name, content in headers],
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _as_json(value: bytes) -> bytes:
    """Bytes that no codec has made may be anything, and several lines long."""
    try:
        decoded: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        decoded = _text(value)
    return orjson.dumps(decoded)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines, as many as are written in one piece."""
    chunk = b""
    for line in lines:
        if chunk and len(chunk) + len(line) > _ATOMIC:
            yield chunk
            chunk = b""
        chunk += line
    if chunk:
        yield chunk


def _build(settings: StdoutSettings, deployment: Deployment, _pulse: Pulse) -> StdoutWriter:
    return StdoutWriter(settings, os.fdopen(deployment.stdout, "wb", closefd=False))


SINK: Final = SinkPlugin(
    settings=StdoutSettings,
    guarantee=Guarantee.AT_LEAST_ONCE,
    build=_build,
    summary="JSON lines on standard output",
)
