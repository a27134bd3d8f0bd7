"""The examples whose outputs leave Kafka, against real servers and stand-ins."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from kafka_etl.broker import Cluster
from tests.kit.daemon import command, run_to_end
from tests.kit.function_consumer import read
from tests.kit.mns import KEY_ID, SECRET, Mns, service
from tests.kit.postgres import Postgres

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def mns() -> Iterator[Mns]:
    with service() as running:
        yield running


def run(name: str, tmp_path: Path, topic: str) -> None:
    """Run an example as its README says, and check its closing line."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    text = (folder / "README.md").read_text()
    sending = f"send {topic} input.txt --key-separator TAB --create"
    assert f"kafka-etl {sending}\nkafka-etl run pipeline.yaml --until-end" in text
    sent = command(*sending.split(), cwd=folder)
    assert sent.returncode == 0, sent.stderr
    done = run_to_end(folder, "pipeline.yaml")
    assert done.process.returncode == 0, done.said()
    closing = re.search(r"`(\d+ records in, .*)`", text)
    assert closing is not None
    assert closing[1] in done.said()


def test_what_came_of_each_request_is_in_its_queue(
    tmp_path: Path, cluster: Cluster, mns: Mns, monkeypatch: pytest.MonkeyPatch
) -> None:
    mns.queues |= {"resize-done": [], "resize-failed": []}
    names = {"KAFKA": cluster.bootstrap, "MNS_ENDPOINT": mns.url}
    for name, value in {**names, "MNS_KEY_ID": KEY_ID, "MNS_SECRET": SECRET}.items():
        monkeypatch.setenv(name, value)
    run("04-two-queues", tmp_path, "resize.requests")
    done = [read(body) for body in mns.decoded("resize-done")]
    failed = [read(body) for body in mns.decoded("resize-failed")]
    assert sorted(json.loads(message.response)["image"] for message in done) == ["a.jpg", "c.jpg"]
    assert {message.condition for message in done} == {""}
    assert len(failed) == 2
    assert any("is larger than" in message.response for message in failed)


def test_the_table_holds_the_newest_state_of_each_order(
    tmp_path: Path,
    cluster: Cluster,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = postgres.database()
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER"}
    for key, value in postgres.address(database).items():
        monkeypatch.setenv(names.get(key, "PGPASSWORD"), str(value))
    monkeypatch.setenv("KAFKA", cluster.bootstrap)
    run("05-orders-in-postgres", tmp_path, "shop.orders.changes")
    (orders, letters) = re.findall(
        r"psql -c ['\"](.*)['\"]$",
        (EXAMPLES / "05-orders-in-postgres/README.md").read_text(),
        re.MULTILINE,
    )
    assert postgres.query(database, orders) == [
        (1, "ann", Decimal("12.00")),
        (2, "bob", Decimal("20.50")),
    ]
    found = postgres.query(database, letters)
    assert sorted(condition for condition, _ in found) == ["EncodeError", "EncodeError", "Refused"]
