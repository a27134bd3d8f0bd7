"""`python -m tests.kit.reference_pages` writes the pages of docs/reference/ that the code tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from kafka_etl.cli.app import app
from kafka_etl.cli.groups import Unloaded
from kafka_etl.metrics import METRICS

FOLDER = Path(__file__).parents[2] / "docs" / "reference"
_MADE = "This page is made from the code: `python -m tests.kit.reference_pages`.\n"


def pages() -> dict[str, str]:
    """File name -> the page as it should be."""
    return {"commands.md": commands(), "metrics.md": metrics()}


def metrics() -> str:
    rows = [
        f"| `kafka_etl_{one.name}{'_total' if one.kind == 'counter' else ''}` | {one.kind} | "
        f"{', '.join(f'`{label}`' for label in ('pipeline', one.label) if label)} | {one.help} |\n"
        for one in METRICS
    ]
    begin = (
        "# Metrics\n\n`GET /metrics` of the daemon, in Prometheus' text format. "
        f"{_MADE}\n| metric | kind | labels | |\n|---|---|---|---|\n"
    )
    return begin + "".join(rows)


def commands() -> str:
    group = typer.main.get_command(app)
    context = group.context_class(group, info_name="kafka-etl")
    found = "\n".join(_section(context, command) for context, command in _leaves(context, group))
    return f"# Commands\n\n{_MADE}\n{found}"


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
