"""The examination of pipeline files, and the modules that end its process or keep it waiting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kafka_etl.config.report import Finding
from kafka_etl.contracts import SinkPlugin
from kafka_etl.errors import ExtraMissing
from kafka_etl.plugins import Plugin, PluginRegistry
from kafka_etl.runtime.examination import Begun, ExaminationTask, Examined, examined
from kafka_etl.runtime.examiner import Examination
from tests.unit.config.project import pipeline, place_of, places

TEXT = pipeline("operators: [»good:f, »hangs:f, »dies:f, »quits:f]")
MODULES = {
    "good": "print('hello')\ndef f(order: dict) -> dict:\n    return order\n",
    "hangs": "import time\n\ntime.sleep(600)\n",
    "dies": "import ctypes\nctypes.string_at(0)\n",
    "quits": "import os\nos._exit(3)\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def written(folder: Path, text: str) -> ExaminationTask:
    path = folder / "pipeline.yaml"
    path.write_text(text.replace("»", ""))
    return ExaminationTask((path,))


def run(
    task: ExaminationTask, registry: PluginRegistry | None = None
) -> tuple[Examined, list[str]]:
    """The result of an examination in this process, and the modules it would have imported."""
    begun: list[Begun] = []
    registry = registry or PluginRegistry.installed()
    return Examination(task, begun.append, registry).run(), [each.subject for each in begun]


def told(found: Iterable[Finding]) -> list[str]:
    return [finding.message for finding in found]


def test_what_hangs_or_dies_is_a_finding_and_the_rest_is_checked(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = written(folder, TEXT + "workers: 0\n")
    found = examined(task, patience=1).findings
    assert told(found) == [
        f"importing hangs:f did not end within 1s, at {folder}/hangs.py, line 3",
        f"importing dies:f ended the process (killed by SIGSEGV), at {folder}/dies.py, line 2",
        "importing quits:f ended the process (exit status 3)",
        "`workers` should be at least 1",
    ]
    assert {finding.code for finding in found[:3]} == {"E202"}
    assert [place_of(finding) for finding in found[:3]] == places(TEXT)[1:]
    assert all("`--no-import` checks everything else" in finding.hint for finding in found[:3])
    assert capfd.readouterr().out == "", "prints of operators are no results"


def test_a_pipeline_with_a_deadly_import_is_not_shown_as_a_sound_one(folder: Path) -> None:
    task = replace(written(folder, TEXT), deadly=deadly(folder, "hangs", "dies", "quits"))
    result, begun = run(task)
    assert len(result.findings) == 3
    assert result.lines == []
    assert begun[1:] == [f"{folder}:good"]


def test_without_imports_the_rest_is_checked_and_the_line_says_what_is_not(folder: Path) -> None:
    block = "retry: {never: [shop:Bad, ValueError]}"
    task = written(folder, TEXT + f"workers: 0\n{block}\n")
    result, begun = run(replace(task, imports=False))
    assert told(result.findings) == ["`workers` should be at least 1"]
    assert result.lines == []
    (line,) = result.left_out
    assert line.endswith(
        "orders-eur: not imported, so not checked: good:f, hangs:f, dies:f, quits:f, shop:Bad"
    )
    assert len(begun) == 1, "the file itself"


def test_without_imports_installed_operators_are_checked(folder: Path) -> None:
    task = written(folder, pipeline("operators: [good:f, {use: filter, with: {where: 'valu.a'}}]"))
    result, _ = run(replace(task, imports=False))
    assert "unknown name `valu`" in result.findings[0].message


@pytest.mark.parametrize("block", ["sink", "dead_letter"])
def test_a_sink_whose_packages_are_missing_is_named_with_the_command(
    tmp_path: Path, block: str
) -> None:
    text = pipeline(f"{block}: {{use: »http, with: {{url: 'http://localhost:1/orders'}}}}")
    result, _ = run(written(tmp_path, text), without_packages("http"))
    (finding,) = result.findings
    assert (finding.code, finding.message) == ("E603", "the sink needs a package")
    assert finding.hint == "pip install it"
    assert [place_of(finding)] == places(text)
    assert result.lines == []


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{topics: »[A B], value: json}", "`topics` should be a topic name"),
        ("{topics: [a], value: »jsn}", "there is no codec called `jsn`"),
        ("{topics: [a], »valeu: json}", "unknown key `valeu`"),
    ],
)
def test_a_mistake_in_the_source_of_tasks_is_told_once(
    tmp_path: Path, source: str, says: str
) -> None:
    (tmp_path / "ops.py").write_text("def work(task: dict) -> dict:\n    return task\n")
    text = f"""
name: films
mode: task
kafka: {{bootstrap.servers: "localhost:1"}}
source: {{use: kafka, with: {source}}}
operator: ops:work
id: value.film
on_success: {{use: kafka, with: {{topic: films.ready}}}}
on_failure: {{topic: films.failed}}
"""
    result, _ = run(written(tmp_path, text))
    (finding,) = result.findings
    assert says in finding.message
    assert "\n" not in finding.message
    assert [place_of(finding)] == places(text)


def test_a_mistake_in_a_destination_of_tasks_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "ops.py").write_text("def work(task: dict) -> dict:\n    return task\n")
    text = """
name: films
mode: task
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads], value: json}}
operator: ops:work
on_success: {use: kafka, with: {topic: »A B}}
on_failure: {topic: films.failed}
"""
    result, _ = run(written(tmp_path, text))
    (finding,) = result.findings
    assert finding.message.startswith("`topic` should be a topic name")
    assert [place_of(finding)] == places(text)


def without_packages(name: str) -> PluginRegistry:
    """The installed plug-ins, of which one sink lacks a package."""

    def require() -> None:
        raise ExtraMissing("the sink needs a package", "pip install it")

    def lacking(plugin: Plugin) -> Plugin:
        sink: SinkPlugin = plugin.load()
        return replace(plugin, load=lambda: replace(sink, require=require))

    return PluginRegistry(
        lacking(plugin) if (plugin.kind, plugin.name) == ("sinks", name) else plugin
        for plugin in PluginRegistry.installed()
    )


def deadly(folder: Path, *modules: str) -> Mapping[str, str]:
    return {f"{folder}:{module}": "ended the process" for module in modules}
