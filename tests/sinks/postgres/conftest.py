"""A real PostgreSQL for the tests of the sink, and stores on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pytest

from kafka_etl.contracts import Deployment, Move, Rows, StoredOffset
from kafka_etl.envelope import Provenance
from kafka_etl.invocation import Outputs
from kafka_etl.record import Partition
from kafka_etl_connectors.postgres import SINK
from kafka_etl_connectors.postgres.settings import PostgresSettings
from tests.kit.postgres import Postgres
from tests.kit.rows import Source

TP = Partition("in", 0)
PROVENANCE = Provenance("p", "", "g", "w", "host", 1, "0", "3", {})
_NAMES = count()


@pytest.fixture(scope="session")
def server(postgres: Postgres) -> Postgres:
    return postgres


@pytest.fixture
def database(server: Postgres) -> Iterator[Database]:
    name = f"test{next(_NAMES)}"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name}")
    made = Database(server, name)
    try:
        yield made
    finally:
        made.close()
        with server.connect() as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def dbname(postgres: Postgres) -> str:
    """A database for a whole pipeline."""
    return postgres.database()


class Database:
    """One database of its own, and the stores that a test opens on it."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server, self.name = server, name
        self.letter_table: str | None = None
        self._stores: list[Any] = []

    def run(self, query: str, *args: Any) -> list[Any]:
        with self.server.connect(self.name) as connection:
            cursor = connection.execute(query, args or None)
            found = cursor.fetchall() if cursor.description else []
        return [row[0] if len(row) == 1 else row for row in found]

    def connect(self, **more: Any) -> psycopg.Connection[Any]:
        return self.server.connect(self.name, **more)

    def settings(self, **more: Any) -> PostgresSettings:
        given = self.server.address(self.name) | {"table": "t"} | more
        return PostgresSettings.model_validate(given)

    def deployment(self, group: str = "g") -> Deployment:
        return Deployment(
            "p", "app.p.0.0", {}, {}, {}, PROVENANCE,
            group=group, cluster="c", letter_table=self.letter_table,
        )  # fmt: skip

    def check(self, **more: Any) -> Any:
        return SINK.check(self.settings(**more), self.deployment())

    def look(self, **more: Any) -> Any:
        """The sink's check, which only looks."""
        return SINK.check(self.settings(**more), replace(self.deployment(), looks_only=True))

    def store(self, *, seeded: bool = True, connected: bool = True, **more: Any) -> Any:
        settings = self.settings(**more)
        direct = settings.model_copy(update={"port": self.server.port})
        deployment = self.deployment()
        found = SINK.check(direct, deployment)
        store: Any = SINK.build(settings, replace(deployment, columns=found.columns))
        self._stores.append(store)
        if connected:
            store.connect()
            if seeded:
                store.place({TP: StoredOffset(0, 0, "id", "g")}, overwrite=False)
        return store

    def close(self) -> None:
        for store in self._stores:
            store.close()


def made(values: Sequence[Any], keys: Sequence[Any] | None = None, table: Any = None) -> Rows:
    """Rows, each of a record of its own."""
    keys = keys if keys is not None else [None] * (len(values) if table is None else len(table))
    outputs = Outputs(values=list(values), keys=list(keys), table=table)
    return Rows(outputs, [Source(None, i) for i in range(len(keys))], lambda s: str(s.offset()))


def move(begin: int, end: int, generation: int = 0) -> Mapping[Partition, Move]:
    return {TP: Move(begin, end, generation)}
