"""The page of each sink names every setting with its default, and no other."""

from __future__ import annotations

import re
from typing import Any

import pytest

from kafka_etl.cli.plugins.page import settings_of
from kafka_etl.config.task_model import TaskSpec
from kafka_etl.contracts import Settings, SinkPlugin
from kafka_etl_connectors.duckdb import SINK as DUCKDB
from kafka_etl_connectors.files import SINK as FILES
from kafka_etl_connectors.http import SINK as HTTP
from kafka_etl_connectors.mns import SINK as MNS
from kafka_etl_connectors.postgres import SINK as POSTGRES
from kafka_etl_connectors.redis import SINK as REDIS
from kafka_etl_connectors.sqlite import SINK as SQLITE
from tests.kit.pages import ROOT, named_settings

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


MODELS: dict[str, type[Settings]] = {
    **{f"docs/sinks/{name}.md": plugin.settings for name, plugin in PAGES.items()},
    "docs/tasks/pipelines.md": TaskSpec,
}
ROW = re.compile(r"^\| `(\w+)` \| ([^|]*) \|", re.MULTILINE)
ONE_WORD = re.compile(r"`?([\w./-]+)`?")


@pytest.mark.parametrize(("page", "model"), MODELS.items(), ids=MODELS)
def test_the_defaults_on_the_page_are_those_of_the_code(page: str, model: type[Settings]) -> None:
    """Words in place of a default, such as *the group*, are left to the reader."""
    known = {setting.name: setting for setting in settings_of(model)}
    table = (ROOT / page).read_text().split("\n## Settings\n")[1].split("\n## ")[0]
    told = 0
    for name, cell in ROW.findall(table):
        default = known[name].default
        if known[name].required:
            assert cell in {"required", ""}, name
        elif (found := ONE_WORD.fullmatch(cell)) and found[1] != "none":
            assert default is not None, name
            assert found[1] == default.strip('"'), name
            told += 1
    assert told
