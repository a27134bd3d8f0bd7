"""docs/sinks/objects.md: the settings are all there, and its pipeline runs."""

from __future__ import annotations

import json

import duckdb
import pyarrow.dataset as ds
import pytest
from ruamel.yaml import YAML

from kafka_etl_connectors.objects import PARQUET, SINK
from kafka_etl_connectors.objects.read import committed_objects
from tests.kit.daemon import Daemon, run_to_end
from tests.kit.pages import blocks, named_settings
from tests.kit.pipeline import orders
from tests.sinks.objects.system import OTHER, TP, World, take

PAGE = "docs/sinks/objects.md"
LINES, TABLE = blocks(PAGE, "yaml")
(READER,) = blocks(PAGE, "python")
(QUERY,) = blocks(PAGE, "sql")
UNUSED = {"mode", "key", "newer", "create", "evolve"}


def test_the_page_names_every_setting():
    named = named_settings(PAGE, "## Guarantee")
    known = set(SINK.settings.model_fields) | set(PARQUET.settings.model_fields)
    assert named == known - UNUSED | {"key"}


def test_the_settings_of_the_page_are_valid():
    given = YAML(typ="safe").load(LINES)["sink"]["with"]
    SINK.settings.model_validate({**given, "url": "s3://lake"})
    given = YAML(typ="safe").load(TABLE)["sink"]["with"]
    assert PARQUET.settings.model_validate(given).table_columns[0].nullable is False


def test_the_page_s_query_finds_the_files(tmp_path):
    world = World(f"file://{tmp_path}/lake")
    world.name = "orders-to-lake"
    world.place(TP, OTHER)
    store = world.store()
    for at in range(3):
        take(store, at, at + 1)
        store.roll(final=True)
    found = duckdb.sql(QUERY.replace("'lake/", f"'{tmp_path}/lake/")).fetchall()
    assert sorted(f"{tmp_path}/lake/{path}" for (path,) in found) == sorted(world.files())
    assert len(found) == 3


@pytest.fixture
def page(tmp_path, kafka, monkeypatch):
    """The page's pipeline, on topics of its own, and a folder."""
    name, topic, letters = kafka.name(), kafka.topic(4), kafka.topic(1)
    lake = f"file://{tmp_path}/lake"
    text = LINES.replace("orders-to-lake", name).replace("[orders]", f"[{topic}]")
    text = text.replace("orders.dead", letters).replace("every: 5m", "every: 300ms")
    (tmp_path / "pipeline.yaml").write_text(text)
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    monkeypatch.setenv("LAKE", lake)

    def read() -> list[int]:
        code = READER.replace("orders-to-lake", name).replace('"orders"', f'"{topic}"')
        found = {"LAKE": lake}
        exec(code, found)  # noqa: S102 - the page's own code
        place = list(found["orders"].columns).index("id")
        return sorted(row[place] for row in found["orders"].fetchall())

    read.topic, read.letters, read.folder = topic, letters, tmp_path
    return read


def test_the_page_s_pipeline_and_the_page_s_reader(page, kafka):
    kafka.produce(page.topic, [*orders(500), ("gone", None)])
    daemon = run_to_end(page.folder, "pipeline.yaml")
    assert daemon.process.returncode == 0, daemon.said()
    assert page() == list(range(500))
    (letter,) = kafka.read(page.letters)
    assert letter.key == b"gone"


def test_killed_daemons_lose_and_double_nothing(page, kafka):
    count, lake = 2000, page.folder / "lake"

    def files() -> int:
        return len(list(lake.rglob("*.zst")))

    for round_ in range(2):
        part = orders(count)[round_ * 1000 : (round_ + 1) * 1000]
        kafka.produce(page.topic, part)
        with Daemon(page.folder, "pipeline.yaml") as daemon:
            before = files()
            daemon.until(lambda _, before=before: files() > before)
            daemon.kill()
    daemon = run_to_end(page.folder, "pipeline.yaml")
    assert daemon.process.returncode == 0, daemon.said()
    assert page() == list(range(count))


def test_the_page_s_columns_are_written(page, kafka):
    spec = YAML(typ="safe").load((page.folder / "pipeline.yaml").read_text())
    sink = YAML(typ="safe").load(TABLE)["sink"]
    lake = page.folder / "lake"
    sink["with"] |= {"url": f"file://{lake}", "roll": {"every": "5m"}}
    (page.folder / "pipeline.yaml").write_text(json.dumps({**spec, "sink": sink}))
    bad = [("bad", json.dumps({"id": "seven", "amount": 1})), ("none", json.dumps({"id": 1}))]
    kafka.produce(page.topic, [*orders(200), *bad])
    daemon = run_to_end(page.folder, "pipeline.yaml")
    assert daemon.process.returncode == 0, daemon.said()
    table = ds.dataset(committed_objects(f"file://{lake}", spec["name"])).to_table()
    assert sorted(table["id"].to_pylist()) == list(range(200))
    assert table.schema.names == ["id", "paid", "at"]
    assert all(row["paid"] == row["id"] % 100 * 100 + 50 for row in table.to_pylist())
    assert min(table["at"].to_pylist()) > 1_700_000_000_000
    assert sorted(letter.key for letter in kafka.read(page.letters)) == [b"bad", b"none"]
