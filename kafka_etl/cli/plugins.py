"""`kafka-etl plugins`: lists the installed plug-ins, including broken ones."""

from __future__ import annotations

import typer


def plugins() -> None:
    """List sources, operators, sinks and codecs."""
    from kafka_etl.errors import BrokenPlugin
    from kafka_etl.plugins import PluginRegistry

    registry = PluginRegistry.installed()
    for plugin in registry:
        try:
            note = registry.summary(plugin)
        except BrokenPlugin as error:
            note = f"BROKEN: {error.what}"
        typer.echo(f"{plugin.kind:<10} {plugin.name:<12} {plugin.distribution:<12} {note}")
