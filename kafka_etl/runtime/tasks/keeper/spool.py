"""The last words that Kafka has not acknowledged, in a file that survives the keeper."""

from __future__ import annotations

import os
from errno import ENOSPC
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from kafka_etl.log import get_logger
from kafka_etl.tasks.keeping import Acknowledged, Said, pack

_LENGTH: Final = 4
_SMALL: Final = 1024 * 1024
"""Bytes of a file without a word in it that are not worth cutting off."""
_LARGE: Final = 64 * 1024 * 1024
"""Bytes from which on a file is written anew without the words that have been acknowledged."""
_SYNC_WITHIN: Final = 0.5
"""Seconds that words wait for Kafka before they are synced."""
_decode: Final = msgspec.msgpack.Decoder(Said | Acknowledged).decode
_log = get_logger("keeper")


class Spool:
    """Last words by token; words are appended to the file, and so are acknowledgements.

    What was written outlives the keeper, and what was synced its host. Kafka mostly has a word long
    before a disk would: only words that wait for Kafka are synced.

    A disk that is full or broken costs the words their safety, but no word: they are in memory, and
    on their way.

    Args:
        folder: Folder of the file; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "last-words"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._words: dict[str, Said] = {}
        self._unsynced_at: float | None = None
        self._unwritten = bytearray()
        self._size = 0
        self._large = _LARGE
        self._read()

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, token: str) -> bool:
        return token in self._words

    def words(self) -> list[Said]:
        """The words that have not been acknowledged, in the order in which they were added."""
        return list(self._words.values())

    def get(self, token: str) -> Said | None:
        """The last word of an attempt; None: there is none, or it has been acknowledged."""
        return self._words.get(token)

    def add(self, said: Said) -> None:
        """Add a last word, which is in the file after the next `write`."""
        self._words[said.last] = said
        self._unwritten += pack(said)
        if self._unsynced_at is None:
            self._unsynced_at = monotonic()

    def write(self) -> None:
        """Write what is new to the file."""
        if not self._unwritten:
            return
        try:
            written = os.pwrite(self._file, self._unwritten, self._size)
        except OSError as error:
            _log.error("last words are not on disk", path=str(self._path), error=str(error))
        else:
            if written == len(self._unwritten):  # else the next take the place of the torn ones
                self._size += written
        self._unwritten.clear()

    @property
    def sync_at(self) -> float | None:
        """When `sync` is due, on the monotonic clock; None: all words are safe, or in Kafka."""
        return None if self._unsynced_at is None else self._unsynced_at + _SYNC_WITHIN

    def sync(self) -> None:
        """Make all words safe that were added."""
        self.write()
        self._unsynced_at = None
        try:
            os.fdatasync(self._file)
        except OSError as error:
            _log.error("last words are not safe on disk", path=str(self._path), error=str(error))

    def acknowledge(self, token: str) -> None:
        """Forget a word: Kafka has it. After a crash the word may be there again, which is fine."""
        if self._words.pop(token, None) is None:
            return
        if not self._words:
            self._unsynced_at = None
        if self._size + len(self._unwritten) > (self._large if self._words else _SMALL):
            self._write_anew()
        else:
            self._unwritten += pack(Acknowledged(token))

    def close(self) -> None:
        if self._unsynced_at is None:
            self.write()
        else:
            self.sync()
        os.close(self._file)

    def _read(self) -> None:
        """Read the file up to its end, or to an entry that a crash has torn, which is cut off."""
        data = self._path.read_bytes()
        at = 0
        while (end := _end_of(data, at)) is not None:
            try:
                entry = _decode(data[at + _LENGTH : end])
            except msgspec.MsgspecError:
                break
            if isinstance(entry, Said):
                self._words[entry.last] = entry
            else:
                self._words.pop(entry.token, None)
            at = end
        if at < len(data):
            _log.warning("the end of the last words is torn", path=str(self._path), at=at)
        self._size = at
        os.ftruncate(self._file, at)

    def _write_anew(self) -> None:
        """Write a file with the words that are left, in place of the old one."""
        data = b"".join(map(pack, self._words.values()))
        new = self._path.with_suffix(".new")
        try:
            file = _replaced(self._path, new, data)
        except OSError as error:
            _log.error("last words stay in a large file", path=str(self._path), error=str(error))
            return
        os.close(self._file)
        self._file, self._size = file, len(data)
        self._unwritten.clear()
        self._large = max(_LARGE, 4 * len(data))


def _replaced(path: Path, new: Path, data: bytes) -> int:
    """Write a file in place of another, and return its descriptor.

    Raises:
        OSError: The other file is still there.
    """
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.pwrite(file, data, 0) < len(data):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        os.fdatasync(file)
        new.replace(path)
    except OSError:
        os.close(file)
        raise
    return file


def _end_of(data: bytes, at: int) -> int | None:
    """Where the entry ends that begins here; None: no complete one does."""
    if len(data) < at + _LENGTH:
        return None
    end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
    return end if end <= len(data) else None
