"""Plug-ins: installed, broken, and beside the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.codecs.json.codec import PLUGIN
from kafka_etl.errors import BrokenPlugin, UnknownPlugin
from kafka_etl.kafka.plugin import SINK, SOURCE
from kafka_etl.plugins import KINDS, Kind, Plugin, PluginRegistry, import_object, importable
from tests.unit.config.project import findings_in, pipeline


def plugin(kind: Kind, name: str, load: Callable[[], Any]) -> Plugin:
    return Plugin(kind, name, "kafka-etl-shop", "1.2", load)


def importing(module: str) -> Callable[[], Any]:
    """A loader as entry points have it."""
    return lambda: import_object(f"{module}:thing")


def quits() -> Any:
    raise SystemExit(1)


def interrupted() -> Any:
    raise KeyboardInterrupt


def convert(order: dict[str, Any]) -> dict[str, Any]:
    """Convert an order.

    At length.
    """
    return order


@pytest.fixture(autouse=True)
def _same_modules() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        if name in {"ops", "helper", "shop", "shop.ops", "flat"}:
            raise AssertionError(f"{name} stayed behind")


# What is installed


def test_the_built_in_ones_are_found_by_entry_point() -> None:
    registry = PluginRegistry.installed()
    assert registry.source("kafka") is SOURCE
    assert registry.sink("kafka") is SINK
    assert registry.codec("json") is PLUGIN
    assert {(p.kind, p.name) for p in registry} >= {
        ("operators", "filter"),
        ("operators", "fields"),
        ("sinks", "stdout"),
        ("codecs", "bytes"),
        ("codecs", "text"),
    }


def test_every_built_in_one_says_what_it_is() -> None:
    registry = PluginRegistry.installed()
    for found in registry:
        assert found.distribution == "kafka-etl"
        assert registry.summary(found)


def test_they_are_listed_by_kind_then_name() -> None:
    plugins = [plugin(kind, name, convert) for kind in reversed(KINDS) for name in "ba"]
    listed = [(p.kind, p.name) for p in PluginRegistry(plugins)]
    assert listed == [(kind, name) for kind in KINDS for name in "ab"]


def test_nothing_is_imported_before_it_is_used() -> None:
    registry = PluginRegistry([plugin("sources", "shop", quits)])
    assert [p.name for p in registry] == ["shop"]


def test_an_operator_comes_with_its_version() -> None:
    registry = PluginRegistry([plugin("operators", "convert", lambda: convert)])
    assert registry.operator("convert") == (convert, "1.2")
    assert registry.summary(next(iter(registry))) == "Convert an order."


def test_an_unknown_one_is_told_what_there_is() -> None:
    registry = PluginRegistry(
        [plugin("sinks", name, lambda: SINK) for name in ("postgres", "redis")]
    )
    with pytest.raises(UnknownPlugin) as caught:
        registry.sink("postgers")
    assert caught.value.what == "there is no sink called `postgers`; installed: postgres, redis"
    assert caught.value.next_step == "did you mean `postgres`?"


# Broken ones


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (lambda: 1 // 0, "importing source shop of kafka-etl-shop failed"),
        (quits, "SystemExit"),
        (lambda: 5, "source shop of kafka-etl-shop is of type int, not SourcePlugin"),
        (lambda: SINK, "source shop of kafka-etl-shop is of type SinkPlugin, not SourcePlugin"),
        (
            lambda: SOURCE.build,
            "source shop of kafka-etl-shop is of type function",
        ),
    ],
)
def test_a_broken_one_is_named_when_it_is_used(load: Callable[[], Any], says: str) -> None:
    registry = PluginRegistry(
        [plugin("sources", "shop", load), plugin("sources", "kafka", lambda: SOURCE)]
    )
    with pytest.raises(BrokenPlugin) as caught:
        registry.source("shop")
    assert says in caught.value.what
    with pytest.raises(BrokenPlugin):
        registry.summary(next(p for p in registry if p.name == "shop"))
    assert registry.source("kafka") is SOURCE


@pytest.mark.parametrize("kind", KINDS)
def test_the_wrong_kind_of_object_is_no_plugin(kind: Kind) -> None:
    registry = PluginRegistry([plugin(kind, "shop", lambda: 5)])
    use = getattr(registry, kind.removesuffix("s"))
    with pytest.raises(BrokenPlugin, match=f"{kind[:-1]} shop of kafka-etl-shop is of type int"):
        use("shop")


def test_ctrl_c_during_an_import_is_not_the_plugins_fault() -> None:
    registry = PluginRegistry([plugin("sinks", "slow", interrupted)])
    with pytest.raises(KeyboardInterrupt):
        registry.sink("slow")


def test_a_broken_one_fails_only_the_pipelines_that_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = plugin("operators", "broken", importing("no_such_client"))
    registry = PluginRegistry([*PluginRegistry.installed(), broken])
    monkeypatch.setattr("tests.unit.config.project.REGISTRY", registry)
    (finding,) = findings_in(tmp_path, pipeline("operators: [broken]"))
    assert "importing operator broken of kafka-etl-shop failed" in finding.message
    assert "no_such_client" in finding.message
    assert findings_in(tmp_path, pipeline()) == []


# module:function


def folder_with(path: Path, modules: dict[str, str]) -> Path:
    """A folder with these modules: `shop/ops` -> code."""
    for name, code in modules.items():
        file = path / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    return path


def test_a_module_beside_the_pipeline_is_found_and_forgotten(tmp_path: Path) -> None:
    folder = folder_with(
        tmp_path, {"ops": "import helper\nF = helper.F\n", "helper": "F = print\n"}
    )
    path = list(sys.path)
    with importable(folder):
        assert PluginRegistry([]).operator("ops:F") == (print, "")
    assert sys.path == path
    assert not {"ops", "helper"} & sys.modules.keys()


HELPED = "from helper import F"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("ops:F", {"ops": "F = 1"}), ("ops:F", {"ops": "F = 2"})),
        (
            ("ops:F", {"ops": HELPED, "helper": "F = 1"}),
            ("ops:F", {"ops": HELPED, "helper": "F = 2"}),
        ),
        (("shop.ops:F", {"shop/ops": "F = 1"}), ("shop.ops:F", {"shop/ops": "F = 2"})),
        (("shop:F", {"shop/__init__": "F = 1"}), ("shop:F", {"shop": "F = 2"})),
        (("shop.ops:F", {"shop/ops": "F = 1"}), ("shop:F", {"shop": "F = 2"})),
    ],
    ids=["module", "with a helper", "namespace", "package, module", "namespace, module"],
)
def test_two_folders_may_use_the_same_names(
    tmp_path: Path, first: tuple[str, dict[str, str]], second: tuple[str, dict[str, str]]
) -> None:
    found = []
    for number, (use, modules) in enumerate([first, second]):
        with importable(folder_with(tmp_path / str(number), modules)):
            found.append(import_object(use))
    assert found == [1, 2]


def test_packages_of_an_environment_inside_the_folder_stay_imported(tmp_path: Path) -> None:
    """Importing some of them twice fails, or makes two of every class."""
    site = tmp_path / ".venv" / "lib"
    folder_with(tmp_path, {"ops": "import bigpackage.part\nF = bigpackage.part.F\n"})
    folder_with(site, {"bigpackage/__init__": "", "bigpackage/part": "F = object()\n"})
    sys.path.append(str(site))
    try:
        with importable(tmp_path):
            first = import_object("ops:F")
        with importable(tmp_path):
            assert import_object("ops:F") is first
    finally:
        sys.path.remove(str(site))
        for name in ("bigpackage", "bigpackage.part"):
            del sys.modules[name]


def test_an_attribute_may_have_dots(tmp_path: Path) -> None:
    with importable(folder_with(tmp_path, {"ops": "class Shop:\n    convert = 5\n"})):
        assert import_object("ops:Shop.convert") == 5


@pytest.mark.parametrize(
    ("use", "what", "next_step"),
    [
        ("ops:convrt", "module ops has no `convrt`", "did you mean `convert`?"),
        ("ops:Shop.convrt", "module ops has no `Shop.convrt`", "did you mean `convert`?"),
        ("ops:nothing", "module ops has no `nothing`", "Correct the name, or define it there."),
        ("opps:x", "there is no module `opps` (looked beside the pipeline", "did you mean `ops`?"),
        ("ops.sub:x", "there is no module `ops.sub`", "did you mean `ops`?"),
        ("far.away:x", "there is no module `far`", "Put the module beside the pipeline file"),
        ("ops", "`ops` is not `module:name`", "Write a module's name"),
        ("ops:a b", "`ops:a b` is not `module:name`", "Write a module's name"),
    ],
)
def test_a_name_that_leads_nowhere_says_where_it_ends(
    tmp_path: Path, use: str, what: str, next_step: str
) -> None:
    code = "def convert(): ...\nclass Shop:\n    def convert(self): ...\n"
    with importable(folder_with(tmp_path, {"ops": code})), pytest.raises(UnknownPlugin) as caught:
        import_object(use)
    assert caught.value.what.startswith(what)
    assert caught.value.next_step.startswith(next_step)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import jsn", "line 1, in <module>: ModuleNotFoundError: No module named 'jsn'"),
        ("import ops.nope", "ModuleNotFoundError: No module named 'ops.nope'"),
        ("x = 1\ny = [1,\n\n", "/flat.py, line 2: SyntaxError: '[' was never closed: `y = [1,`"),
        ("\n\n  x = 1", "/flat.py, line 3: IndentationError: unexpected indent: `x = 1`"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_fails_is_broken_not_missing(tmp_path: Path, code: str, says: str) -> None:
    with (
        importable(folder_with(tmp_path, {"flat": code, "ops": "x = 1"})),
        pytest.raises(BrokenPlugin) as caught,
    ):
        import_object("flat:f")
    assert caught.value.what.startswith("importing module flat failed at ")
    assert says in caught.value.what
