"""Dead letters in files: a document of format `envelope` on each line, as exports and sinks write.

A file may be compressed with gzip (`.gz`) or, where pyarrow is installed, with zstd (`.zst`).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, cast

from kafka_etl.dead_letters import Place, StoredLetter
from kafka_etl.dead_letters.document import decode_envelope
from kafka_etl.errors import ExtraMissing, NoSuchLetter

_ENDINGS: Final = (".jsonl", ".ndjson", ".json", ".txt")
_COMPRESSIONS: Final = ("", ".gz", ".zst")


def is_letter_file(path: Path) -> bool:
    """Whether the name is that of a file of lines, which may be compressed."""
    return path.name.endswith(tuple(e + c for e in _ENDINGS for c in _COMPRESSIONS))


def letter_files(path: Path) -> list[LetterFile]:
    """The file, or the files of lines in the folder and its folders, by name.

    Raises:
        NoSuchLetter: There is no such file or folder, or no file in the folder.
    """
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if is_letter_file(p) and p.is_file())
    else:
        found = [path] if path.is_file() else []
    if not found:
        raise NoSuchLetter(
            f"there is no file of dead letters at {path}",
            f"Name a file of JSON lines ({', '.join(_ENDINGS)}), or a folder with some.",
        )
    return [LetterFile(file) for file in found]


class LetterFile:
    """The dead letters of a file, each at `Place(path, 0, number of the line)`; lines begin at 1.

    A line that is no dead letter is counted and never stops the reading; nor does the end of a
    compressed file that was cut short.

    Attributes:
        path: The file.
        bad: Number of bad lines so far; empty lines do not count.
        first_bad: Number of the first bad line; 0: none so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad = 0
        self.first_bad = 0

    def __iter__(self) -> Iterator[StoredLetter]:
        """Read from the begin.

        Raises:
            OSError: The file cannot be read.
            ExtraMissing: The file is compressed with zstd, and pyarrow is not installed.
        """
        self.bad = self.first_bad = 0
        for number, line in enumerate(self._lines(), 1):
            letter = None if line is None else self._letter(line, number)
            if letter is not None:
                yield letter
            elif line is None or line.strip():
                self.bad += 1
                self.first_bad = self.first_bad or number

    @property
    def told(self) -> str:
        """The bad lines so far, in words; empty: there are none."""
        if not self.bad:
            return ""
        lines = (
            f"{self.bad:,} line{' is no dead letter' if self.bad == 1 else 's are no dead letters'}"
        )
        return f"{self.path}: {lines} (the first: line {self.first_bad:,})"

    def _letter(self, line: bytes, number: int) -> StoredLetter | None:
        return decode_envelope(line, Place(str(self.path), 0, number))

    def _lines(self) -> Iterator[bytes | None]:
        """The lines; the last one is None where the file was cut short."""
        try:
            with _opened(self.path) as file:
                yield from file
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
