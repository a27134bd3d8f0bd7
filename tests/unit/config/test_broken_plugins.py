"""Mistakes of a plug-in's author are findings of the pipeline that names the plug-in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from kafka_etl.contracts import (
    ByteSinkSettings,
    CodecPlugin,
    Guarantee,
    Label,
    Settings,
    SinkPlugin,
    SourcePlugin,
    SourceSettings,
)
from kafka_etl.errors import BrokenPlugin, Code
from kafka_etl.kafka.plugin import SOURCE
from kafka_etl.plugins import Kind, Plugin, PluginRegistry, import_object
from tests.unit.config.project import findings_in, pipeline, place_of, places

LABEL = Label(Guarantee.AT_LEAST_ONCE, "so it is")


class ShopSettings(ByteSinkSettings):
    port: int = 7000

    @field_validator("port")
    @classmethod
    def _is_known(cls, port: int) -> int:
        return {7000: port}[port]


class Bare(BaseModel):
    """A pydantic model, but of no settings."""


@dataclass
class Plain:
    port: int = 7000


def made(**changes: Any) -> Any:
    sink = SinkPlugin(ShopSettings, lambda _: LABEL, lambda _s, _d: None, "shops")  # type: ignore[arg-type, return-value]
    return replace(sink, **changes)


def raises(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(loaded: Any, kind: Kind = "sinks") -> None:
        load = loaded if callable(loaded) else lambda: loaded
        broken = Plugin(kind, "shop", "acme-shop", "1.2", load)
        registry = PluginRegistry([*PluginRegistry.installed(), broken])
        monkeypatch.setattr("tests.unit.config.project.REGISTRY", registry)

    return install


SINK = "sink: {use: %sshop}"
MEND = "acme-shop 1.2 has to be mended by its author; only pipelines that use it are affected."


@pytest.mark.parametrize(
    ("loaded", "says"),
    [
        (made(settings=Plain), "`settings` is Plain, which does not derive from SinkSettings"),
        (made(settings=Bare), "`settings` is Bare, which does not derive from SinkSettings"),
        (made(settings=Settings), "`settings` is Settings, which does not derive from Sink"),
        (made(settings=ShopSettings()), "`settings` is no class, but of type ShopSettings"),
        (made(settings=None), "`settings` is no class, but of type NoneType"),
        (made(label=LABEL), "`label` is no function, but of type Label"),
        (made(build=None), "`build` is no function, but of type NoneType"),
        (made(check="check"), "`check` is no function, but of type str"),
        (made(letters="queue"), "`letters` must be 'topic', 'table' or None, not 'queue'"),
        (made(summary=None), "`summary` must be text, not None"),
        (made(label=raises(KeyError("host"))), "`label` failed at "),
        (made(label=raises(KeyError("host"))), "KeyError: 'host'"),
        (made(label=raises(SystemExit(1))), "SystemExit: 1"),
        (made(label=lambda _: None), "`label` returned None, not a Label"),
        (made(label=lambda _: "exactly_once"), "`label` returned 'exactly_once', not a Label"),
        (
            made(label=lambda _: Label("exactly_once", "so it is")),  # type: ignore[arg-type]
            "`label` returned a Label with guarantee 'exactly_once', not a Guarantee",
        ),
    ],
)
def test_a_sink_of_wrong_parts_is_one_finding(
    tmp_path: Path, installed: Callable[..., None], loaded: Any, says: str
) -> None:
    installed(loaded)
    text = pipeline(SINK % "»")
    (finding,) = findings_in(tmp_path, text)
    assert finding.code == Code.BROKEN_PLUGIN
    assert finding.message.startswith("sink shop of acme-shop: ")
    assert says in finding.message
    assert finding.hint == MEND
    assert [place_of(finding)] == places(text)


def test_settings_that_raise_what_is_no_validation_error(
    tmp_path: Path, installed: Callable[..., None]
) -> None:
    installed(made())
    for sink in (
        "sink: {use: »shop, with: {port: 9}}",
        "dead_letter: {use: »shop, with: {port: 9}}",
    ):
        text = pipeline(sink)
        (finding,) = findings_in(tmp_path, text)
        assert finding.code == Code.BROKEN_PLUGIN
        assert finding.message.startswith("sink shop of acme-shop: `settings` failed at ")
        assert finding.message.endswith("KeyError: 9 is not there")
        assert [place_of(finding)] == places(text)
    assert findings_in(tmp_path, pipeline("sink: {use: shop, with: {port: 7000}}")) == []


def test_a_broken_label_does_not_hide_the_next_finding(
    tmp_path: Path, installed: Callable[..., None]
) -> None:
    installed(made(label=lambda _: None))
    text = pipeline("sink: {use: »shop, with: {value: »jsn}}")
    assert [place_of(finding) for finding in findings_in(tmp_path, text)] == places(text)


IMPORT = BrokenPlugin.advice


@pytest.mark.parametrize(
    ("load", "says", "next_step"),
    [
        (
            lambda: import_object("no_such_client:SINK"),
            "importing sink shop of acme-shop failed",
            IMPORT,
        ),
        (
            raises(RuntimeError("no")),
            "importing sink shop of acme-shop failed at ",
            IMPORT,
        ),
        (
            raises(AttributeError("no attribute 'SINK'")),
            "AttributeError: no attribute",
            IMPORT,
        ),
        (lambda: SOURCE, "sink shop of acme-shop is of type SourcePlugin, not SinkPlugin", MEND),
        (lambda: {"settings": 1}, "sink shop of acme-shop is of type dict, not SinkPlugin", MEND),
    ],
)
def test_a_sink_that_does_not_load_is_one_finding(
    tmp_path: Path, installed: Callable[..., None], load: Any, says: str, next_step: str
) -> None:
    installed(load)
    (finding,) = findings_in(tmp_path, pipeline(SINK % ""))
    assert finding.code == Code.BROKEN_PLUGIN
    assert says in finding.message
    assert finding.hint == next_step


def test_a_source_and_a_codec_of_wrong_parts_are_findings_too(
    tmp_path: Path, installed: Callable[..., None]
) -> None:
    source: Any = SourcePlugin(Settings, raises(OSError()), raises(OSError()), "")  # type: ignore[type-var]
    installed(source, "sources")
    (finding,) = findings_in(tmp_path, pipeline("source: {use: shop}"))
    assert finding.message == (
        "source shop of acme-shop: `settings` is Settings, which does not derive from "
        "SourceSettings"
    )
    installed(replace(source, settings=SourceSettings), "sources")
    assert findings_in(tmp_path, pipeline("source: {use: shop, with: {value: json}}")) == []
    for build, says in (
        (raises(OSError("no file")), "codec shop of acme-shop: `build` failed at "),
        (lambda _s, _c: None, "codec shop of acme-shop: `build` returned None, not a Codec"),
    ):
        installed(CodecPlugin(Settings, build), "codecs")
        (finding,) = findings_in(
            tmp_path, pipeline("sink: {use: kafka, with: {topic: o, value: shop}}")
        )
        assert finding.code == Code.BROKEN_PLUGIN
        assert says in finding.message
        assert finding.hint == MEND
