"""`kafka-etl plugins`: lists the installed plug-ins, or shows one with its settings."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.terminal import columns, is_narrow, wrapped

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.plugins import Plugin, PluginRegistry


def plugins(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A plug-in, or module:function of your own."),
    ] = None,
) -> None:
    """List sources, operators, sinks and codecs; or show the settings of one.

    Example: kafka-etl plugins http
    """
    from kafka_etl.plugins import PluginRegistry

    registry = PluginRegistry.installed()
    if name is None:
        _list(registry)
    else:
        _show(registry, name)


def _list(registry: PluginRegistry) -> None:
    from kafka_etl.errors import KafkaEtlError

    listed = list(registry)
    sizes = [
        max((len(text) for text in texts), default=0)
        for texts in zip(*map(_cells, listed), strict=True)
    ]
    width = columns()
    for plugin in listed:
        try:
            note, missing = registry.summary(plugin), registry.lacks(plugin)
        except KafkaEtlError as error:
            note, missing = f"BROKEN: {error.what}", None
        if missing is not None:
            note += f". {missing.next_step}"
        if width is not None and is_narrow(width):
            typer.echo("\n".join([" ".join(_cells(plugin)), *wrapped(note, width, "  ")]))
        else:
            cells = map(str.ljust, _cells(plugin), sizes)
            typer.echo(f"{'  '.join(cells)}  {note}")


def _cells(plugin: Plugin) -> tuple[str, str, str]:
    return plugin.kind, plugin.name, plugin.distribution


def _show(registry: PluginRegistry, name: str) -> None:
    from pathlib import Path

    from kafka_etl.cli.plugins.page import page
    from kafka_etl.errors import KafkaEtlError
    from kafka_etl.plugins import importable

    width = shutil.get_terminal_size().columns
    status = 0
    with importable(Path.cwd()):
        for plugin in [_own(name)] if ":" in name else registry.named(name):
            try:
                typer.echo("\n".join([*page(plugin, registry, width), ""]))
            except KafkaEtlError as error:
                version = f", version {plugin.version}," if plugin.version else ""
                typer.echo(f"{plugin}{version} cannot be used", err=True)
                typer.echo(str(error.problem), err=True)
                status = error.exit_status
    raise typer.Exit(status)


def _own(use: str) -> Plugin:
    """The operator `module:function` of the current folder; raises UnknownPlugin, BrokenPlugin."""
    from kafka_etl.plugins import Plugin, import_object

    operator = import_object(use)
    return Plugin("operators", use, "this folder", "", lambda: operator)
