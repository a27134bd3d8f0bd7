"""What the tests share: rows, workers that die at a chosen request, and a reader of manifests."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from kafka_etl.contracts import Move, Rows, StoredOffset
from kafka_etl.invocation import Outputs
from kafka_etl.record import Partition
from kafka_etl_connectors.objects.bucket import Bucket
from kafka_etl_connectors.objects.folders import FolderTemplate
from kafka_etl_connectors.objects.formats import Columns, Format, Lines
from kafka_etl_connectors.objects.manifests import Chains
from kafka_etl_connectors.objects.read import committed_objects
from kafka_etl_connectors.objects.settings import BucketSettings, RollSettings
from kafka_etl_connectors.objects.store import ObjectStore

TP = Partition("orders", 0)
OTHER = Partition("orders", 1)
DAY = 86_400_000


class Died(Exception):
    """The worker's end, at a request."""


class FaultyBucket(Bucket):
    """A bucket that fails at chosen requests.

    Attributes:
        calls: Names of the requests so far.
        fail: (name, path) -> "before", "after" or None: whether and when a request fails.
    """

    def __init__(self, settings: BucketSettings, folder: Path = Path()) -> None:
        super().__init__(settings, folder)
        self.calls: list[tuple[str, str]] = []
        self.error: Callable[[], Exception] = Died
        self.fail: Callable[[str, str], str | None] = lambda _name, _path: None

    def put(self, path, content):
        return self._asked("put", path, lambda: super(FaultyBucket, self).put(path, content))

    def create(self, path, content):
        return self._asked("create", path, lambda: super(FaultyBucket, self).create(path, content))

    def get(self, path):
        return self._asked("get", path, lambda: super(FaultyBucket, self).get(path))

    def first(self, prefix):
        return self._asked("first", prefix, lambda: super(FaultyBucket, self).first(prefix))

    def paths(self, prefix):
        return self._asked("paths", prefix, lambda: super(FaultyBucket, self).paths(prefix))

    def delete(self, paths):
        return self._asked("delete", paths[0], lambda: super(FaultyBucket, self).delete(paths))

    def _asked(self, name, path, request):
        self.calls.append((name, path))
        when = self.fail(name, path)
        if when == "before":
            raise self.error()
        answer = request()
        if when == "after":
            raise self.error()
        return answer


class World:
    """A place for objects, with a log of records for each partition that workers read.

    Attributes:
        now: The clock of all workers.
    """

    def __init__(self, url: str, **access: object) -> None:
        self.url = url
        self.access = access
        self.now = 0.0
        self.name = "app"
        self.settings = BucketSettings.model_validate({"url": url, **access})

    def bucket(self) -> FaultyBucket:
        return FaultyBucket(self.settings)

    def store(
        self,
        bucket: Bucket | None = None,
        *,
        path: str = "{topic}/dt={timestamp:%Y-%m-%d}/",
        form: Format | None = None,
        **roll: object,
    ) -> ObjectStore:
        bucket = bucket or self.bucket()
        form = form or Lines("jsonl", "zstd", None)
        limits = RollSettings.model_validate({"every": "5m", **roll})
        store = ObjectStore(
            lambda: Chains(bucket, self.name, "cluster"),
            form,
            FolderTemplate(path),
            limits,
            lambda: self.now,
        )
        store.connect()
        return store

    def place(self, *partitions: Partition, at: int = 0) -> None:
        wanted = {tp: StoredOffset(at, 0, "id", "app") for tp in partitions or (TP,)}
        self.store().place(wanted, overwrite=False)

    def files(self, topic: str | None = None) -> list[str]:
        return committed_objects(self.url, self.name, topic=topic, **self.access)

    def ids(self) -> list[int]:
        """The ids of all rows that count, in the order of the files."""
        found: list[int] = []
        for path in self.files():
            found += [row["id"] for row in self.rows(path)]
        return found

    def content(self, path: str) -> bytes:
        """The content of a file that a manifest names, decompressed."""
        inside = path.removeprefix(self.url).removeprefix(self.url.removeprefix("file://"))
        content = self.bucket().get(inside.lstrip("/"))
        assert content is not None, f"{path} is named by a manifest and is not there"
        if path.endswith(".gz"):
            content = gzip.decompress(content)
        elif path.endswith(".zst"):
            content = pa.input_stream(io.BytesIO(content), compression="zstd").read()
        return content

    def rows(self, path: str) -> Iterator[dict]:
        return map(json.loads, self.content(path).splitlines())

    def data(self) -> list[str]:
        """All objects that are no manifest and no intent."""
        return [path for path in self.bucket().paths("") if not path.startswith("_")]

    def intents(self) -> list[str]:
        return self.bucket().paths("_intents/")


@dataclass(frozen=True)
class Source:
    """A source record, as far as a sink looks at one."""

    tp: Partition
    at: int
    stamp: int | None

    def topic(self) -> str:
        return self.tp.topic

    def partition(self) -> int:
        return self.tp.number

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return (0, -1) if self.stamp is None else (1, self.stamp)


def record(offset: int, tp: Partition = TP, stamp: int | None = None) -> Source:
    return Source(tp, offset, stamp)


def rows(
    begin: int,
    end: int,
    tp: Partition = TP,
    *,
    values: list | None = None,
    stamps: Callable[[int], int | None] = lambda _offset: DAY,
    to: Callable[[int], str | None] | None = None,
) -> Rows:
    """A row for each offset, whose id is the offset, in every second record another day."""
    offsets = range(begin, end)
    lines = [b'{"id":%d}' % offset for offset in offsets] if values is None else values
    outputs = Outputs(values=lines, keys=[None] * len(lines))
    if to is not None:
        outputs.topics = [to(offset) for offset in offsets]
    sources = [record(offset, tp, stamps(offset)) for offset in offsets]
    return Rows(outputs, sources, lambda source: f"app/id/0/{tp.number}/{source.offset()}")


def nothing() -> Rows:
    return Rows(Outputs(), [], str)


def take(store: ObjectStore, begin: int, end: int, tp: Partition = TP, **more) -> None:
    store.commit(rows(begin, end, tp, **more), {tp: Move(begin, end)}, [])


def table_form(**types: str) -> Columns:
    from kafka_etl_connectors.objects.columns import column_of  # noqa: PLC0415

    return Columns([column_of(name, text) for name, text in types.items()], "zstd", None)
