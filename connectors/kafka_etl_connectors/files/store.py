"""The store `files`: lines in a file for each partition, and how long it is beside its offset.

A commit appends lines, and then replaces the partition's small offset file, which holds the next
offset, and name and length of the data file. Lines behind that length are of a commit that did not
end: the next owner of the partition cuts them off, and so does the next commit. So each partition
is a whole, and partitions are committed one after the other.

A file is ours from the first line on: just before, its name and its length are written down. What
stands in a file that is not ours is never cut.
"""

from __future__ import annotations

import fcntl
import glob
import os
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from errno import EDQUOT, EISDIR, EMFILE, ENAMETOOLONG, ENOSPC, EROFS
from pathlib import Path
from time import monotonic, sleep
from typing import ClassVar, Final
from urllib.parse import quote

import msgspec
from msgspec.structs import replace
from pydantic import Field

from kafka_etl.contracts import (
    ByteSinkSettings,
    Conflict,
    Deployment,
    Limits,
    Move,
    OffsetSettings,
    Refused,
    RefusedRows,
    Rows,
    Store,
    StoredOffset,
    Unreachable,
)
from kafka_etl.record import Partition, partition_of

_OURS: Final = ".kafka-etl"
_PATIENCE: Final = 5.0
"""Seconds to wait for another process that commits the same partition."""
_TO_MEND: Final = frozenset({ENOSPC, EDQUOT, EROFS, EISDIR, EMFILE, ENAMETOOLONG})


class FilesSettings(ByteSinkSettings):
    """Settings of the sink `files`.

    Attributes:
        folder: Where the files are; a relative path starts at the folder of the pipeline file.
        suffix: End of the file names.
        sync: Whether a commit waits until the disk has the lines.
        offsets: Where the offsets are.
    """

    folder: Path = Field(examples=["lines"])
    suffix: str = Field(default=".jsonl", pattern=r"^\.[\w.]{1,20}$", examples=[".jsonl"])
    sync: bool = True
    offsets: OffsetSettings = OffsetSettings()


class _Standing(msgspec.Struct):
    """The content of an offset file.

    Attributes:
        file: Name of the data file that is ours; empty: none is, before the first line.
        length: Bytes of the data file that are committed, or were there before.
    """

    next: int
    generation: int
    topic_id: str
    group: str
    file: str = ""
    length: int = 0


class FilesStore(Store):
    """Lines of each partition in a file of its own.

    Args:
        settings: The folder.
        deployment: Whose offsets these are.
    """

    kind: ClassVar[str] = "files"
    limits = Limits(rows=1_000_000)

    def __init__(self, settings: FilesSettings, deployment: Deployment) -> None:
        self._settings = settings
        self._folder = deployment.folder / settings.folder
        name = quote(settings.offsets.name or deployment.group, safe="")
        if name in {".", ".."}:  # these would be other folders
            name = name.replace(".", "%2E")
        self._offsets = self._folder / _OURS / name
        # A file has one writer: a replay of dead letters has files of its own.
        self._mark = f".replay-{deployment.replay}" if deployment.replay else ""

    def connect(self) -> None:
        """Make the folder of the offsets.

        Raises:
            Unreachable: The folder is not there, or may not be written.
        """
        if not self._folder.is_dir():
            raise Unreachable(f"there is no folder {self._folder}", mend=True)
        with _errors():
            self._offsets.mkdir(parents=True, exist_ok=True)

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """See `Store.offsets`; what a dead owner has left torn is cut off."""
        with _errors():
            for tp in partitions:
                self._cut_torn(tp)
            found = {tp: self._read(tp) for tp in partitions}
        return {
            tp: StoredOffset(at.next, at.generation, at.topic_id, at.group)
            for tp, at in found.items()
            if at is not None
        }

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """See `Store.place`."""
        with _errors():
            for tp, at in sorted(offsets.items()):
                with self._locked(tp):
                    known = self._read(tp)
                    if known is None:
                        self._check_alone(tp)
                    if known is None or overwrite:
                        file, length = ("", 0) if known is None else (known.file, known.length)
                        whose = (at.generation, at.topic_id, at.group)
                        self._write(tp, _Standing(at.next, *whose, file, length))

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`."""
        del letters  # the store has no place for them
        lines = self._lines(rows, moves)
        with _errors(), ExitStack() as locks:
            for tp in sorted(moves):
                locks.enter_context(self._locked(tp))
            stands = {tp: self._read(tp) for tp in moves}
            moved = [
                tp
                for tp, move in moves.items()
                if (at := stands[tp]) is None
                or (at.next, at.generation) != (move.begin, move.generation)
            ]
            if moved:
                raise Conflict(moved)
            for tp, at in sorted(stands.items()):
                if at is not None:
                    self._append(tp, at, lines.get(tp, b""), moves[tp].next)

    def _check_alone(self, tp: Partition) -> None:
        """Check that no other pipeline writes the data file.

        Raises:
            Unreachable: One does, and each would cut off the other's lines.
        """
        for other in self._offsets.parent.glob(f"*/{glob.escape(self._offset_file(tp).name)}"):
            raise Unreachable(
                f"{self._data(tp)} is written by another pipeline, whose offsets are in "
                f"{other.parent}: give each a folder of its own, or remove those offsets",
                mend=True,
            )

    def _lines(self, rows: Rows, moves: Mapping[Partition, Move]) -> dict[Partition, bytes]:
        """The lines of each partition; others are in the first partition's file.

        Others are those of many records, or of a partition that does not move.

        Raises:
            RefusedRows: Some values are no line.
        """
        refused: dict[int, Refused] = {}
        lines: dict[Partition, list[bytes]] = {}
        for position, (value, source) in enumerate(zip(rows.values, rows.sources, strict=True)):
            if value is None:
                refused[position] = Refused("NoValue", "a record without a value can be no line")
            elif b"\n" in value:
                refused[position] = Refused("LineBreak", "a value with a line break is two lines")
            else:
                own = None if source is None else partition_of(source)
                tp = own if own is not None and own in moves else min(moves)
                lines.setdefault(tp, []).append(value)
        if refused:
            raise RefusedRows(refused)
        return {tp: b"\n".join(values) + b"\n" for tp, values in lines.items()}

    def _append(self, tp: Partition, at: _Standing, lines: bytes, following: int) -> None:
        self._cut(tp, at)
        if lines:
            if at.file != self._data(tp).name:  # the first line, or another `suffix` since
                at = self._claim(tp, at)
            at = replace(at, length=at.length + self._added(self._data(tp), at.length, lines))
        self._write(tp, replace(at, next=following))

    def _claim(self, tp: Partition, at: _Standing) -> _Standing:
        """Write down that a data file is ours from its present end on.

        The disk knows that before it has a line: lines of a file that nobody claims are others'.
        """
        data = self._data(tp)
        with data.open("a+b") as file:  # a folder, or a file without rights, is not claimed
            claimed = replace(at, file=data.name, length=file.seek(0, os.SEEK_END))
        self._write(tp, claimed)
        if self._settings.sync:
            for folder in (self._offsets, self._offsets.parent, self._folder):
                _sync_folder(folder)
        return claimed

    def _added(self, data: Path, length: int, lines: bytes) -> int:
        """Append lines to a file of this length, and return the number of bytes."""
        with data.open("a+b") as file:
            if length:
                file.seek(length - 1)
                if file.read(1) != b"\n":  # a last line of others
                    lines = b"\n" + lines
            file.write(lines)
            file.flush()
            if self._settings.sync:
                os.fsync(file.fileno())
        if self._settings.sync and not length:
            _sync_folder(data.parent)  # the name of a new file
        return len(lines)

    def _cut_torn(self, tp: Partition) -> None:
        """Cut off the lines of a commit that did not end, unless one is under way.

        What cannot be cut off now waits for the next commit, which says why.
        """
        at = self._read(tp)
        if at is not None and at.file and _size(self._folder / at.file) > at.length:
            with suppress(Unreachable, OSError), self._locked(tp, patience=0):
                at = self._read(tp)
                if at is not None:
                    self._cut(tp, at)

    def _cut(self, tp: Partition, at: _Standing) -> None:
        """Cut off the lines of a commit that did not end.

        Raises:
            Unreachable: The file has lost lines, or is another one.
        """
        if not at.file:
            return
        data = self._folder / at.file
        size = _size(data)
        if size < at.length:
            raise Unreachable(
                f"{data} has {size:,} bytes, and is shorter than the {at.length:,} that were "
                f"committed: bring the file back, or set `length` to {size} in "
                f"{self._offset_file(tp)}",
                mend=True,
            )
        if size > at.length:
            with data.open("r+b") as file:
                file.seek(max(at.length - 1, 0))
                if at.length and b"\n" not in file.read(2):
                    raise Unreachable(
                        f"{data} is not as the pipeline left it, no line ends at byte "
                        f"{at.length:,}: bring the file back, or set `length` to {size} in "
                        f"{self._offset_file(tp)}",
                        mend=True,
                    )
                file.truncate(at.length)

    def _read(self, tp: Partition) -> _Standing | None:
        try:
            return msgspec.json.decode(self._offset_file(tp).read_bytes(), type=_Standing)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise Unreachable(f"{self._offset_file(tp)} is broken: {error}", mend=True) from error

    def _write(self, tp: Partition, standing: _Standing) -> None:
        """Replace an offset file as a whole."""
        path = self._offset_file(tp)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(standing))
            file.flush()
            if self._settings.sync:
                os.fsync(file.fileno())
        fresh.replace(path)

    @contextmanager
    def _locked(self, tp: Partition, patience: float | None = None) -> Generator[None]:
        """Keep other processes from this partition's files.

        Raises:
            Unreachable: Another process has kept them for too long.
        """
        until = monotonic() + (_PATIENCE if patience is None else patience)
        with (self._offsets.parent / f"{tp.topic}-{tp.number}.lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if monotonic() > until:
                        raise Unreachable(
                            f"another process keeps the files of {tp} in {self._folder}"
                        ) from error
                    sleep(0.01)
            try:
                yield
            finally:  # closing would not do, if a process was forked meanwhile
                fcntl.flock(file, fcntl.LOCK_UN)

    def _data(self, tp: Partition) -> Path:
        return self._folder / f"{tp.topic}-{tp.number}{self._mark}{self._settings.suffix}"

    def _offset_file(self, tp: Partition) -> Path:
        return self._offsets / f"{tp.topic}-{tp.number}{self._mark}.json"


def _size(data: Path) -> int:
    try:
        return data.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_folder(folder: Path) -> None:
    """Have the disk keep the names of new files."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _errors() -> Generator[None]:
    """Errors of the file system, as the target's fault."""
    try:
        yield
    except OSError as error:
        known = isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError)
        mend = known or error.errno in _TO_MEND
        raise Unreachable(f"files: {error}", mend=mend) from error
