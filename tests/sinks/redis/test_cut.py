"""A line to Redis that is cut at any point of a commit: each row is there once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from kafka_etl.contracts import Conflict, Move, StoredOffset, Unreachable
from kafka_etl.record import Partition
from kafka_etl.testing import deployment, rows
from kafka_etl_connectors.redis import SINK
from tests.kit.cut import Cut
from tests.kit.valkey import Valkey, running

P0 = Partition("in", 0)
VALUES = [b"%d" % n for n in range(300)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with running(tmp_path_factory.mktemp("valkey")) as started:
        yield started


def write(store: Any, begin: int, end: int) -> None:
    store.commit(rows(*VALUES[begin:end]), {P0: Move(begin, end)}, ())


def settle(store: Any) -> None:
    """Go on as the engine does: from where the store stands."""
    while (at := store.offsets([P0])[P0].next) < len(VALUES):
        try:
            write(store, at, at + 100)
        except Conflict:
            continue


@pytest.mark.parametrize("way", ["to_server", "to_client"])
def test_a_line_cut_anywhere_doubles_and_loses_nothing(server: Valkey, way: str) -> None:
    with Cut(server.port) as cut:
        settings = SINK.settings.model_validate(
            {**server.address, "port": cut.port, "into": "list", "name": way, "timeout": "1s"}
        )
        store: Any = SINK.build(settings, replace(deployment(), group=way))
        store.connect()
        store.place({P0: StoredOffset(0)}, overwrite=True)
        write(store, 0, 100)  # brings the script
        before = getattr(cut, way)
        write(store, 100, 200)
        total = getattr(cut, way) - before
        points = sorted(
            {*range(1, total, max(1, total // 12)), *range(max(1, total - 12), total + 1, 2)}
        )
        broken = 0
        for point in points:
            server.client().delete(way)
            store.place({P0: StoredOffset(0)}, overwrite=True)
            store.close()
            store.connect()
            setattr(cut, f"cut_{way}", getattr(cut, way) + point)
            try:
                write(store, 0, 100)
            except Unreachable:
                broken += 1
            cut.free()
            store.close()
            store.connect()
            settle(store)
            assert server.client().lrange(way, 0, -1) == VALUES, point
        store.close()
        assert broken > len(points) / 2
