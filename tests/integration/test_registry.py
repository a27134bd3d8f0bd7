"""Avro through a pipeline, with a real schema registry: in, an operator, out."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from kafka_etl.schema_registry.wire_format import head_of
from tests.kit.apicurio import Apicurio
from tests.kit.daemon import Daemon, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project
from tests.kit.registry import StandIn, register, stand_in

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "id", "type": "long"}, {"name": "amount", "type": "double"}],
}
PRICED = {**ORDER, "fields": [*ORDER["fields"], {"name": "eur", "type": "double"}]}
TO_EUR = """
    def to_eur(order: dict) -> dict:
        return order | {"eur": order["amount"] / 2}
"""
AS_COLUMNS = """
    import polars as pl

    def to_eur(orders: pl.DataFrame) -> pl.DataFrame:
        return orders.with_columns(eur=pl.col("amount") / 2)
"""


class AvroProject(Project):
    """Orders in Avro, in and out."""

    def __init__(
        self, folder: Path, kafka: Kafka, registry: Apicurio | StandIn, partitions: int = 4
    ) -> None:
        sink = {"value": {"use": "avro", "with": {"schema": PRICED, "register": True}}}
        super().__init__(
            folder,
            kafka,
            partitions=partitions,
            code=TO_EUR,
            operators=["ops:to_eur"],
            source={"value": "avro"},
            sink=sink,
            registry={"url": registry.url, "timeout": 1},
        )
        self.head = head_of(register(registry.url, f"{self.source}-value", ORDER))

    def order(self, number: int, head: bytes | None = None) -> tuple[str, bytes]:
        stream = BytesIO()
        stream.write(self.head if head is None else head)
        schemaless_writer(stream, parse_schema(ORDER), {"id": number, "amount": number / 4})
        return f"k{number % 7}", stream.getvalue()

    def outputs(self) -> list[Any]:
        schema = parse_schema(PRICED)
        return [
            r.value and schemaless_reader(BytesIO(r.value[5:]), schema)
            for r in self.kafka.read(self.sink)
        ]


def test_avro_in_and_avro_out(tmp_path: Path, kafka: Kafka, apicurio: Apicurio) -> None:
    project = AvroProject(tmp_path, kafka, apicurio)
    bad = [("k1", b'{"id": 1}'), ("k2", b"\x00\x00"), ("k3", project.order(1)[1][:-3])]
    project.produce([*map(project.order, range(1000)), *bad])
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()
    found = sorted(project.outputs(), key=lambda order: order["id"])
    assert found == [{"id": i, "amount": i / 4, "eur": i / 8} for i in range(1000)]
    assert sorted(r.value for r in project.dead_letters()) == sorted(value for _, value in bad)


def test_avro_becomes_rows_of_a_table(tmp_path: Path, kafka: Kafka, apicurio: Apicurio) -> None:
    project = AvroProject(tmp_path, kafka, apicurio)
    types = {"id": "INTEGER", "amount": "REAL", "eur": "REAL"}
    with_table = {"path": "shop.db", "table": "orders", "create": True, "types": types}
    project.spec["sink"] = {"use": "sqlite", "with": with_table}
    project.write()
    project.produce(map(project.order, range(100)))
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()
    with closing(sqlite3.connect(tmp_path / "shop.db")) as store:
        rows = store.execute("SELECT id, amount, eur FROM orders ORDER BY id").fetchall()
    assert rows == [(i, i / 4, i / 8) for i in range(100)]


def test_a_topic_by_pattern_has_a_subject_of_its_own(
    tmp_path: Path, kafka: Kafka, apicurio: Apicurio
) -> None:
    project = AvroProject(tmp_path, kafka, apicurio, partitions=1)
    odd = kafka.topic(1, f"{project.sink}-odd")
    project.spec["sink"]["with"] |= {
        "routes": [f"^{project.sink}-[a-z]+$"],
        "set": {"topic": f"'{odd}' if value.id % 2 else null"},
    }
    project.write()
    project.produce(map(project.order, range(10)))
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()
    assert [order["id"] for order in project.outputs()] == [0, 2, 4, 6, 8]
    head = head_of(register(apicurio.url, f"{odd}-value", PRICED))
    found = kafka.read(odd)
    assert len(found) == 5
    assert {(r.value or b"")[:5] for r in found} == {head}


def test_avro_as_columns(tmp_path: Path, kafka: Kafka, apicurio: Apicurio) -> None:
    project = AvroProject(tmp_path, kafka, apicurio)
    project.write_code(AS_COLUMNS)
    bad = [("k1", b'{"id": 1}'), ("k3", project.order(1)[1][:-3])]
    project.produce([*map(project.order, range(500)), *bad, *map(project.order, range(500, 1000))])
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()
    found = sorted(project.outputs(), key=lambda order: order["id"])
    assert found == [{"id": i, "amount": i / 4, "eur": i / 8} for i in range(1000)]
    assert sorted(r.value for r in project.dead_letters()) == sorted(value for _, value in bad)


def test_nothing_is_lost_while_the_registry_is_away(
    tmp_path: Path, kafka: Kafka, apicurio: Apicurio
) -> None:
    project = AvroProject(tmp_path, kafka, apicurio)
    project.produce(map(project.order, range(100)))
    apicurio.suspend()
    try:
        with Daemon(tmp_path, str(project.file)) as daemon:
            daemon.until(lambda state: "no answer from schema registry" in str(state))
            assert project.outputs() == []
            apicurio.resume()
            daemon.until(lambda _: project.lag() == 0)
            assert daemon.stop() == 0
    finally:
        apicurio.resume()
    assert sorted(order["id"] for order in project.outputs()) == list(range(100))
    assert project.dead_letters() == []


@pytest.mark.parametrize("code", [TO_EUR, AS_COLUMNS], ids=["values", "columns"])
def test_an_id_that_is_registered_late_costs_nothing(
    tmp_path: Path, kafka: Kafka, code: str
) -> None:
    with stand_in() as registry:
        project = AvroProject(tmp_path, kafka, registry, partitions=1)
        project.write_code(code)
        late = project.order(70, head_of(9))
        project.produce([*map(project.order, range(70)), late, *map(project.order, range(71, 100))])
        place = f"the record at {project.source}[0]@70 names it"
        with Daemon(tmp_path, str(project.file)) as daemon:
            daemon.until(lambda state: "schema 9 is not in the schema registry" in str(state))
            daemon.until(lambda state: place in str(state))
            daemon.until(lambda _: project.lag() == 30)  # all before it is done
            while register(registry.url, "late", {**ORDER, "doc": str(len(registry.schemas))}) < 9:
                pass
            daemon.until(lambda _: project.lag() == 0)
            assert daemon.stop() == 0
        assert [order["id"] for order in project.outputs()] == list(range(100))
        assert project.dead_letters() == []


def test_the_id_of_the_schema_in_a_header(tmp_path: Path, kafka: Kafka) -> None:
    """Only the stand-in knows GUIDs."""
    with stand_in() as registry:
        project = AvroProject(tmp_path, kafka, registry)
        project.spec["source"]["with"]["value"] = {"use": "avro", "with": {"schema_id": "header"}}
        project.write()
        guid = b"\x01" + UUID(registry.guid(1)).bytes
        in_header = {
            "key": b"k1",
            "value": project.order(1)[1][5:],
            "headers": [("__value_schema_id", guid)],
        }
        project.produce([in_header, project.order(2), {"key": b"k3", "value": None}])
        done = run_to_end(tmp_path, str(project.file))
        assert done.process.returncode == 0, done.said()
        assert sorted(order["id"] for order in project.outputs() if order) == [1, 2]
        assert project.dead_letters() == []


ADDRESSED = {
    "type": "record",
    "name": "Addressed",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "i", "type": ["int", "null"], "default": 0},
        {"name": "f", "type": "float", "default": 0.5},
        {"name": "m", "type": {"type": "map", "values": "long"}, "default": {}},
        {
            "name": "addr",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Ad",
                    "fields": [{"name": "city", "type": ["null", "string"]}],
                },
            ],
            "default": None,
        },
    ],
}
AS_THEY_ARE = """
    import pyarrow as pa

    def columns(t: pa.Table) -> pa.Table:
        return t

    def values(o: dict) -> dict:
        return o
"""


def whole(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": number, "i": 5, "f": 0.25, "m": {}, "addr": None, **fields}


@pytest.mark.parametrize(
    "operators",
    [
        ["ops:columns"],
        ["ops:values"],
        [
            {"use": "polars", "with": {"filter": "i > 0"}},
            {"use": "filter", "with": {"where": "value.i > 0"}},
        ],
        ["ops:columns", "ops:values"],
    ],
    ids=["columns", "values", "polars, filter", "columns, values"],
)
def test_one_record_that_does_not_fit_costs_itself(
    tmp_path: Path, kafka: Kafka, operators: list[Any]
) -> None:
    """From JSON, of which columns learn what all its records have."""
    with stand_in() as registry:
        project = Project(
            tmp_path,
            kafka,
            partitions=1,
            code=AS_THEY_ARE,
            operators=operators,
            sink={"value": {"use": "avro", "with": {"schema": ADDRESSED, "register": True}}},
            registry={"url": registry.url},
        )
        good = [
            whole(0, m={"a": 1}, addr={"city": "A"}),
            whole(1, m={"b": 2}),
            whole(2, addr={"city": "C"}),
            whole(3, m={"a": 3, "c": 4}, addr={"city": None}),
        ]
        bad = {
            "the Avro schema has no field addr.zip": whole(10, addr={"city": "B", "zip": "9"}),
            "field i: 3000000000 is no Avro int of 32 bits": whole(11, i=3_000_000_000),
            "field f: 1e+300 is no Avro float of 32 bits": whole(12, f=1e300),
            "field id is null and must not be": {**whole(13, m={"a": 1}), "id": None},
        }
        more = [whole(n, addr={"city": "D"}, m={"b": n}) for n in range(20, 30)]
        records = [*good, *bad.values(), *more]
        project.produce([("k", json.dumps(record)) for record in records])
        done = run_to_end(tmp_path, str(project.file))
        assert done.process.returncode == 0, done.said()
        schema = parse_schema(ADDRESSED)
        assert [
            schemaless_reader(BytesIO(r.value[5:]), schema) for r in kafka.read(project.sink)
        ] == [*good, *more]
        assert {
            r.header("kafka_etl.error.message"): json.loads(r.value) for r in project.dead_letters()
        } == bad
