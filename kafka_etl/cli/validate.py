"""`kafka-etl validate`: checks pipeline files without Kafka, and reports all problems at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kafka_etl.cli.options import Paths, Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.config.document import Document


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
    from kafka_etl.config.load import load
    from kafka_etl.config.report import config_error, without_echoes
    from kafka_etl.config.task_documents import all_documents, notes_of, task_spec
    from kafka_etl.config.task_summary import summary
    from kafka_etl.errors import ConfigError
    from kafka_etl.plugins import PluginRegistry, importable

    loaded = load(paths, env=os.environ, overrides=parse_sets(sets))
    registry = PluginRegistry.installed()
    findings = loaded.findings
    sound: list[tuple[Document, Pipeline]] = []
    lines: list[str] = []
    for document in loaded.documents:
        parts, before = all_documents(document, findings), len(sound)
        for part in parts:
            # Standard output is for the results: prints of operators go to standard error.
            with importable(part.folder), contextlib.redirect_stdout(sys.stderr):
                pipeline = examine(part, registry)
            if isinstance(pipeline, Pipeline):
                sound.append((part, pipeline))
            else:
                findings += [finding for finding in pipeline if finding not in findings]
        built, spec = [pipeline for _, pipeline in sound[before:]], task_spec(document)
        if spec is None:
            lines += [_line(document, pipeline) for pipeline in built]
        elif len(built) == len(parts):
            lines.append(summary(document, spec, {each.spec.name: each.label for each in built}))
    findings += same_names((document, pipeline.spec) for document, pipeline in sound)
    for line in lines:
        typer.echo(line)
    for document in loaded.documents:
        for note in notes_of(document):
            typer.echo(f"{document.path}: {document.data.get('name')}: {note}")
    if findings:
        typer.echo(config_error(findings).what, err=True)
        first = without_echoes(findings)[0].code
        typer.echo(f"\n`kafka-etl explain {first}` says more about {first}", err=True)
        raise typer.Exit(ConfigError.exit_status)


def _line(document: Document, pipeline: Pipeline) -> str:
    operators = ", ".join(operator.name for operator in pipeline.operators) or "none"
    return f"{document.path}: {pipeline.spec.name}: {pipeline.label}; operators: {operators}"
