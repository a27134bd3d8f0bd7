"""`kafka-etl validate`: checks pipeline files without Kafka, and reports all problems at once."""

from __future__ import annotations

import typer

from kafka_etl.cli.options import Paths, Sets, parse_sets


def validate(
    paths: Paths,
    *,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Check pipeline files without Kafka; name all problems at once."""
    import contextlib
    import os
    import sys

    from kafka_etl.config.build import Pipeline, examine, same_names
    from kafka_etl.config.document import Document
    from kafka_etl.config.load import load
    from kafka_etl.config.report import config_error, without_echoes
    from kafka_etl.config.task_documents import all_documents
    from kafka_etl.errors import ConfigError
    from kafka_etl.plugins import PluginRegistry, importable

    loaded = load(paths, env=os.environ, overrides=parse_sets(sets))
    registry = PluginRegistry.installed()
    findings = loaded.findings
    sound: list[tuple[Document, Pipeline]] = []
    for document in loaded.documents:
        for part in all_documents(document, findings):
            # Standard output is for the results: prints of operators go to standard error.
            with importable(part.folder), contextlib.redirect_stdout(sys.stderr):
                pipeline = examine(part, registry)
            if isinstance(pipeline, Pipeline):
                sound.append((part, pipeline))
            else:
                findings += [finding for finding in pipeline if finding not in findings]
    findings += same_names((document, pipeline.spec) for document, pipeline in sound)
    for document, pipeline in sound:
        operators = ", ".join(operator.name for operator in pipeline.operators) or "none"
        name, guarantee = pipeline.spec.name, pipeline.label
        typer.echo(f"{document.path}: {name}: {guarantee}; operators: {operators}")
    if findings:
        typer.echo(config_error(findings).what, err=True)
        first = without_echoes(findings)[0].code
        typer.echo(f"\n`kafka-etl explain {first}` says more about {first}", err=True)
        raise typer.Exit(ConfigError.exit_status)
