"""`python -m tests.kit.reference_pages` writes the pages of docs/reference/ that the code tells."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from kafka_etl.cli.app import app
from kafka_etl.cli.groups import Unloaded
from kafka_etl.cli.plugins.page import Setting, settings_of
from kafka_etl.config.model import OperatorUseSpec, PipelineSpec
from kafka_etl.config.task_model import TaskSpec
from kafka_etl.contracts import Settings
from kafka_etl.docstrings import summary_of
from kafka_etl.metrics import METRICS
from kafka_etl.plugins import Plugin, PluginRegistry
from tests.kit.python_page import python_page

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
_MADE = "This page is made from the code: `python -m tests.kit.reference_pages`.\n"
_INNER = {"dead_letters", "task_deliveries", "task_inbox"}
"""Sources that no file names: pipelines of ours that are made of a file."""
_PLACES = {"source", "sink"}


def pages() -> dict[str, str]:
    """File name -> the page as it should be."""
    return {
        "commands.md": commands(),
        "metrics.md": metrics(),
        "pipeline-file.md": pipeline_file(),
        "plug-ins.md": plug_ins(),
        "python.md": python_page(_MADE),
    }


def pipeline_file() -> str:
    parts = {
        "# Pipeline files": PipelineSpec,
        "## Each of `operators`": OperatorUseSpec,
        "## Task pipelines, `mode: task`": TaskSpec,
    }
    begin = (
        f"{_MADE}\nDurations are written as `500ms`, `10s`, `5m`, `1h` or `7d`, sizes as `64KiB`. "
        "`source` and `sink` have `use`, the name of a plug-in, and `with`, its "
        "[settings](plug-ins.md). `${NAME}` is a variable of the environment: "
        "[other forms](../how-to/tls-and-secrets.md). `kafka-etl schema` gives the same to "
        "[an editor](../how-to/while-you-write.md). Keys of the top level that begin with `x-` are "
        "free, for parts that YAML aliases refer to.\n"
    )
    tables = {title: _table(model) for title, model in parts.items()}
    first, *others = tables.items()
    return "\n".join(
        [f"{first[0]}\n\n{begin}\n{first[1]}", *(f"{title}\n\n{table}" for title, table in others)]
    )


def plug_ins() -> str:
    registry = PluginRegistry.installed()
    begin = (
        f"# Plug-ins\n\n`kafka-etl plugins NAME` also shows those of other packages. {_MADE}\n"
        "More about [sinks](../sinks/README.md), [operators](../operators.md) and "
        "[codecs](../schema-registry.md).\n"
    )
    found = [begin]
    for kind in ("sources", "sinks", "operators", "codecs"):
        for plugin in registry:
            if plugin.kind == kind and plugin.name not in _INNER:
                title = f"## {kind[:-1].capitalize()} `{plugin.name}`"
                about = _summary(plugin, registry)
                table = _table(registry.settings(plugin)) or "There are no settings.\n"
                found.append(f"{title}\n\n{about}\n\n{table}")
    return "\n".join(found)


def _summary(plugin: Plugin, registry: PluginRegistry) -> str:
    if plugin.kind != "operators":
        return registry.summary(plugin)
    return summary_of(inspect.getdoc(registry.operator(plugin.name)[0]) or "")


def _table(model: type[Settings]) -> str:
    rows = [_setting(one) for one in settings_of(model)]
    return "".join(["| setting | type | default | |\n|---|---|---|---|\n", *rows]) if rows else ""


def _setting(one: Setting) -> str:
    words = "plug-in" if one.name in _PLACES else one.type
    default = "required" if one.required else f"`{one.default}`" if one.default else ""
    told = one.told.replace("|", "\\|")
    return f"| `{one.name}` | {words} | {default} | {told} |\n"


def metrics() -> str:
    rows = [
        f"| `kafka_etl_{one.name}{'_total' if one.kind == 'counter' else ''}` | {one.kind} | "
        f"{', '.join(f'`{label}`' for label in ('pipeline', one.label) if label)} | {one.help} |\n"
        for one in METRICS
    ]
    begin = (
        "# Metrics\n\n`GET /metrics` of the daemon, in Prometheus' text format. "
        "[Where the time goes](../performance.md#where-the-time-goes) reads some of them. "
        f"{_MADE}\n| metric | kind | labels | |\n|---|---|---|---|\n"
    )
    return begin + "".join(rows)


def commands() -> str:
    group = typer.main.get_command(app)
    context = group.context_class(group, info_name="kafka-etl")
    found = "\n".join(_section(context, command) for context, command in _leaves(context, group))
    begin = f"# Commands\n\nExit statuses: [exit codes](../exit-codes.md). {_MADE}"
    return f"{begin}\n{found}"


def _leaves(context: Any, command: Any) -> Iterator[tuple[Any, Any]]:
    """The commands that are no groups, with their contexts."""
    if not isinstance(command, TyperGroup):
        yield context, command
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        if isinstance(child, Unloaded):
            child = child.load()
        if child is not None and not child.hidden:
            yield from _leaves(child.context_class(child, info_name=name, parent=context), child)


def _section(context: Any, command: Any) -> str:
    text, _, example = (command.help or "").replace("\b", "").partition("Example:")
    lines = [f"## {context.command_path}", "", _paragraphs(text)]
    if example:
        shown, *after = re.split(r"\n\s*\n", example.strip(), maxsplit=1)
        lines += ["", "```sh", " ".join(shown.split()), "```"]
        lines += ["", *map(_paragraphs, after)] if after else []
    rows = [row for parameter in command.params if (row := _row(context, parameter))]
    if rows:
        lines += ["", "| | |", "|---|---|", *rows]
    return "\n".join([*lines, ""])


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


def _row(context: Any, parameter: Any) -> str:
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    names, text = (part.replace("|", "\\|") for part in record)
    return f"| `{names}` | {text} |"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
