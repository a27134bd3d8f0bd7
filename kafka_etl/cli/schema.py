"""`kafka-etl schema`: prints the JSON Schema of pipeline files, for editors."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON Schema of pipeline files, with everything that is installed.

    An editor with a YAML language server completes and checks a file that begins with
    `# yaml-language-server: $schema=pipeline.schema.json`.

    Example: kafka-etl schema > pipeline.schema.json
    """
    import json

    from kafka_etl.config.schema import pipeline_schema
    from kafka_etl.plugins import PluginRegistry

    typer.echo(json.dumps(pipeline_schema(PluginRegistry.installed()), indent=2))
