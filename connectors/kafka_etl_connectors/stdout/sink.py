"""The sink `stdout`: writes records as JSON lines to standard output, at least once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Literal

import orjson
from pydantic import field_validator

from kafka_etl.contracts import (
    TAKEN,
    ByteSinkSettings,
    CodecUse,
    Deployment,
    Guarantee,
    Label,
    RowOrder,
    Rows,
    SinkPlugin,
    Taken,
    UseSettings,
    Writer,
)
from kafka_etl.errors import SinkFailed

_ATOMIC: Final = 4096
"""Largest write in bytes that a pipe takes as a whole, so that lines of two workers do not mix."""


class StdoutSettings(ByteSinkSettings):
    """Settings of the sink `stdout`.

    Attributes:
        value: Codec of values; only `json` is allowed.
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


class StdoutWriter(Writer):
    """Writes rows as lines.

    Args:
        settings: The format of a line.
        out: Standard output of the worker.
    """

    order = RowOrder.SET

    def __init__(self, settings: StdoutSettings, out: BinaryIO) -> None:
        self._line = _record_line if settings.format == "record" else _value_line
        self._out = out

    def write(self, rows: Rows) -> Taken:
        """Write and flush a line for each row.

        Raises:
            SinkFailed: The reader of standard output has closed the pipe.
        """
        try:
            for chunk in _chunks(self._line(rows, i) for i in range(len(rows))):
                self._out.write(chunk)
                self._out.flush()
        except BrokenPipeError as error:
            raise SinkFailed(
                "nobody reads standard output any more", "Start again with a reader that stays."
            ) from error
        return TAKEN


def _value_line(rows: Rows, index: int) -> bytes:
    value = rows.values[index]
    return b"null\n" if value is None else _as_json(value) + b"\n"


def _record_line(rows: Rows, index: int) -> bytes:
    key, value = rows.keys[index], rows.values[index]
    headers = (rows.headers[index] if rows.headers else None) or []
    record = {
        "key": _text(key),
        "value": None if value is None else orjson.Fragment(_as_json(value)),
        "headers": [[name, _text(content)] for name, content in headers],
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _as_json(value: bytes) -> bytes:
    """Convert a value to JSON on one line; a value that is not JSON becomes a JSON string."""
    try:
        decoded: Any = orjson.loads(value)
    except orjson.JSONDecodeError:
        decoded = _text(value)
    return orjson.dumps(decoded)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def _chunks(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Join whole lines into chunks of at most `_ATOMIC` bytes; a longer line is its own chunk."""
    chunk = b""
    for line in lines:
        if chunk and len(chunk) + len(line) > _ATOMIC:
            yield chunk
            chunk = b""
        chunk += line
    if chunk:
        yield chunk


def _build(settings: StdoutSettings, deployment: Deployment) -> StdoutWriter:
    return StdoutWriter(settings, os.fdopen(deployment.stdout, "wb", closefd=False))


SINK: Final = SinkPlugin(
    settings=StdoutSettings,
    label=lambda _settings: Label(Guarantee.AT_LEAST_ONCE, "lines are written before offsets move"),
    build=_build,
    summary="JSON lines on standard output",
)
