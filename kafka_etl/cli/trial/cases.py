"""`kafka-etl test`: runs the cases of pipelines without Kafka."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.options import Paths, Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.trial.cases import Ran, Suite


def run_cases(
    paths: Paths,
    *,
    only: Annotated[
        str, typer.Option("-k", metavar="TEXT", help="Only cases with this text in their names.")
    ] = "",
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML.")
    ] = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Run the cases of pipelines without Kafka, and show what differs.

    Cases are under `tests:` in the pipeline file, or in NAME.tests.yaml next to NAME.yaml. Waits
    before retries take no time. The exit status is 1 if a case fails.

    Example: kafka-etl test pipeline.yaml --junit results.xml
    """
    import os

    from kafka_etl.errors import ConfigError
    from kafka_etl.trial.cases import read_suites, run_suite

    suites = read_suites(paths, os.environ, parse_sets(sets))
    results: list[tuple[Suite, list[Ran]]] = []
    for suite in suites:
        ran = run_suite(suite, lambda case: only in case.spec.name)
        results.append((suite, ran))
        for line in _report(suite, ran):
            typer.echo(line)
    if not any(ran for _, ran in results):
        raise ConfigError(
            f"there is no case to run in {', '.join(map(str, paths))}",
            "Write cases under `tests:` of a pipeline file, or in NAME.tests.yaml beside it"
            + (", or choose others with -k." if only else "."),
        )
    if junit is not None:
        from kafka_etl.cli.trial.junit import as_junit

        try:
            junit.write_bytes(as_junit(results))
        except OSError as error:
            said = f"{junit} cannot be written: {error.strerror}"
            raise typer.BadParameter(said, param_hint="--junit") from error
    if any(one.problems for _, ran in results for one in ran):
        raise typer.Exit(1)


def _report(suite: Suite, ran: Sequence[Ran]) -> list[str]:
    lines: list[str] = []
    for one in ran:
        if one.problems:
            lines.append(f"FAILED {one.case.path}:{one.case.line}: {one.case.spec.name}")
            lines += [f"  {line}" for text in one.problems for line in text.splitlines()]
            lines += [f"  printed: {line}" for line in one.printed.splitlines()]
    failed = sum(bool(one.problems) for one in ran)
    counts = [f"{len(ran) - failed} passed"] if len(ran) > failed or not ran else []
    counts += [f"{failed} failed"] if failed else []
    return [*lines, f"{suite.path}: {suite.name}: {', '.join(counts) if ran else 'no cases'}"]
