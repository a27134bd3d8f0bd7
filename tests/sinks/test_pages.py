"""The page of each sink names every setting, and no other."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_etl.contracts import SinkPlugin
from kafka_etl_connectors.duckdb import SINK as DUCKDB
from kafka_etl_connectors.files import SINK as FILES
from kafka_etl_connectors.http import SINK as HTTP
from kafka_etl_connectors.mns import SINK as MNS
from kafka_etl_connectors.postgres import SINK as POSTGRES
from kafka_etl_connectors.redis import SINK as REDIS
from kafka_etl_connectors.sqlite import SINK as SQLITE
from tests.kit.pages import named_settings

PAGES = {
    "duckdb": DUCKDB,
    "files": FILES,
    "http": HTTP,
    "mns": MNS,
    "postgres": POSTGRES,
    "redis": REDIS,
    "sqlite": SQLITE,
}


@pytest.mark.parametrize(("name", "plugin"), PAGES.items(), ids=PAGES)
def test_the_page_names_every_setting(name: str, plugin: SinkPlugin[Any]) -> None:
    assert named_settings(f"docs/sinks/{name}.md") == set(plugin.settings.model_fields)
