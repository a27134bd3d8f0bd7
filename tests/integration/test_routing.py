"""Topic, key, partition and headers of outputs by expression, on a real Kafka."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project


def run(tmp_path: Path, kafka: Kafka, records: list[Any], **more: Any) -> tuple[Project, str]:
    other = kafka.topic(3)
    made = Project(tmp_path, kafka, **more)
    made.spec["sink"]["with"] |= {
        "routes": [other],
        "set": {
            "topic": f"'{other}' if value.region == 'eu' else None",
            "key": "value.customer",
            "partition": "value.lane",
            "headers": {"region": "value.region", "from": "partition", "gone": "value.nothing"},
        },
    }
    made.write()
    made.produce(records)
    with Daemon(tmp_path, str(made.file), "--until-end") as daemon:
        assert daemon.wait() == 0, daemon.said()
    return made, other


def order(number: int, **fields: Any) -> tuple[str, str]:
    value = {"id": number, "region": "eu", "customer": "é", "lane": 1, "nothing": None} | fields
    return "old", json.dumps(value)


def test_outputs_go_where_expressions_say(tmp_path: Path, kafka: Kafka) -> None:
    records = [order(1), order(2, region="us", lane=None), order(3, customer=None)]
    made, other = run(tmp_path, kafka, records, sink={"value": None}, dead_letters=False)
    away, usual = kafka.read(other), kafka.read(made.sink)
    assert [(r.key, json.loads(r.value)["id"], r.partition) for r in away] == [
        ("é".encode(), 1, 1),
        (None, 3, 1),
    ]
    assert [json.loads(r.value)["id"] for r in usual] == [2]
    assert away[0].value == records[0][1].encode(), "the bytes are the source's own"
    assert away[0].headers[0] == ("region", b"eu")
    assert away[0].headers[2] == ("gone", None)


def test_what_cannot_be_computed_costs_its_record(tmp_path: Path, kafka: Kafka) -> None:
    records = [order(1), order(2, lane=3), ("k", '{"id": 3}'), order(4, lane="x"), order(5)]
    made, other = run(
        tmp_path, kafka, records, operators=[{"use": "filter", "with": {"where": "value.id > 0"}}]
    )
    assert [json.loads(r.value)["id"] for r in kafka.read(other)] == [1, 5]
    letters = {json.loads(r.value)["id"]: dict(r.headers) for r in made.dead_letters()}
    assert set(letters) == {2, 3, 4}
    assert {h["kafka_etl.condition"] for h in letters.values()} == {b"EncodeError"}
    assert b"is no partition of" in letters[2]["kafka_etl.error.message"]
