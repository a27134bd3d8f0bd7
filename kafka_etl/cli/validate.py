"""`kafka-etl validate`: every problem of pipeline files at once, without Kafka."""

from __future__ import annotations

import typer

from kafka_etl.cli.options import Paths, Sets, parse_sets


def validate(
    paths: Paths,
    *,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Check pipeline files: YAML, settings, plug-ins, operators, guarantee."""
    import os

    from kafka_etl.config.build import build
    from kafka_etl.config.load import load
    from kafka_etl.config.report import config_error
    from kafka_etl.errors import ConfigError
    from kafka_etl.registry import Registry, importable

    loaded = load(paths, env=os.environ, overrides=parse_sets(sets))
    registry = Registry.installed()
    problems: list[str] = []
    if loaded.findings:
        problems.append(config_error(loaded.findings).what)
    for document in loaded.documents:
        try:
            with importable(document.folder):
                pipeline = build(document, registry)
        except ConfigError as error:
            problems.append(error.what)
        else:
            operators = ", ".join(operator.name for operator in pipeline.operators) or "none"
            typer.echo(
                f"{document.path}: {pipeline.spec.name}: {pipeline.guarantee}; "
                f"operators: {operators}"
            )
    if problems:
        typer.echo("\n\n".join(problems), err=True)
        raise typer.Exit(ConfigError.exit_status)
