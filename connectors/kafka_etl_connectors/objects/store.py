"""The door: rows go into open files, and files with their manifest into the object store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, ClassVar, Final
from uuid import uuid4

from kafka_etl.contracts import (
    Conflict,
    Move,
    Refused,
    RefusedRows,
    RollingStore,
    Rows,
    StoredOffset,
    Unreachable,
)
from kafka_etl.record import Offsets, Partition
from kafka_etl_connectors.objects.bucket import UPLOADS
from kafka_etl_connectors.objects.files import OpenFile, length_of
from kafka_etl_connectors.objects.folders import FolderTemplate
from kafka_etl_connectors.objects.formats import Format
from kafka_etl_connectors.objects.manifests import Chains, Intent, Manifest, StoredObject
from kafka_etl_connectors.objects.settings import RollSettings

_MOST_FILES: Final = 64
"""Open files of one partition."""
_MOST_SPILLED: Final = 256
"""Temporary files of a worker, each of which is an open descriptor."""

Pieces = dict[Partition, dict[str, Any]]
"""Partition -> folder -> rows, as `OpenFile.append` takes them."""


@dataclass(slots=True)
class _Open:
    """What is taken of a partition, and grows.

    Attributes:
        begin: The offset of the first record.
        next: The next offset to take.
        generation: Of the offsets.
        since: Monotonic time at which the first record was taken.
        files: Folder -> file.
    """

    begin: int
    next: int
    generation: int
    since: float
    files: dict[str, OpenFile[Any]] = field(default_factory=dict[str, "OpenFile[Any]"])


@dataclass(slots=True)
class _Sealed:
    """What is on its way into the object store; the next try sends the very same.

    Attributes:
        manifest: The link that makes the objects count.
        intent: Names of the objects.
        files: Path -> file of an object.
        written: Paths of the objects that are there.
        declared: Whether the intent is there.
    """

    manifest: Manifest
    intent: Intent
    files: dict[str, OpenFile[Any]]
    written: set[str] = field(default_factory=set[str])
    declared: bool = False


@dataclass(slots=True)
class _Part:
    """What the worker knows of a partition.

    Attributes:
        standing: The newest link.
        sealed: What is on its way.
        open: What is taken since.
        swept: Whether leftovers of earlier owners are deleted.
    """

    standing: Manifest
    sealed: _Sealed | None = None
    open: _Open | None = None
    swept: bool = False

    @property
    def files(self) -> list[OpenFile[Any]]:
        sealed = () if self.sealed is None else self.sealed.files.values()
        growing = () if self.open is None else self.open.files.values()
        return [*sealed, *growing]

    def fits(self, move: Move) -> bool:
        """Whether a move begins where the taken rows end."""
        if self.open is not None:
            at, generation = self.open.next, self.open.generation
        else:
            last = self.standing if self.sealed is None else self.sealed.manifest
            at, generation = last.next, last.generation
        return (move.begin, move.generation) == (at, generation)


class ObjectStore(RollingStore):
    """Rows in open files; see `kafka_etl.contracts.RollingStore`.

    A partition is closed in three steps: the names of its objects, the objects, then the manifest,
    a link of the partition's chain that is created only if absent. What was begun is sealed: later
    rows go into new files, and each further try sends the same objects under the same names.

    Args:
        chains: Makes the access to the chains, for each connection anew.
        form: Format of files.
        folders: The folder of each row.
        roll: When files are closed.
        clock: Monotonic time in seconds.
    """

    kind: ClassVar[str] = "objects"

    def __init__(
        self,
        chains: Callable[[], Chains],
        form: Format,
        folders: FolderTemplate,
        roll: RollSettings,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._make_chains = chains
        self._connected: Chains | None = None
        self._format = form
        self._folders = folders
        self._roll = roll
        self._clock = clock
        self._writer = uuid4().hex
        self._parts: dict[Partition, _Part] = {}
        self._durable: dict[Partition, int] = {}
        self._interrupted = False
        self._overfull = False
        self._away: Unreachable | None = None

    # Connection

    def connect(self) -> None:
        """Make the clients, which connect when they are asked something.

        After an outage that filled the disk they are asked something at once: without an answer
        rows would be read again, only to be thrown away again.
        """
        chains = self._make_chains()
        if self._overfull:
            chains.ask()
            self._overfull = False
        self._connected = chains
        self._interrupted = False

    def close(self) -> None:
        """Let go of the clients; open files stay."""
        self._connected = None

    def interrupt(self) -> None:
        """End a call before its next request."""
        self._interrupted = True

    @property
    def _chains(self) -> Chains:
        if self._connected is None:
            raise Unreachable("not connected")
        return self._connected

    # Offsets

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """Read the newest link of each chain."""
        partitions = list(partitions)
        newest = self._at_once(self._chains.newest, partitions)
        found: dict[Partition, StoredOffset] = {}
        for tp, manifest in zip(partitions, newest, strict=True):
            if manifest is None:
                continue
            found[tp] = manifest.offset
            part = self._parts.setdefault(tp, _Part(manifest))
            if part.sealed is None:
                part.standing = manifest
        return found

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """Append a link without objects to each chain.

        Raises:
            Conflict: Others append to a chain at the same time.
        """

        def placed(tp: Partition) -> bool:
            wanted, last = offsets[tp], self._chains.newest(tp)
            if last is not None and not overwrite:
                return True
            link = self._link(last, wanted.next if last is None else last.next, wanted)
            return self._chains.append(tp, link).roll == link.roll or not overwrite

        taken = self._at_once(placed, list(offsets))
        if overwrite:
            self.discard(offsets)
        lost = [tp for tp, done in zip(offsets, taken, strict=True) if not done]
        if lost:
            raise Conflict(lost)

    def _link(
        self,
        last: Manifest | None,
        begin: int,
        after: StoredOffset,
        objects: Sequence[StoredObject] = (),
    ) -> Manifest:
        return Manifest(
            sequence=0 if last is None else last.sequence + 1,
            begin=begin,
            next=after.next,
            generation=after.generation,
            topic_id=after.topic_id,
            group=after.group,
            roll=uuid4().hex,
            writer=self._writer,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            objects=tuple(objects),
        )

    # Taking

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """Take rows into open files. There is no table for letters.

        A row that belongs to many records goes with the first partition of the settlement, as does
        one of a partition that does not move.

        Raises:
            Unreachable: The disk for open files is full, and nothing is open any more; or open
                files are twice as large as allowed, because the store takes none.
        """
        del letters
        self._check_room()
        unknown = [tp for tp in moves if tp not in self._parts]
        if unknown:
            self.offsets(unknown)
        wrong = [
            tp
            for tp, move in moves.items()
            if tp not in self._parts or not self._parts[tp].fits(move)
        ]
        if wrong:
            self.discard(wrong)
            raise Conflict(wrong)
        pieces = self._cut(rows, moves)
        try:
            self._take(pieces, moves)
        except Exception as error:
            self.discard(list(self._parts))  # whichever file it was holds a part of its rows
            if isinstance(error, OSError):
                reason = f"open files cannot be written: {error.strerror or error}"
                raise Unreachable(reason, mend=True) from error
            raise

    def _check_room(self) -> None:
        """Take no more while the store is away for so long that files pile up.

        Usually `roll` makes room between two commits.
        """
        size = sum(file.size for part in self._parts.values() for file in part.files)
        if size > 2 * self._roll.disk:
            self._overfull = True
            raise Unreachable(f"open files hold {size:,} bytes, and the store takes none of them")

    def _cut(self, rows: Rows, moves: Mapping[Partition, Move]) -> Pieces:
        """Encode rows, and sort them by partition and folder.

        Raises:
            RefusedRows: Rows that cannot be encoded, or have no folder.
        """
        if not len(rows):
            return {}
        refused, pick = self._format.encode(rows)
        cut: Pieces = {}
        without: dict[int, Refused] = {}
        for tp, positions in _by_partition(rows, moves).items():
            for folder, members in self._folders.groups(tp, rows, positions).items():
                if folder:
                    if not refused:
                        cut.setdefault(tp, {})[folder] = pick(members)
                else:
                    without |= {p: self._folders.refusal(rows, p) for p in members}
        if refused or without:
            raise RefusedRows({**without, **refused})
        return cut

    def _take(self, pieces: Pieces, moves: Mapping[Partition, Move]) -> None:
        now = self._clock()
        for tp, move in moves.items():
            part = self._parts[tp]
            mine = pieces.get(tp, {})
            if part.open is None:
                if not mine and move.next == move.begin:
                    continue
                part.open = _Open(move.begin, move.begin, move.generation, now)
            for folder, piece in mine.items():
                file = part.open.files.get(folder)
                if file is None:
                    file = part.open.files[folder] = self._format.open()
                file.append(piece)
            part.open.next = move.next
        self._spill()

    def _spill(self) -> None:
        """Move the largest of what waits in memory to disk, until there is room again."""
        files = [file for part in self._parts.values() for file in part.files]
        waiting = sum(file.memory for file in files)
        if waiting <= self._roll.memory:
            return
        for file in sorted(files, key=lambda file: file.memory, reverse=True):
            if waiting <= self._roll.memory // 2:
                break
            waiting -= file.memory
            file.spill()

    # Closing

    def due(self, *, final: bool, leaving: Collection[Partition] = ()) -> bool:
        """Whether files are to be closed, or were closed and nobody was told."""
        return bool(self._durable) or bool(self._due(final=final, leaving=leaving))

    def roll(self, *, final: bool, leaving: Collection[Partition] = ()) -> Offsets:
        """Close the partitions that are due, several at once.

        Raises:
            Conflict: Other workers have moved these partitions, or files are void because the disk
                is full.
        """
        due = self._due(final=final, leaving=leaving)
        self._away = None
        endings = self._at_once(self._closed, due)
        lost = [tp for tp, ending in zip(due, endings, strict=True) if isinstance(ending, Conflict)]
        if lost:
            self.discard(lost)
            raise Conflict(lost)
        for ending in endings:
            if ending is not None:
                raise ending
        durable, self._durable = self._durable, {}
        return durable

    def discard(self, partitions: Collection[Partition]) -> None:
        """Throw open files away, and ask for the standing anew.

        Objects that are already there are left to the next sweep: their link may be there, too.
        """
        for tp in partitions:
            part = self._parts.pop(tp, None)
            if part is not None:
                _close(part.files)

    def _due(self, *, final: bool, leaving: Collection[Partition]) -> list[Partition]:
        old = self._clock() - self._roll.every
        due = [
            tp
            for tp, part in self._parts.items()
            if part.sealed is not None
            or (
                part.open is not None
                and (final or tp in leaving or part.open.since <= old or self._is_full(part.open))
            )
        ]
        return due + self._largest(set(due))

    def _is_full(self, growing: _Open) -> bool:
        return len(growing.files) > _MOST_FILES or any(
            file.size >= self._roll.bytes for file in growing.files.values()
        )

    def _largest(self, due: set[Partition]) -> list[Partition]:
        """The largest partitions that have to go, so that disk and descriptors suffice."""
        sizes = {
            tp: (
                sum(file.size for file in part.files),
                sum(file.spilled for file in part.files),
            )
            for tp, part in self._parts.items()
            if tp not in due and part.open is not None
        }
        size, spilled = (sum(column) for column in zip((0, 0), *sizes.values(), strict=True))
        chosen: list[Partition] = []
        for tp in sorted(sizes, key=lambda tp: sizes[tp], reverse=True):
            if size <= self._roll.disk and spilled <= _MOST_SPILLED:
                break
            chosen.append(tp)
            size, spilled = size - sizes[tp][0], spilled - sizes[tp][1]
        return chosen

    def _closed(self, tp: Partition) -> Exception | None:
        """Close a partition, and return what went wrong; called on a thread of its own."""
        if self._away is not None:
            return self._away  # each try costs time, and would end alike
        part = self._parts[tp]
        try:
            if part.sealed is not None:
                self._send(tp, part, part.sealed)
            if part.open is not None:
                part.sealed, part.open = self._seal(tp, part.standing, part.open), None
                self._send(tp, part, part.sealed)
        except Exception as error:  # noqa: BLE001 - the caller raises it, after the others' ends
            if isinstance(error, Unreachable):
                self._away = error
            return error
        return None

    def _seal(self, tp: Partition, standing: Manifest, growing: _Open) -> _Sealed:
        if (growing.begin, growing.generation) != (standing.next, standing.generation):
            raise Conflict([tp])
        after = StoredOffset(growing.next, standing.generation, standing.topic_id, standing.group)
        link = self._link(standing, growing.begin, after)
        name = f"{tp.topic}-{tp.number}-{growing.begin:012d}-{link.roll}{self._format.extension}"
        files = {folder + name: file for folder, file in growing.files.items()}
        return _Sealed(link, Intent(link.sequence, link.roll, tuple(files)), files)

    def _send(self, tp: Partition, part: _Part, sealed: _Sealed) -> None:
        """Write names, objects and manifest; what an earlier try has written stays written.

        Raises:
            Conflict: Another worker has appended the link.
            Unreachable: The store is away; the next try goes on from here.
        """
        chains, intent = self._chains, sealed.intent
        if sealed.files and not sealed.declared:
            self._go_on()
            chains.declare(tp, intent)
            sealed.declared = True
        objects: list[StoredObject] = []
        for path, file in sealed.files.items():
            try:
                content = file.finish()
            except OSError as error:
                raise Conflict([tp]) from error
            objects.append(StoredObject(path, length_of(content), file.rows))
            if path not in sealed.written:
                self._go_on()
                chains.bucket.put(path, content)
                sealed.written.add(path)
        self._go_on()
        link = _with_objects(sealed.manifest, objects)
        if chains.append(tp, link).roll != link.roll:
            self._give_way(tp, sealed)
            raise Conflict([tp])
        part.standing, part.sealed = link, None
        self._durable[tp] = link.next
        _close(sealed.files.values())
        self._tidy(tp, part, sealed)

    def _tidy(self, tp: Partition, part: _Part, sealed: _Sealed) -> None:
        """Delete what is of no use any more. A failure costs nothing but space."""
        try:
            if sealed.declared:
                self._chains.fulfil(tp, sealed.intent)
            if not part.swept:
                self._chains.sweep(tp)
                part.swept = True
        except Unreachable:
            part.swept = False  # the next sweep finds the intent

    def _give_way(self, tp: Partition, sealed: _Sealed) -> None:
        try:
            self._chains.undo(tp, sealed.intent)
        except Unreachable:
            return  # the other worker's sweep finds the intent

    def _go_on(self) -> None:
        if self._interrupted:
            raise Unreachable("interrupted")

    def _at_once(
        self, call: Callable[[Partition], Any], partitions: Sequence[Partition]
    ) -> list[Any]:
        """Call a function for each partition, several at a time; results in the same order."""
        if len(partitions) <= 1:
            return [call(tp) for tp in partitions]
        with ThreadPoolExecutor(UPLOADS) as pool:
            return list(pool.map(call, partitions))


def _by_partition(rows: Rows, moves: Mapping[Partition, Move]) -> dict[Partition, list[int]]:
    first = min(moves)
    if len(moves) == 1:
        return {first: list(range(len(rows)))}
    # A partition is a tuple: (topic, number) finds it, and is quicker to make.
    places: list[tuple[str, int]] = [
        first if source is None else (source.topic() or "", source.partition() or 0)
        for source in rows.sources
    ]
    found: dict[tuple[str, int], list[int]] = {tp: [] for tp in moves}
    for position, place in enumerate(places):
        found.get(place, found[first]).append(position)
    return {Partition(*place): positions for place, positions in found.items() if positions}


def _with_objects(link: Manifest, objects: Sequence[StoredObject]) -> Manifest:
    return Manifest(
        sequence=link.sequence,
        begin=link.begin,
        next=link.next,
        generation=link.generation,
        topic_id=link.topic_id,
        group=link.group,
        roll=link.roll,
        writer=link.writer,
        time=link.time,
        objects=tuple(objects),
    )


def _close(files: Iterable[OpenFile[Any]]) -> None:
    for file in files:
        file.close()
