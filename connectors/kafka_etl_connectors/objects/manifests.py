"""The chain of manifests: what has become of each partition, and which objects count.

Each partition has a chain below `_offsets/NAME/CLUSTER/TOPIC/PARTITION/`. A link holds the next
offset and the objects that bring the rows up to there; link N + 1 is created only if absent, so
that one of two owners wins. The file of a link is named by its number counted down from the
largest, which makes the newest link the first of a listing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import msgspec

from kafka_etl.contracts import StoredOffset, Unreachable
from kafka_etl.record import Partition
from kafka_etl_connectors.objects.bucket import Bucket

_LAST: Final = 10**12 - 1
_CHAINS: Final = "_offsets"
_INTENTS: Final = "_intents"
_READS: Final = 16


class StoredObject(msgspec.Struct, frozen=True):
    """An object that counts.

    Attributes:
        path: Path below the sink's URL.
        bytes: Size.
        rows: Number of rows.
    """

    path: str
    bytes: int
    rows: int


class Manifest(msgspec.Struct, frozen=True):
    """A link of a partition's chain.

    Attributes:
        sequence: Number of the link, from 0.
        begin: The offset at which the partition stood before.
        next: The next offset to read.
        generation: Raised by `offsets reset`.
        topic_id: Kafka's id of the topic; empty: unknown.
        group: The consumer group.
        roll: Name of the act that wrote the link; no other act has the same.
        writer: Name of the worker that wrote the link.
        time: Time of writing, as ISO 8601 in UTC.
        objects: The objects that hold the rows from `begin` to `next`.
    """

    sequence: int
    begin: int
    next: int
    generation: int
    topic_id: str
    group: str
    roll: str
    writer: str
    time: str
    objects: tuple[StoredObject, ...] = ()

    @property
    def offset(self) -> StoredOffset:
        """Where the partition stands after this link."""
        return StoredOffset(self.next, self.generation, self.topic_id, self.group)


class Intent(msgspec.Struct, frozen=True):
    """The names that an act is going to write, declared before the first of them.

    Attributes:
        sequence: Number of the link that will name them.
        roll: Name of the act.
        paths: Paths of the objects.
    """

    sequence: int
    roll: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chains:
    """The chains of all partitions under one name of offsets.

    Attributes:
        bucket: Where they are.
        name: Name of the offsets.
        cluster: Kafka's id of the cluster; with a mark behind it for a replay of dead letters.
    """

    bucket: Bucket
    name: str
    cluster: str
    _encoder: msgspec.json.Encoder = field(default_factory=msgspec.json.Encoder)

    def ask(self) -> None:
        """Ask the store for anything.

        Raises:
            Unreachable: The store does not answer.
        """
        self.bucket.get(f"{_CHAINS}/{segment(self.name)}/anything")

    def newest(self, tp: Partition) -> Manifest | None:
        """The last link of a partition; None: the partition is not known."""
        path = self.bucket.first(self._folder(_CHAINS, tp))
        return None if path is None else self._read(path)

    def append(self, tp: Partition, manifest: Manifest) -> Manifest:
        """Create a link, and return the one that stands there: this one, or another's."""
        path = f"{self._folder(_CHAINS, tp)}{_LAST - manifest.sequence:012d}.json"
        if self.bucket.create(path, self._encoder.encode(manifest)):
            return manifest
        return self._read(path)

    def declare(self, tp: Partition, intent: Intent) -> None:
        """Write down the names that an act is going to use."""
        self.bucket.put(self._intent(tp, intent), self._encoder.encode(intent))

    def fulfil(self, tp: Partition, intent: Intent) -> None:
        """Forget the names: the link that holds them is written."""
        self.bucket.delete([self._intent(tp, intent)])

    def undo(self, tp: Partition, intent: Intent) -> None:
        """Delete the objects of an act whose link was taken by another."""
        self.bucket.delete([*intent.paths, self._intent(tp, intent)])

    def sweep(self, tp: Partition) -> None:
        """Delete what earlier owners have left behind.

        Only an act whose link was taken by another is dead for certain. One whose link is not there
        may still be under way, in a worker that has not noticed yet that it lost the partition.
        """
        for path in self.bucket.paths(self._folder(_INTENTS, tp)):
            content = self.bucket.get(path)
            if content is None:
                continue
            intent = msgspec.json.decode(content, type=Intent)
            link = self._link(tp, intent.sequence)
            if link is not None and link.roll == intent.roll:
                self.fulfil(tp, intent)
            elif link is not None:
                self.undo(tp, intent)

    def all(self, topic: str | None = None) -> list[Manifest]:
        """Every link under this name, partition by partition, the oldest first."""
        found: dict[str, list[str]] = {}
        for path in self.bucket.paths(f"{_CHAINS}/{segment(self.name)}/"):
            chain, _, _ = path.rpartition("/")
            if topic is None or chain.split("/")[-2] == topic:
                found.setdefault(chain, []).append(path)
        links = [path for chain in found.values() for path in reversed(chain)]
        with ThreadPoolExecutor(_READS) as pool:
            return list(pool.map(self._read, links))

    def _link(self, tp: Partition, sequence: int) -> Manifest | None:
        path = f"{self._folder(_CHAINS, tp)}{_LAST - sequence:012d}.json"
        content = self.bucket.get(path)
        return None if content is None else msgspec.json.decode(content, type=Manifest)

    def _read(self, path: str) -> Manifest:
        content = self.bucket.get(path)
        if content is None:
            # A store may answer "exists" while another's write is under way (S3: 409).
            raise Unreachable(f"{path} is being written by another worker")
        return msgspec.json.decode(content, type=Manifest)

    def _folder(self, kind: str, tp: Partition) -> str:
        return f"{kind}/{segment(self.name)}/{segment(self.cluster)}/{tp.topic}/{tp.number}/"

    def _intent(self, tp: Partition, intent: Intent) -> str:
        return f"{self._folder(_INTENTS, tp)}{intent.sequence:012d}-{intent.roll}.json"


def segment(text: str) -> str:
    """A name as one folder; characters that a store may not like are written as `~` and digits."""
    return quote(text or "unknown", safe="").replace("%", "~")
