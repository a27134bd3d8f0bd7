"""Dead letters as rows for an analyst, and back: the same key, value and headers, byte for byte."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import orjson

from kafka_etl.dead_letters import StoredLetter
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.statuses import LetterStatus
from kafka_etl.dlq.files import LetterFiles, Line
from kafka_etl.envelope import PREFIX, Encoded
from kafka_etl.extras import require_extra
from kafka_etl.record import Headers, SourceRecord, headers_of

if TYPE_CHECKING:
    import pyarrow as pa

Encoding = Literal["utf-8", "base64"]

_CONTEXT: Final = PREFIX + "context"
_IN_CONTEXT: Final = "context"
"""Encoding of a header whose value stands in the column `context`."""
_EXPORTED: Final = b'{"id":'
"""How a row of an export begins."""
_ROWS: Final = 2_000
"""Rows of a Parquet file that are written at once."""


class LetterLine(msgspec.Struct, frozen=True):
    """A dead letter as a row of flat columns.

    Attributes:
        id: Place of the dead letter: topic, partition and offset.
        written: When the dead letter was written, in ISO 8601; None: unknown.
        record_written: Timestamp of the record; likewise.
        source_partition: Partition of the record; -1: unknown.
        key: Key of the record that failed, as text, or in base64 where it is no UTF-8.
        value: Value of the record; likewise.
        headers: All headers of the dead letter, as JSON: a list of [name, value, encoding], where
            encoding is `utf-8`, `base64`, or `context`: the value is that of the column.
        context: Context of the failure, as JSON; None: the dead letter has none.
        document: The dead letter itself, of format `envelope`; None: its value is the record's.
    """

    id: str
    source_topic: str
    source_partition: int
    source_offset: int
    key: str | None
    key_encoding: Encoding | None
    value: str | None
    value_encoding: Encoding | None
    headers: str
    written: str | None = None
    record_written: str | None = None
    status: str = LetterStatus.OPEN.value
    family: str = ""
    pipeline: str = ""
    operator: str = ""
    operator_version: str = ""
    condition: str = ""
    error_type: str = ""
    error_message: str = ""
    fingerprint: str = ""
    attempts: int = 0
    context: str | None = None
    document: str | None = None

    @property
    def partition(self) -> int:
        """The partition on which that of the dead letter depends; the letter's own if unknown."""
        if self.source_partition >= 0:
            return self.source_partition
        number = self.id.rpartition("/")[0].rpartition("/")[2]
        return int(number) if number.isdecimal() else 0

    def encoded(self) -> Encoded:
        """The dead letter as it was in its topic.

        Raises:
            ValueError: A column has no value of its encoding.
        """
        headers = [self._header(entry) for entry in _json_list(self.headers)]
        value = _bytes(self.value, self.value_encoding)
        if self.document is not None:
            value = self.document.encode()
        return Encoded(_bytes(self.key, self.key_encoding), value, headers)

    def _header(self, entry: Any) -> tuple[str, bytes | None]:
        match entry:
            case [str() as name, None, "context"] if self.context is not None:
                return name, self.context.encode()
            case [str() as name, None, None]:
                return name, None
            case [str() as name, str() as text, "utf-8" | "base64" as encoding]:
                return name, _bytes(text, encoding)
            case _:
                raise ValueError(f"headers: {entry!r:.100} is not [name, value, encoding]")


def line_of(record: SourceRecord, letter: StoredLetter, status: LetterStatus) -> LetterLine:
    """The row of a dead letter.

    Args:
        record: The record of the dead-letter topic.
        letter: The dead letter that the record is.
        status: What became of the letter.
    """
    key, key_encoding = _text(letter.key if record.key() is None else record.key())
    value, value_encoding = _text(letter.value)
    document = None
    if record.value() != letter.value:
        document = (record.value() or b"").decode()
    headers, context = _headers(headers_of(record))
    return LetterLine(
        id=letter.at.id,
        source_topic=letter.source.topic,
        source_partition=letter.source.partition,
        source_offset=letter.source.offset,
        key=key,
        key_encoding=key_encoding,
        value=value,
        value_encoding=value_encoding,
        headers=orjson.dumps(headers).decode(),
        written=_time(letter.written_ms),
        record_written=_time(letter.record_ms),
        status=status.value,
        family=letter.family,
        pipeline=letter.pipeline,
        operator=letter.operator,
        operator_version=letter.version,
        condition=letter.condition,
        error_type=letter.error_type,
        error_message=letter.error_text,
        fingerprint=letter.fingerprint,
        attempts=letter.attempts,
        context=context,
        document=document,
    )


def _headers(headers: Headers) -> tuple[list[Any], str | None]:
    """All headers for JSON, and the text of the context, which is not repeated among them."""
    entries: list[Any] = []
    context: str | None = None
    for name, value in headers:
        text, encoding = _text(value)
        if name == _CONTEXT and encoding == "utf-8" and context is None:
            context = text
            entries.append([name, None, _IN_CONTEXT])
        else:
            entries.append([name, text, encoding])
    return entries, context


def _text(data: bytes | None) -> tuple[str | None, Encoding | None]:
    if data is None:
        return None, None
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"


def _bytes(text: str | None, encoding: str | None) -> bytes | None:
    if text is None:
        return None
    return base64.b64decode(text, validate=True) if encoding == "base64" else text.encode()


def _json_list(text: str) -> list[Any]:
    return _list_from(text)


def _time(ms: int) -> str | None:
    if ms < 0:
        return None
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Files


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its name.

    Raises:
        ExtraMissing: The file is Parquet, and pyarrow is not installed.
    """
    if path.suffix != ".parquet":
        return False
    require_extra("columnar", f"{path.name} needs", "pyarrow")
    return True


def write_parquet(path: Path, lines: Iterator[LetterLine]) -> int:
    """Write rows to a Parquet file; return their number."""
    from pyarrow import RecordBatch  # noqa: PLC0415 - an extra
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415 - an extra

    schema, count = _schema(), 0
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for part in _parts(lines):
            rows = [msgspec.structs.asdict(line) for line in part]
            writer.write_batch(RecordBatch.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def _parts(lines: Iterator[LetterLine]) -> Iterator[list[LetterLine]]:
    part: list[LetterLine] = []
    for line in lines:
        part.append(line)
        if len(part) >= _ROWS:
            yield part
            part = []
    if part:
        yield part


def _schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415 - an extra

    numbers = {"source_partition": pa.int32(), "source_offset": pa.int64(), "attempts": pa.int32()}
    names = [field.name for field in msgspec.structs.fields(LetterLine)]
    return pa.schema([(name, numbers.get(name, pa.string())) for name in names])


def lines_in(path: Path) -> Iterator[tuple[str, LetterLine | str]]:
    """The rows of a Parquet file, or of a file or a folder of JSON lines.

    JSON lines may also be documents of format `envelope`, as sinks write dead letters.

    Yields:
        The place of a row, such as `line 17`, and the row; a text instead: what is wrong with it.

    Raises:
        OSError: The file cannot be read.
    """
    if is_parquet(path):
        for number, row in _parquet_rows(path):
            yield f"row {number}", _line(row)
        return
    files = LetterFiles(path)
    for record in files.read(files.ranges):
        line = _line(record.content or b"")
        if isinstance(line, str):
            line = _line_of_document(record) or line
        yield files.place(record), line


def as_letter(line: Line) -> Line:
    """A row of an export as the dead letter that it was; any other line as it is."""
    if line.content is None or not line.content.startswith(_EXPORTED):
        return line
    row = _line(line.content)
    if isinstance(row, str):
        return line
    letter = row.encoded()
    return replace(
        line,
        content=letter.value,
        key_=letter.key,
        headers_=letter.headers,
        written_ms=_ms(row.written),
    )


def _ms(time: str | None) -> int:
    """A time in milliseconds since the epoch; -1: none."""
    try:
        return -1 if time is None else round(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return -1


def _line(row: bytes) -> LetterLine | str:
    """The row of an export, or what is wrong with it."""
    try:
        line = _line_from(row)
        line.encoded()
    except (ValueError, msgspec.MsgspecError) as error:
        return str(error)
    return line


def _line_of_document(record: Line) -> LetterLine | None:
    """The row of a document of format `envelope`, as sinks write it; None: it is none."""
    letter = decode_letter(record)
    return None if letter is None else line_of(record, letter, LetterStatus.OPEN)


def _parquet_rows(path: Path) -> Iterator[tuple[int, bytes]]:
    from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - an extra

    number = 0
    with ParquetFile(path) as opened:
        file: Any = opened  # whose types are known in part
        for batch in file.iter_batches(_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, orjson.dumps(row, default=str)


_list_from: Final = msgspec.json.Decoder(list[Any]).decode
_line_from: Final = msgspec.json.Decoder(LetterLine).decode
