"""The suite of all rolling stores, on both sinks: lines in memory, columns in a folder."""

from __future__ import annotations

from itertools import count

import pyarrow.parquet as pq
import pytest

from kafka_etl.testing import RollingStoreContract, StoreSystem
from kafka_etl_connectors.objects.formats import Lines
from tests.sinks.objects.system import World, table_form

_numbers = count()


class LinesSystem(StoreSystem):
    """Lines, not compressed, in memory.

    A failed roll keeps its rows, unlike the commit of other stores: `test_faults.py` breaks it.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def form(self):
        return Lines("jsonl", "none", None)

    def store(self):
        store = self.world.store(form=self.form(), path="{topic}/")
        store.close()
        return store

    def rows_in_target(self):
        content = map(self.world.content, self.world.files())
        return [line for text in content for line in text.splitlines()]

    def refused(self, key):
        return None if key % 2 else b"two\nlines"


class ColumnsSystem(LinesSystem):
    """Parquet in a folder."""

    def form(self):
        return table_form(id="int64", version="int64 not null")

    def row(self, key, version=0):
        return (key, version)

    def key(self, key):
        return (key,)

    def refused(self, key):
        return (key, None) if key % 2 else (2**63, 0)

    def rows_in_target(self):
        tables = map(pq.read_table, self.world.files())
        return [tuple(row.values()) for table in tables for row in table.to_pylist()]


class TestLines(RollingStoreContract):
    @pytest.fixture
    def system(self):
        return LinesSystem(World(f"memory://contract-{next(_numbers)}"))


class TestColumns(RollingStoreContract):
    @pytest.fixture
    def system(self, tmp_path):
        return ColumnsSystem(World(f"file://{tmp_path}/lake"))
