"""Open files: rows that are taken and not yet in the object store.

Rows wait in memory, encoded, and go to a temporary file when there are many. The file has no name:
the system frees its space when the worker ends, in whatever way.
"""

from __future__ import annotations

import gzip
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Compression = Literal["zstd", "snappy", "gzip", "none"]
_FRAME: Final = 1024 * 1024
"""Bytes of lines that are compressed as one frame."""
_ROW_GROUP: Final = 64 * 1024 * 1024


class OpenFile(ABC, Generic[T]):
    """A file that rows are appended to.

    Args:
        folder: Folder of the temporary file; None: the system's.

    Attributes:
        rows: Rows in the file.
        memory: Bytes that wait in memory.
        disk: Bytes in the temporary file.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self.rows = 0
        self.memory = 0
        self.disk = 0

    @property
    def size(self) -> int:
        """Bytes in all; those in memory are not compressed yet."""
        return self.memory + self.disk

    @property
    def spilled(self) -> bool:
        """Whether there is a temporary file."""
        return self._file is not None

    @abstractmethod
    def append(self, piece: T) -> None:
        """Take rows.

        Raises:
            OSError: The disk is full; the file is void.
        """
        ...

    @abstractmethod
    def spill(self) -> None:
        """Move rows from memory to the temporary file; raises as `append`."""
        ...

    @abstractmethod
    def finish(self) -> IO[bytes]:
        """End the file, and return the content from its beginning; raises as `append`.

        May be called again. Nothing can be appended afterwards.
        """
        ...

    def close(self) -> None:
        """Throw the file away."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - kept open
        return self._file


Compress = Callable[[bytes], bytes]


Block = tuple[bytes, int]
"""Lines with newlines between, and their number."""


class LineFile(OpenFile[Block]):
    """Lines, compressed in frames that readers take for one stream.

    Args:
        folder: Folder of the temporary file; None: the system's.
        compress: Makes a frame.
    """

    def __init__(self, folder: Path | None, compress: Compress) -> None:
        super().__init__(folder)
        self._compress = compress
        self._blocks: list[bytes] = []
        self._finished: IO[bytes] | None = None

    def append(self, piece: Block) -> None:
        lines, count = piece
        self._blocks.append(lines)
        self.rows += count
        self.memory += len(lines) + 1
        if self.memory >= _FRAME:
            self.spill()

    def spill(self) -> None:
        if self._blocks:
            self.disk += self._opened().write(self._frame())

    def finish(self) -> IO[bytes]:
        if self._finished is None:
            if self.spilled:
                self.spill()
                self._finished = self._opened()
            else:
                self._finished = BytesIO(self._frame())
        self._finished.seek(0)
        return self._finished

    def _frame(self) -> bytes:
        blocks, self._blocks, self.memory = self._blocks, [], 0
        blocks.append(b"")  # for the last newline
        return self._compress(b"\n".join(blocks))


class ParquetFile(OpenFile["pa.Table"]):
    """Rows of columns, in row groups.

    Args:
        folder: Folder of the temporary file; None: the system's.
        schema: Columns of the file.
        compression: Name of the compression, as Arrow knows it.
    """

    def __init__(self, folder: Path | None, schema: pa.Schema, compression: Compression) -> None:
        super().__init__(folder)
        self._schema = schema
        self._compression: Compression = compression
        self._tables: list[pa.Table] = []
        self._writer: Any = None
        self._finished: IO[bytes] | None = None

    def append(self, piece: pa.Table) -> None:
        self._tables.append(piece)
        self.rows += len(piece)
        self.memory += piece.nbytes
        if self.memory >= _ROW_GROUP:
            self.spill()

    def spill(self) -> None:
        if self._tables:
            file = self._opened()
            self._write_to(file)
            self.disk = file.tell()

    def finish(self) -> IO[bytes]:
        if self._finished is None:
            file = self._opened() if self.spilled else BytesIO()
            self._write_to(file)
            self._writer.close()
            self._finished = file
        self._finished.seek(0)
        return self._finished

    def close(self) -> None:
        if self._writer is not None:
            with suppress(Exception):  # else the writer ends itself later, into a closed file
                self._writer.close()
        super().close()

    def _write_to(self, file: IO[bytes]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - an extra, imported where rows are written
        from pyarrow import parquet  # noqa: PLC0415 - likewise

        if self._writer is None:
            self._writer = parquet.ParquetWriter(file, self._schema, compression=self._compression)
        tables, self._tables, self.memory = self._tables, [], 0
        if tables:
            self._writer.write_table(pa.concat_tables(tables))


def length_of(file: IO[bytes]) -> int:
    """Bytes of a file, which is left at its beginning."""
    length = file.seek(0, SEEK_END)
    file.seek(0)
    return length


def compressor(name: str) -> Compress:
    """The function that makes a frame of bytes."""
    if name == "none":
        return bytes
    if name == "gzip":
        return lambda data: gzip.compress(data, compresslevel=6, mtime=0)
    import pyarrow as pa  # noqa: PLC0415 - an extra, imported where rows are written

    codec = pa.Codec("zstd", compression_level=3)
    return lambda data: codec.compress(data, asbytes=True)
