"""`kafka-etl validate`: checks pipeline files without Kafka, and reports all problems at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kafka_etl.cli.options import Paths, Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.report import Finding

_LOOK_EVERY: Final = 0.3


class Format(StrEnum):
    """How problems are written."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def validate(  # noqa: PLR0913 - one parameter per option
    paths: Paths,
    *,
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="For programs: problems on standard output, and nothing else."
        ),
    ] = Format.TEXT,
    watch: Annotated[
        bool,
        typer.Option("-w", "--watch", help="Check again whenever a file changes, until Ctrl-C."),
    ] = False,
    imports: Annotated[
        bool,
        typer.Option(
            "--import/--no-import",
            help="Import operators, or leave out what only an import can tell.",
        ),
    ] = True,
    connect: Annotated[
        bool,
        typer.Option(
            "--connect", help="Also look at the servers of the pipelines; nothing is changed there."
        ),
    ] = False,
    patience: Annotated[
        str | None,
        typer.Option(
            "--import-timeout",
            metavar="DURATION",
            help="The longest time for an import; default: 30s.",
        ),
    ] = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Check pipeline files without Kafka; report all problems at once.

    Operators are imported in a process of its own, so one that hangs or dies is reported like any
    other problem.

    Example: kafka-etl validate pipelines --format github
    """
    if watch:
        _watch(paths)
        return
    from kafka_etl.runtime.examination import PATIENCE, ExaminationTask, examined

    task = ExaminationTask(tuple(paths), parse_sets(sets), imports, connect)
    found = examined(task, PATIENCE if patience is None else _seconds(patience))
    if form is not Format.TEXT:
        _write(form, found.findings)
    else:
        for line in found.lines:
            typer.echo(line)
    for line in found.left_out:
        typer.echo(line, err=form is not Format.TEXT)
    if found.findings:
        _fail(found.findings, told=form is not Format.TEXT)


def _seconds(duration: str) -> float:
    from kafka_etl.units import parse_duration

    try:
        return parse_duration(duration)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--import-timeout") from None


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
            subprocess.run([sys.executable, "-P", "-m", "kafka_etl", *again], check=False)  # noqa: S603
        time.sleep(_LOOK_EVERY)


def _changes(paths: Sequence[Path]) -> dict[Path, int]:
    """File -> when the file was changed, of all files beside the pipeline files."""
    found: dict[Path, int] = {}
    for folder in {path if path.is_dir() else path.parent for path in paths}:
        for ending in ("yaml", "yml", "py"):
            for file in folder.glob(f"*.{ending}"):
                with suppress(FileNotFoundError):  # editors have files that come and go
                    found[file] = file.stat().st_mtime_ns
    return found
