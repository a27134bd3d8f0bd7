"""`kafka-etl validate`: checks pipeline files without Kafka, and reports all problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.cli.options import Paths, Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.config.document import Document
    from kafka_etl.config.report import Finding

_LOOK_EVERY: Final = 0.3


class Format(StrEnum):
    """How problems are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def validate(
    paths: Paths,
    *,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="For programs: problems on standard output, and nothing else."
        ),
    ] = Format.TEXT,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Check again when a file changes; ends by Ctrl-C.")
    ] = False,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Check pipeline files without Kafka; name all problems at once.

    Example: kafka-etl validate pipelines --format github
    """
    if watch:
        _watch(paths)
        return
    findings, lines = _check(paths, parse_sets(sets))
    if form is not Format.TEXT:
        _write(form, findings)
    else:
        for line in lines:
            typer.echo(line)
    if findings:
        _fail(findings, told=form is not Format.TEXT)


def _check(paths: Sequence[Path], overrides: Mapping[str, str]) -> tuple[list[Finding], list[str]]:
    """The problems, and a line about each pipeline that has none."""
    import contextlib
    import os
    import sys

    from kafka_etl.config.build import Pipeline, examine, same_names
    from kafka_etl.config.load import load
    from kafka_etl.config.task_documents import all_documents, notes_of, task_spec
    from kafka_etl.config.task_summary import summary
    from kafka_etl.plugins import PluginRegistry, importable

    loaded = load(paths, env=os.environ, overrides=overrides)
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
    for document in loaded.documents:
        name = document.data.get("name")
        lines += [f"{document.path}: {name}: {note}" for note in notes_of(document)]
    return findings, lines


def _write(form: Format, findings: Sequence[Finding]) -> None:
    from kafka_etl.config.finding_formats import FORMATS
    from kafka_etl.config.report import in_order

    text = FORMATS[form](in_order(findings))
    if text:
        typer.echo(text)


def _fail(findings: Sequence[Finding], *, told: bool) -> None:
    """End with the exit status of mistakes in files, which were told already, or are told now."""
    from kafka_etl.config.report import config_error, without_echoes
    from kafka_etl.errors import ConfigError

    if not told:
        typer.echo(config_error(findings).what, err=True)
        first = without_echoes(findings)[0].code
        typer.echo(f"\n`kafka-etl explain {first}` says more about {first}", err=True)
    raise typer.Exit(ConfigError.exit_status)


def _watch(paths: Sequence[Path]) -> None:
    """Check in a process of its own, again and again: operators are imported anew each time."""
    import subprocess
    import sys
    import time

    again = [word for word in sys.argv[1:] if word not in {"-w", "--watch"}]
    seen: dict[Path, int] = {}
    while True:
        found = _changes(paths)
        if found != seen:
            seen = found
            typer.echo(f"-- {time.strftime('%H:%M:%S')}", err=True)
            subprocess.run([sys.executable, "-m", "kafka_etl", *again], check=False)  # noqa: S603
        time.sleep(_LOOK_EVERY)


def _changes(paths: Sequence[Path]) -> dict[Path, int]:
    """File -> when the file was changed, of all files beside the pipeline files."""
    folders = {path if path.is_dir() else path.parent for path in paths}
    files = (
        file
        for folder in folders
        for ending in ("yaml", "yml", "py")
        for file in folder.glob(f"*.{ending}")
    )
    return {file: file.stat().st_mtime_ns for file in files}


def _line(document: Document, pipeline: Pipeline) -> str:
    operators = ", ".join(operator.name for operator in pipeline.operators) or "none"
    return f"{document.path}: {pipeline.spec.name}: {pipeline.label}; operators: {operators}"
