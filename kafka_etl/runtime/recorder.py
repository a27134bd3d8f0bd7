"""The flight recorder: what a worker is about, in a file that outlives it.

A mapped file of fixed size. The worker writes into it without system calls; the daemon reads how
long the worker has been at it, and after a death what it had in hand. All of the file's blocks are
allocated when it is opened: a full disk is found then, not by a crash in the middle of a batch.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from kafka_etl.errors import StateFolderUnusable
from kafka_etl.record import Partition

PHASES: Final = ("starting", "gather", "operator", "settle", "commit", "wait", "idle", "closed")

_MAGIC: Final = b"kafkaetl"
_HEADER: Final = struct.Struct("<8sQ")  # magic, pid
_STATE: Final = struct.Struct("<BBxxxxxxQ")  # phase, stage, since
_LENGTH: Final = struct.Struct("<I")
_STATE_AT: Final = 16
_LENGTH_AT: Final = 32
_BODY_AT: Final = 64
_COUNTS_AT: Final = 240 * 1024
_SIZE: Final = 256 * 1024


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
        self._ranges: dict[str, dict[str, tuple[int, int]]] = {}
        self._write_body(None)
        self.count({})
        self._state("starting")
        self._write(0, _HEADER.pack(_MAGIC, os.getpid()))

    def phase(self, name: str) -> None:
        self._state(name)

    def entering(self, stage: int) -> None:
        """User code begins: stage 0 decodes, then come the operators, then the encoding."""
        self._state("operator", min(stage, 255))

    def operating(self, ranges: Mapping[Partition, tuple[int, int]]) -> None:
        self._ranges = {}
        for tp, span in ranges.items():
            self._ranges.setdefault(tp.topic, {})[str(tp.number)] = span
        self._write_body(None)

    def in_hand(self, partition: Partition, offset: int) -> None:
        self._write_body((partition.topic, partition.number, offset))

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
        since = time.monotonic_ns()
        self._write(_STATE_AT, _STATE.pack(PHASES.index(phase), stage, since))

    def _write_body(self, hand: tuple[str, int, int] | None) -> None:
        # Thousands of partitions in one batch do not fit: a death will not be blamed.
        body = orjson.dumps({"ranges": self._ranges, "hand": hand})
        self._write_text(_LENGTH_AT, _BODY_AT, _COUNTS_AT, body)

    def _write_text(self, length_at: int, at: int, end: int, text: bytes) -> None:
        """Nobody may read half of it: no length, then the text, then its length."""
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

    A file that a power cut has mixed up says nothing, as if there were none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def state(self) -> tuple[int, str, int, float]:
        """(pid, phase, stage, seconds since it began); phase `closed` when there is no file."""
        head = self._read(_BODY_AT)
        if len(head) < _BODY_AT or head[:8] != _MAGIC or head[_STATE_AT] >= len(PHASES):
            return 0, "closed", 0, 0.0
        _, pid = _HEADER.unpack_from(head)
        phase: int
        phase, stage, since = _STATE.unpack_from(head, _STATE_AT)
        return pid, PHASES[phase], stage, (time.monotonic_ns() - since) / 1e9

    def read(self) -> Recording:
        """Everything; meant for after the worker's death."""
        pid, phase, stage, seconds = self.state()
        data = self._read(_SIZE)
        ranges, hand = self._body(_text(data, _LENGTH_AT, _BODY_AT))
        counters = self._counters(_text(data, _COUNTS_AT, _COUNTS_AT + _LENGTH.size))
        return Recording(pid, phase, stage, seconds, ranges, hand, counters)

    @staticmethod
    def _body(
        text: bytes,
    ) -> tuple[dict[Partition, tuple[int, int]], tuple[Partition, int] | None]:
        try:
            body = orjson.loads(text)
            ranges = {
                Partition(topic, int(number)): (first, following)
                for topic, numbers in body["ranges"].items()
                for number, (first, following) in numbers.items()
            }
            hand = body["hand"]
            return ranges, None if hand is None else (Partition(hand[0], hand[1]), hand[2])
        except (ValueError, TypeError, LookupError, AttributeError):  # empty, or mixed up
            return {}, None

    @staticmethod
    def _counters(text: bytes) -> dict[tuple[str, str], float]:
        try:
            return {(str(name), str(label)): float(n) for name, label, n in orjson.loads(text)}
        except (ValueError, TypeError):  # empty, or mixed up
            return {}

    def _read(self, count: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(count)
        except OSError:
            return b""


def _text(data: bytes, length_at: int, at: int) -> bytes:
    if len(data) < at:
        return b""
    length: int = _LENGTH.unpack_from(data, length_at)[0]
    return data[at : at + length]
