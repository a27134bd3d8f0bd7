"""The flight recorder: a file with a worker's phase and offsets in hand, which outlives the worker.

The file is mapped and has a fixed size. The worker writes into the file without system calls. The
daemon reads how long the worker's phase has lasted and, after a death, which offsets the worker had
in hand. All blocks of the file are allocated when the worker opens the file, so that a full disk is
found then, and not by a crash in the middle of a batch.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic_ns  # by name: user code may patch the module
from typing import Final

import orjson

from kafka_etl.errors import StateFolderUnusable
from kafka_etl.record import Partition

PHASES: Final = ("starting", "gather", "operator", "settle", "commit", "wait", "idle", "closed")

_MAGIC: Final = b"kafkaetl"
_HEADER: Final = struct.Struct("<8sQ")  # magic, pid
_STATE: Final = struct.Struct("<BBxxxxxxQ")  # phase, stage, since
_LENGTH: Final = struct.Struct("<I")
_TOPIC: Final = struct.Struct("<HI")  # bytes of the name, partitions
_STATE_AT: Final = 16
_RANGES_LENGTH_AT: Final = 32
_HAND_LENGTH_AT: Final = 36
_HAND_AT: Final = 64
_RANGES_AT: Final = 2048
_COUNTS_AT: Final = 240 * 1024
_SIZE: Final = 256 * 1024
_NOTHING: Final = (0, "closed", 0, 0.0)


class Recorder:
    """Writes the flight recorder's file, in the worker's main thread.

    Implements `kafka_etl.engine.hooks.Recorder`.

    Raises:
        StateFolderUnusable: The file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, _SIZE)
                self._map = mmap.mmap(file, _SIZE)
            finally:
                os.close(file)
        except OSError as error:
            raise StateFolderUnusable.by(error, f"{path} cannot be written") from error
        self._header = _HEADER.pack(_MAGIC, os.getpid())
        self.operating({})
        self.count({})
        self._state("starting")

    def phase(self, name: str) -> None:
        self._state(name)

    def entering(self, stage: int) -> None:
        """Note the start of a stage: 0 for decoding, then one per operator, then encoding."""
        self._state("operator", min(stage, 255))

    def operating(self, ranges: Mapping[Partition, tuple[int, int]]) -> None:
        self._write_text(_HAND_LENGTH_AT, _HAND_AT, _RANGES_AT, b"")
        self._write_text(_RANGES_LENGTH_AT, _RANGES_AT, _COUNTS_AT, _pack_ranges(ranges))

    def in_hand(self, partition: Partition, offset: int) -> None:
        text = orjson.dumps([partition.topic, partition.number, offset])
        self._write_text(_HAND_LENGTH_AT, _HAND_AT, _RANGES_AT, text)

    def count(self, counters: Mapping[tuple[str, str], float]) -> None:
        """Note the counters as of a commit.

        The daemon gets counters only twice a second: the file keeps the counts of a commit shortly
        before a death.
        """
        text = orjson.dumps([[*series, count] for series, count in counters.items()])
        self._write_text(_COUNTS_AT, _COUNTS_AT + _LENGTH.size, _SIZE, text)

    def tick(self) -> None:
        """Restart the time of the current phase: a worker that waits is alive, and not killed."""
        phase, stage = self._map[_STATE_AT], self._map[_STATE_AT + 1]
        self._state(PHASES[phase], stage)

    def close(self) -> None:
        """Note that the worker ended without a death, so that no record is blamed for its end."""
        self._state("closed")

    def _state(self, phase: str, stage: int = 0) -> None:
        since = monotonic_ns()
        # The header each time, too: user code may have written into a file it does not know.
        self._write(0, self._header + _STATE.pack(PHASES.index(phase), stage, since))

    def _write_text(self, length_at: int, at: int, end: int, text: bytes) -> None:
        """Write a text so that a reader never sees half of it: length 0, the text, its length.

        A text that is too long for its place is left out; a death is then not blamed on a record.
        """
        fitting = text if len(text) <= end - at else b""
        self._write(length_at, _LENGTH.pack(0))
        self._write(at, fitting)
        self._write(length_at, _LENGTH.pack(len(fitting)))

    def _write(self, at: int, data: bytes) -> None:
        """Copy packed bytes into the file in one go.

        `struct.pack_into` is not used, because `pack_into` zeroes the place first: the daemon could
        read the zero as a time long ago, and kill a healthy worker.
        """
        self._map[at : at + len(data)] = data


@dataclass(frozen=True, slots=True)
class Recording:
    """The content of a recorder's file.

    Attributes:
        pid: Process id of the worker.
        phase: One of `PHASES`.
        stage: Stage in phase `operator`: 0 for decoding, then one per operator, then encoding.
        seconds: Time since the phase began, or since the last `tick` in the phase.
        ranges: Partition -> first and next offset in hand.
        hand: Partition and offset of the single record in hand; None outside careful mode.
        counters: (metric, label value) -> count as of the last commit.
    """

    pid: int
    phase: str
    stage: int
    seconds: float
    ranges: Mapping[Partition, tuple[int, int]]
    hand: tuple[Partition, int] | None
    counters: Mapping[tuple[str, str], float]


class RecorderFile:
    """Reads a recorder's file in the daemon, while a worker may be writing the file.

    A file that a power cut has corrupted reads as if there were no file. The file is not mapped
    here: if somebody truncated a mapped file, the daemon would die of SIGBUS.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def state(self) -> tuple[int, str, int, float]:
        """Return (pid, phase, stage, seconds in the phase); phase `closed` if there is no file."""
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return _state_of(os.pread(self._file, _HAND_AT, 0))
        except OSError:
            return _NOTHING

    def read(self) -> Recording:
        """Read the whole file; meant for the time after a worker's death."""
        try:
            data = self._path.read_bytes()
        except OSError:
            data = b""
        pid, phase, stage, seconds = _state_of(data)
        ranges = _unpack_ranges(_text(data, _RANGES_LENGTH_AT, _RANGES_AT))
        hand = self._hand(_text(data, _HAND_LENGTH_AT, _HAND_AT))
        counters = self._counters(_text(data, _COUNTS_AT, _COUNTS_AT + _LENGTH.size))
        return Recording(pid, phase, stage, seconds, ranges, hand, counters)

    def close(self) -> None:
        """Close the file; the next call of `state` opens the file again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def _hand(text: bytes) -> tuple[Partition, int] | None:
        try:
            topic, number, offset = orjson.loads(text)
            return Partition(str(topic), int(number)), int(offset)
        except (ValueError, TypeError):  # the text is empty or corrupt
            return None

    @staticmethod
    def _counters(text: bytes) -> dict[tuple[str, str], float]:
        try:
            return {(str(name), str(label)): float(n) for name, label, n in orjson.loads(text)}
        except (ValueError, TypeError):  # the text is empty or corrupt
            return {}


def _state_of(head: bytes) -> tuple[int, str, int, float]:
    if len(head) < _HAND_AT or head[:8] != _MAGIC or head[_STATE_AT] >= len(PHASES):
        return _NOTHING
    _, pid = _HEADER.unpack_from(head)
    phase: int
    phase, stage, since = _STATE.unpack_from(head, _STATE_AT)
    return pid, PHASES[phase], stage, (monotonic_ns() - since) / 1e9


def _pack_ranges(ranges: Mapping[Partition, tuple[int, int]]) -> bytes:
    """Pack ranges by topic: a head, the topic's name, then columns of numbers and offsets.

    The columns are partition numbers, first offsets and next offsets. A partition takes 20 bytes,
    so that ten thousand partitions fit into the file.
    """
    topics: dict[str, list[tuple[int, int, int]]] = {}
    for (topic, number), (first, following) in ranges.items():
        topics.setdefault(topic, []).append((number, first, following))
    parts: list[bytes] = []
    for topic, rows in topics.items():
        name = topic.encode()
        numbers, firsts, nexts = zip(*rows, strict=True)
        parts += [_TOPIC.pack(len(name), len(rows)), name]
        parts += [array("I", numbers).tobytes(), _offsets(firsts), _offsets(nexts)]
    return b"".join(parts)


def _offsets(column: Iterable[int]) -> bytes:
    return array("q", column).tobytes()


def _unpack_ranges(packed: bytes) -> dict[Partition, tuple[int, int]]:
    """Unpack the ranges of `_pack_ranges`; empty if bytes are missing or corrupt."""
    ranges: dict[Partition, tuple[int, int]] = {}
    at = 0
    try:
        while at < len(packed):
            size, count = _TOPIC.unpack_from(packed, at)
            at += _TOPIC.size
            topic = packed[at : at + size].decode()
            at += size
            columns = struct.unpack_from(f"={count}I{2 * count}q", packed, at)
            at += 20 * count
            spans = zip(columns[count : 2 * count], columns[2 * count :], strict=True)
            for number, span in zip(columns[:count], spans, strict=True):
                ranges[Partition(topic, number)] = span
    except (struct.error, UnicodeDecodeError):
        return {}
    return ranges


def _text(data: bytes, length_at: int, at: int) -> bytes:
    if len(data) < at:
        return b""
    length: int = _LENGTH.unpack_from(data, length_at)[0]
    return data[at : at + length]
