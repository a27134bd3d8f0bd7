"""Dead letters in files of lines: documents of format `envelope`, or the rows of an export.

A file may be compressed with gzip (`.gz`) or, where pyarrow is installed, with zstd (`.zst`). The
lines are read as if they were the records of a topic: `FILES/2/17` is line 17 of the file number 2,
in the order of names from 0.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, cast

from kafka_etl.errors import ExtraMissing, NoSuchLetter
from kafka_etl.kafka.cluster.topics import Ranges
from kafka_etl.record import Headers, Partition

_ENDINGS: Final = (".jsonl", ".ndjson", ".json", ".txt")
_COMPRESSIONS: Final = ("", ".gz", ".zst")
_END: Final = 2**62
"""An offset behind all lines."""
_LOG_APPEND_TIME: Final = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file as a record; see `kafka_etl.record.SourceRecord`."""

    file: Partition
    number: int
    content: bytes | None
    key_: bytes | None = None
    headers_: Headers | None = None
    written_ms: int = -1

    def topic(self) -> str:
        return self.file.topic

    def partition(self) -> int:
        return self.file.number

    def offset(self) -> int:
        return self.number

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.content

    def headers(self) -> Headers | None:
        return self.headers_

    def timestamp(self) -> tuple[int, int]:
        return (_LOG_APPEND_TIME, self.written_ms)

    def __len__(self) -> int:
        return len(self.content or b"")


def is_letter_file(path: Path) -> bool:
    """Whether the name is that of a file of lines, which may be compressed."""
    return path.name.endswith(tuple(e + c for e in _ENDINGS for c in _COMPRESSIONS))


def files_in(folder: Path) -> list[Path]:
    """The files of lines in a folder and its folders, by name."""
    return sorted(p for p in folder.rglob("*") if _is_wanted(p, folder) and p.is_file())


class LetterFiles:
    """A file, or the files of lines in a folder and its folders, by name.

    Attributes:
        name: The path, in place of a topic's name.

    Raises:
        NoSuchLetter: There is no such file or folder, or no file of lines in the folder.
    """

    def __init__(self, path: Path) -> None:
        found = files_in(path) if path.is_dir() else [path] if path.is_file() else []
        if not found:
            raise NoSuchLetter(
                f"there is no file of dead letters at {path}",
                f"Name a file of JSON lines ({', '.join(_ENDINGS)}), or a folder with some.",
            )
        self.name = str(path)
        self._paths = found

    @property
    def ranges(self) -> Ranges:
        """The files as partitions, with their first lines and an end behind their last ones."""
        return {Partition(self.name, number): (1, _END) for number in range(len(self._paths))}

    def place(self, line: Line) -> str:
        """Where a line is, for people; without the file's name where there is one file."""
        if len(self._paths) == 1:
            return f"line {line.number}"
        return f"{self._paths[line.file.number]}, line {line.number}"

    def read(self, ranges: Ranges) -> Iterator[Line]:
        """The lines of these ranges; empty lines are left out.

        A compressed file that was cut short, or is damaged, ends with a line without content.

        Raises:
            OSError: A file cannot be read.
            ExtraMissing: A file is compressed with zstd, and pyarrow is not installed.
        """
        for file, (begin, end) in ranges.items():
            for number, content in enumerate(_lines(self._paths[file.number]), 1):
                if number >= end:
                    break
                if number >= begin and (content is None or content.strip()):
                    yield Line(file, number, content)


def _is_wanted(path: Path, folder: Path) -> bool:
    """Whether this is a file of lines, and not hidden: sinks keep their offsets beside the data.

    Hidden is what begins with `.`, or with `_` as in other folders of data.
    """
    hidden = any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    return is_letter_file(path) and not hidden


def _lines(path: Path) -> Iterator[bytes | None]:
    try:
        with _opened(path) as file:
            for line in file:
                yield line.rstrip(b"\n")
    except (EOFError, zlib.error):
        yield None
    except OSError as error:
        if error.errno is not None:
            raise
        yield None  # what is compressed is broken: the file itself could be read


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix == ".zst":
        return _zstd(path)
    return path.open("rb")


def _zstd(path: Path) -> IO[bytes]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ExtraMissing(
            f"{path} is compressed with zstd, which needs pyarrow",
            "Install it: pip install 'kafka-etl[objects]'.",
        ) from error
    stream: Any = pa.input_stream(str(path), compression="zstd")
    return BufferedReader(stream)
