"""Every entry point of ours loads, is what its kind must be, and can be described."""

from __future__ import annotations

import tomllib

import pytest

from kafka_etl.contracts import CodecContext
from kafka_etl.functions.bind import settings_of
from kafka_etl.plugins import KINDS, Plugin, PluginRegistry
from tests.arch.source import ROOT

REGISTRY = PluginRegistry.installed()
OURS = [plugin for plugin in REGISTRY if plugin.distribution == "kafka-etl"]


def test_the_environment_is_up_to_date() -> None:
    """What is installed is what pyproject.toml says; else: `make` once more."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        (kind, name) for kind in KINDS for name in project["entry-points"][f"kafka_etl.{kind}"]
    }
    assert {(plugin.kind, plugin.name) for plugin in OURS} == declared


@pytest.mark.parametrize("plugin", OURS, ids=lambda p: f"{p.kind}-{p.name}")
def test_it_loads_and_says_what_it_is(plugin: Plugin) -> None:
    match plugin.kind:
        case "sources":
            REGISTRY.source(plugin.name)
        case "sinks":
            REGISTRY.sink(plugin.name)
        case "codecs":
            codec = REGISTRY.codec(plugin.name)
            place = CodecContext("source", "value", registry={"url": "http://127.0.0.1:9"})
            assert codec.build(codec.settings(), place).name == plugin.name
        case "operators":
            target, _ = REGISTRY.operator(plugin.name)
            settings_of(target, plugin.name)
    assert REGISTRY.summary(plugin)
