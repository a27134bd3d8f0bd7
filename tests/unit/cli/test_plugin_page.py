"""`kafka-etl plugins NAME`: what a plug-in is told to be, and the example that it is shown with."""

from __future__ import annotations

import enum
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import jsonschema_rs
import pytest
from pydantic import Field

from kafka_etl.cli.plugins.page import Setting, in_words, page, settings_of
from kafka_etl.config.parse import parse
from kafka_etl.config.schema import pipeline_schema
from kafka_etl.contracts import (
    CodecUse,
    Guarantee,
    Label,
    Settings,
    SinkPlugin,
    SinkSettings,
    require_extra,
)
from kafka_etl.expression import Expression
from kafka_etl.plugins import Plugin, PluginRegistry
from kafka_etl.units import Duration, Size
from tests.kit.daemon import command
from tests.unit.config.project import pipeline

REGISTRY = PluginRegistry.installed()
CHECK = jsonschema_rs.validator_for(pipeline_schema(REGISTRY))
INTERNAL = {"dead_letters", "task_deliveries", "task_inbox"}
SHIPPED = [plugin for plugin in REGISTRY if plugin.name not in INTERNAL]


class TailSettings(SinkSettings):
    """Settings of a sink.

    Attributes:
        port: Port of the service.
        wait: How long to wait for an answer; None: as long as it takes.
        size: Largest line.
    """

    port: int = Field(ge=1, le=65535, examples=[7000])
    wait: Duration | None = None
    size: Size = 65_536


def sink(**parts: Any) -> Plugin:
    made = SinkPlugin(
        **{
            "settings": TailSettings,
            "label": lambda _settings: Label(Guarantee.AT_LEAST_ONCE, "lines come again"),
            "build": lambda _settings, _deployment: None,
            "summary": "lines to a service",
            **parts,
        }
    )
    return Plugin("sinks", "tail", "acme-tail", "1.2", lambda: made)


def shown(plugin: Plugin) -> str:
    return "\n".join(page(plugin, PluginRegistry([plugin]), 80))


def test_a_sink_as_it_is_shown() -> None:
    assert shown(sink()) == (
        "sink tail, of acme-tail 1.2\n"
        "  lines to a service\n"
        "  guarantee: at_least_once (lines come again)\n"
        "\n"
        "sink:\n"
        "  use: tail\n"
        "  with:\n"
        "    port: 7000\n"
        "\n"
        "Settings, under `with`:\n"
        "  port  whole number from 1 to 65,535, required\n"
        "      Port of the service.\n"
        "  wait  duration\n"
        "      How long to wait for an answer; left out: as long as it takes.\n"
        '  size  size, default "64KiB"\n'
        "      Largest line."
    )


class Colour(enum.Enum):
    RED = "red"


class Part(Settings):
    host: str
    port: int = 1


class BareSettings(SinkSettings):
    """Settings without an example."""

    url: str
    wait: Duration
    size: Size
    ratio: float = Field(gt=0, lt=1)
    batch: int = Field(ge=10)
    colour: Colour
    mode: Literal["a", "b"]
    names: tuple[str, ...] = Field(min_length=1)
    rates: dict[str, float]
    part: Part
    when: datetime
    fast: bool
    test: Expression
    codec: CodecUse
    pair: tuple[int, str]
    either: int | None
    more: int = 5


def test_settings_without_examples_have_placeholders_that_are_valid() -> None:
    lines = shown(sink(settings=BareSettings)).splitlines()
    assert lines[2] == "  guarantee: at_least_once (lines come again)"
    sample = parse("\n".join(lines[4 : lines.index("", 4)])).data["sink"]["with"]
    assert sample["url"] == "URL"
    assert (sample["wait"], sample["size"], sample["batch"]) == ("20ms", "16MiB", 10)
    assert (sample["rates"], sample["part"]) == ({"NAME": 1}, {"host": "HOST"})
    assert "more" not in sample
    BareSettings.model_validate(sample)


def test_placeholders_that_a_plugin_does_not_like_are_shown_without_a_guarantee() -> None:
    def label(_settings: Any) -> Label:
        raise ValueError("no such URL")

    lines = shown(sink(settings=BareSettings, label=label)).splitlines()
    assert '    url: "URL"' in lines
    assert not any("guarantee" in line for line in lines)


def test_what_is_not_installed_is_told_with_the_command_that_installs_it() -> None:
    def require() -> None:
        require_extra("tail", "the sink tail needs the package", "no_such_client")

    text = " ".join(shown(sink(require=require)).split())
    assert "the sink tail needs the package no_such_client" in text
    assert "pip install 'kafka-etl[tail]'" in text


@pytest.mark.parametrize("plugin", SHIPPED, ids=lambda p: f"{p.kind}-{p.name}")
def test_the_example_of_a_shipped_plugin_is_valid(plugin: Plugin) -> None:
    lines = list(page(plugin, REGISTRY, 80))
    example = "\n".join(lines[lines.index("") + 1 : lines.index("", lines.index("") + 1)])
    if plugin.kind == "codecs":
        codec = parse(example).data["value"]
        data = parse(pipeline()).data
        data["source"]["with"]["value"] = codec
    else:
        data = parse(pipeline(example)).data
    assert [f"{e.instance_path}: {e.message}" for e in CHECK.iter_errors(data)] == []


@pytest.mark.parametrize("plugin", SHIPPED, ids=lambda p: f"{p.kind}-{p.name}")
def test_each_setting_of_a_shipped_plugin_is_explained(plugin: Plugin) -> None:
    settings = list(settings_of(REGISTRY.settings(plugin)))
    assert [setting.name for setting in settings if not setting.told] == []
    assert [setting.name for setting in settings if setting.type == "anything"] == []
    if plugin.kind == "sinks":
        assert any("guarantee: " in line for line in page(plugin, REGISTRY, 80))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        (
            {"type": "object", "additionalProperties": {"title": "expression"}},
            "mapping of expression",
        ),
        (
            {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
            "whole number, at least 1",
        ),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "number above 0, at most 1"),
        ({"enum": ["a", "b"], "type": "string"}, "one of a, b"),
        ({"anyOf": [{"$ref": "#/$defs/X"}, {"const": False}]}, "mapping or false"),
        ({}, "anything"),
    ],
)
def test_types_in_words(schema: dict[str, Any], words: str) -> None:
    assert in_words(schema) == words


def test_parts_of_settings_have_names_with_dots() -> None:
    found = {setting.name: setting for setting in settings_of(REGISTRY.source("kafka").settings)}
    assert found["batch.max_bytes"] == Setting(
        "batch.max_bytes",
        "size",
        '"16MiB"',
        required=False,
        told="Bytes of their values; a larger record is a batch of its own.",
    )


def test_a_name_of_two_kinds_shows_both(tmp_path: Path) -> None:
    done = command("plugins", "kafka", cwd=tmp_path)
    assert done.returncode == 0
    assert "source kafka, of kafka-etl " in done.stdout
    assert "sink kafka, of kafka-etl " in done.stdout


def test_an_operator_of_ones_own_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "def to_eur(order: dict, *, rate: float = 0.92) -> dict:\n"
        '    """Convert an order.\n\n    Args:\n        rate: Euros for a dollar.\n    """\n'
    )
    done = command("plugins", "shop:to_eur", cwd=tmp_path)
    assert done.returncode == 0
    assert "  Convert an order.\n" in done.stdout
    assert "  rate  number, default 0.92\n      Euros for a dollar.\n" in done.stdout


def test_a_required_setting_of_ones_own_operator_has_a_placeholder(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def to_eur(order: dict, *, rate: float) -> dict: ...\n")
    done = command("plugins", "shop:to_eur", cwd=tmp_path)
    assert "operators:\n  - use: shop:to_eur\n    with:\n      rate: 1\n" in done.stdout
    wrong = command("plugins", "shop:to_euro", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[0] == "error[E201]: module shop has no `to_euro`"
    assert "E202" not in wrong.stderr
    assert "plugins.py" not in wrong.stderr


def test_an_unknown_name_is_told_with_the_nearest(tmp_path: Path) -> None:
    done = command("plugins", "postgers", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean `postgres`?" in done.stderr


def test_a_broken_one_is_shown_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "shop-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kafka_etl.sinks]\nshop = shop_plugin:SINK\n")
    (tmp_path / "site" / "shop_plugin.py").write_text("import no_such_client\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    done = command("plugins", "shop", cwd=tmp_path)
    assert done.returncode == 2
    assert "sink shop of shop, version 1.0, cannot be used" in done.stderr
    assert "No module named 'no_such_client'" in done.stderr
