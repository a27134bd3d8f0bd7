"""The flight recorder: what a worker is about, in a file that outlives it.

A mapped file of fixed size. The worker writes into it without system calls; the daemon reads how
long the worker has been at it, and after a death what it had in hand. All of the file's blocks are
allocated when it is opened: a full disk is found then, not by a crash in the middle of a batch.
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
    """Written by one worker; see `kafka_etl.engine.stream.loop.Recorder`."""

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
        self.operating({})
        self.count({})
        self._state("starting")
        self._write(0, _HEADER.pack(_MAGIC, os.getpid()))

    def phase(self, name: str) -> None:
        self._state(name)

    def entering(self, stage: int) -> None:
        """User code begins: stage 0 decodes, then come the operators, then the encoding."""
        self._state("operator", min(stage, 255))

    def operating(self, ranges: Mapping[Partition, tuple[int, int]]) -> None:
        self._write_text(_HAND_LENGTH_AT, _HAND_AT, _RANGES_AT, b"")
        self._write_text(_RANGES_LENGTH_AT, _RANGES_AT, _COUNTS_AT, _pack_ranges(ranges))

    def in_hand(self, partition: Partition, offset: int) -> None:
        text = orjson.dumps([partition.topic, partition.number, offset])
        self._write_text(_HAND_LENGTH_AT, _HAND_AT, _RANGES_AT, text)

    def count(self, counters: Mapping[tuple[str, str], float]) -> None:
        """What is committed is counted here, too: the daemon is told only now and then."""
        text = orjson.dumps([[*series, count] for series, count in counters.items()])
        self._write_text(_COUNTS_AT, _COUNTS_AT + _LENGTH.size, _SIZE, text)

    def tick(self) -> None:
        """Still at it: a long wait inside a phase is alive."""
        phase, stage = self._map[_STATE_AT], self._map[_STATE_AT + 1]
        self._state(PHASES[phase], stage)

    def close(self) -> None:
        """The worker ends in good order: whatever happened is not to be blamed on a record."""
        self._state("closed")

    def _state(self, phase: str, stage: int = 0) -> None:
        since = monotonic_ns()
        self._write(_STATE_AT, _STATE.pack(PHASES.index(phase), stage, since))

    def _write_text(self, length_at: int, at: int, end: int, text: bytes) -> None:
        """Nobody may read half of it: no length, then the text, then its length.

        Of what does not fit nothing is written: a death will not be blamed.
        """
        fitting = text if len(text) <= end - at else b""
        self._write(length_at, _LENGTH.pack(0))
        self._write(at, fitting)
        self._write(length_at, _LENGTH.pack(len(fitting)))

    def _write(self, at: int, data: bytes) -> None:
        """Copied as a whole.

        `pack_into` zeroes the place first: the daemon would read a time long ago, and kill a worker
        that is well.
        """
        self._map[at : at + len(data)] = data


@dataclass(frozen=True, slots=True)
class Recording:
    """What a recorder's file says.

    Attributes:
        seconds: How long the phase has lasted.
        stage: In phase `operator`: 0 decode, then the operators, then encode.
        ranges: Partition -> first and next offset in hand.
        hand: The one record in hand, in careful mode.
        counters: (metric, label value) -> count when it last committed something.
    """

    pid: int
    phase: str
    stage: int
    seconds: float
    ranges: Mapping[Partition, tuple[int, int]]
    hand: tuple[Partition, int] | None
    counters: Mapping[tuple[str, str], float]


class RecorderFile:
    """Reads a recorder's file, which may be written at the same time.

    A file that a power cut has mixed up says nothing, as if there were none. The reader maps no
    file: one that somebody cuts short would kill the reader.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def state(self) -> tuple[int, str, int, float]:
        """(pid, phase, stage, seconds since it began); phase `closed` when there is no file."""
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            return _state_of(os.pread(self._file, _HAND_AT, 0))
        except OSError:
            return _NOTHING

    def read(self) -> Recording:
        """Everything; meant for after the worker's death."""
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
        """Let go of the file: the next look at the state opens it anew."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def _hand(text: bytes) -> tuple[Partition, int] | None:
        try:
            topic, number, offset = orjson.loads(text)
            return Partition(str(topic), int(number)), int(offset)
        except (ValueError, TypeError):  # empty, or mixed up
            return None

    @staticmethod
    def _counters(text: bytes) -> dict[tuple[str, str], float]:
        try:
            return {(str(name), str(label)): float(n) for name, label, n in orjson.loads(text)}
        except (ValueError, TypeError):  # empty, or mixed up
            return {}


def _state_of(head: bytes) -> tuple[int, str, int, float]:
    if len(head) < _HAND_AT or head[:8] != _MAGIC or head[_STATE_AT] >= len(PHASES):
        return _NOTHING
    _, pid = _HEADER.unpack_from(head)
    phase: int
    phase, stage, since = _STATE.unpack_from(head, _STATE_AT)
    return pid, PHASES[phase], stage, (monotonic_ns() - since) / 1e9


def _pack_ranges(ranges: Mapping[Partition, tuple[int, int]]) -> bytes:
    """Per topic: the head, its name, and columns of partitions, first and next offsets.

    Of 20 bytes each, ten thousand partitions fit.
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
    """Nothing where bytes are missing, or were mixed up."""
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
