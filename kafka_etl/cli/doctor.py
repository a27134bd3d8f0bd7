"""`kafka-etl doctor`: checks this host, the cluster and a pipeline, and says how to mend each."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from kafka_etl.cli.cluster import KafkaOption
from kafka_etl.cli.options import Sets, StateDir, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.document import Document
    from kafka_etl.doctor.checks import Result
    from kafka_etl.doctor.facts import Facts
    from kafka_etl.plugins import PluginRegistry

_NARROWEST: Final = 60
_WIDEST: Final = 120


def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PIPELINE", help="A pipeline file, or a folder of them."),
    ] = None,
    *,
    kafka: KafkaOption = None,
    form: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How results are printed.")
    ] = "table",
    state_dir: StateDir = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Check this host, the cluster and a pipeline; exit 1 if a check fails.

    Looks, and changes nothing: it joins no group and writes no record. Each line that is not ok
    says what to do.

    Example: kafka-etl doctor pipeline.yaml
    """
    import orjson

    from kafka_etl.doctor.checks import diagnose
    from kafka_etl.doctor.gather import facts_of_host
    from kafka_etl.plugins import PluginRegistry
    from kafka_etl.runtime.daemon.state_folder import default_folder

    registry = PluginRegistry.installed()
    host = facts_of_host(registry, state_dir or default_folder())
    examined = list(_examined(host, registry, path, kafka, parse_sets(sets)))
    results = [(facts.pipeline, result) for facts in examined for result in diagnose(facts)]
    results = list(dict.fromkeys(results))
    if form == "json":
        found = [_as_json(pipeline, result) for pipeline, result in results]
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        width = max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
        for line in rendered([result for _, result in results], width):
            typer.echo(line)
    if any(result.status == "fail" for _, result in results):
        raise typer.Exit(1)


def rendered(results: list[Result], width: int) -> Iterator[str]:
    """Yield the lines of a table: status, check, what was found; and below it what to do."""
    column = max(len(result.check) for result in results)
    indent = " " * (len("warn") + column + 4)
    for result in results:
        head = f"{result.status:<4}  {result.check:<{column}}  "
        first, *others = result.what.splitlines()  # excerpts of a file keep their columns
        yield from textwrap.wrap(
            first,
            width,
            initial_indent=head,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield from (f"{indent}{line}".rstrip() for line in others)
        if result.fix:
            yield f"{indent}fix: {result.fix}"


def _as_json(pipeline: str, result: Result) -> dict[str, Any]:
    return {
        "pipeline": pipeline or None,
        "check": result.check,
        "status": result.status,
        "what": result.what,
        "fix": result.fix or None,
    }


def _examined(
    host: Facts,
    registry: PluginRegistry,
    path: Path | None,
    kafka: str | None,
    overrides: dict[str, str],
) -> Iterator[Facts]:
    """Yield the facts about each pipeline; without one, those about the host and the cluster."""
    from dataclasses import replace

    from kafka_etl.cli.cluster import find_cluster
    from kafka_etl.cli.run import read_pipelines
    from kafka_etl.doctor.gather import with_cluster
    from kafka_etl.errors import ConfigError

    if path is None:
        yield with_cluster(host, find_cluster(kafka, None).admin)[0]
        return
    if kafka is not None:
        overrides = {**overrides, "kafka.bootstrap.servers": kafka}
    try:
        read = read_pipelines([path], overrides)
    except ConfigError as error:
        yield replace(host, problem=error.problem)
        return
    for document, spec in read:
        if spec.source.use == "kafka":
            yield _of_pipeline(host, registry, document)


def _of_pipeline(host: Facts, registry: PluginRegistry, document: Document) -> Facts:
    import contextlib
    import sys
    from dataclasses import replace

    from kafka_etl.config.build import build
    from kafka_etl.doctor.gather import with_cluster, with_parts, with_topics
    from kafka_etl.errors import ConfigError, KafkaEtlError
    from kafka_etl.plugins import importable

    try:
        with importable(document.folder), contextlib.redirect_stdout(sys.stderr):
            pipeline = build(document, registry)
    except ConfigError as error:
        return replace(host, problem=error.problem)
    facts = with_parts(host, pipeline, registry)
    facts, admin = with_cluster(facts, {"log_level": 0, **pipeline.spec.kafka})
    if admin is None or facts.cluster is None:
        return facts
    try:
        return with_topics(facts, pipeline, admin)
    except KafkaEtlError as error:
        return replace(facts, cluster=replace(facts.cluster, problem=error.problem))
