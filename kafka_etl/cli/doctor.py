"""`kafka-etl doctor`: checks this host, the cluster and a pipeline, and says how to mend each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import typer

from kafka_etl.cli.cluster import KafkaOption
from kafka_etl.cli.options import Sets, StateDir, parse_sets
from kafka_etl.terminal import is_narrow, wrapped

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.config.document import Document
    from kafka_etl.doctor.checks import Result
    from kafka_etl.doctor.facts import Facts
    from kafka_etl.plugins import PluginRegistry

_LEAST: Final = 30
_WIDEST: Final = 120
_ANY_INSTANCE: Final = "INSTANCE"
"""Stands for the name of an instance that has not started yet: ACLs of a prefix hold for it too."""


class _Surroundings(NamedTuple):
    """What all pipelines of one call share.

    Attributes:
        host: Facts about the host.
        registry: The installed plug-ins.
        instance: Name of the instance.
    """

    host: Facts
    registry: PluginRegistry
    instance: str


def doctor(  # noqa: PLR0913 - one parameter per option
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
    instance: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The instance that will run it, as for `run`."),
    ] = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Check this host, the cluster and a pipeline; exit 1 if a check fails.

    Looks, and changes nothing: it joins no group, takes over no transactional id, writes no record
    and makes no table. Each line that is not ok says what to do.

    Example: kafka-etl doctor pipeline.yaml
    """
    import orjson

    from kafka_etl.doctor.checks import diagnose
    from kafka_etl.doctor.gather import facts_of_host
    from kafka_etl.plugins import PluginRegistry
    from kafka_etl.runtime.daemon.state_folder import default_folder, kept_instance

    registry = PluginRegistry.installed()
    folder = state_dir or default_folder()
    host = facts_of_host(registry, folder)
    surroundings = _Surroundings(host, registry, instance or kept_instance(folder) or _ANY_INSTANCE)
    examined = list(_examined(surroundings, path, kafka, parse_sets(sets)))
    results = [(facts.pipeline, result) for facts in examined for result in diagnose(facts)]
    results = list(dict.fromkeys(results))
    if form == "json":
        found = [_as_json(pipeline, result) for pipeline, result in results]
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        width = max(_LEAST, min(shutil.get_terminal_size().columns, _WIDEST))
        for line in rendered(list(dict.fromkeys(result for _, result in results)), width):
            typer.echo(line)
    if any(result.status == "fail" for _, result in results):
        raise typer.Exit(1)


def rendered(results: list[Result], width: int) -> Iterator[str]:
    """Yield the lines of a table: status, check, what was found; and below it what to do.

    On a narrow terminal, what was found is below the name of its check.
    """
    narrow = is_narrow(width)
    column = 0 if narrow else max(len(result.check) for result in results)
    indent = " " * (len("warn") + 2 + (0 if narrow else column + 2))
    for result in results:
        head = f"{result.status:<4}  {result.check:<{column}}  "
        if narrow:
            yield head.rstrip()
            head = indent
        first, *others = result.what.splitlines()  # excerpts of a file keep their columns
        yield from wrapped(first, width, indent, head)
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
    surroundings: _Surroundings, path: Path | None, kafka: str | None, overrides: dict[str, str]
) -> Iterator[Facts]:
    """Yield the facts about each pipeline; without one, those about the host and the cluster."""
    from dataclasses import replace

    from kafka_etl.cli.cluster import find_cluster
    from kafka_etl.cli.daemon.run import read_pipelines
    from kafka_etl.doctor.gather import with_cluster
    from kafka_etl.errors import ConfigError

    host = surroundings.host
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
    for document, _ in read:
        yield _of_pipeline(surroundings, document)


def _of_pipeline(surroundings: _Surroundings, document: Document) -> Facts:
    import contextlib
    import sys
    from dataclasses import replace

    from kafka_etl.config.build import build
    from kafka_etl.doctor.gather import (
        with_cluster,
        with_history,
        with_parts,
        with_rights,
        with_topics,
    )
    from kafka_etl.errors import ConfigError, KafkaEtlError
    from kafka_etl.plugins import importable
    from kafka_etl.runtime.daemon.version import member_id

    host, registry = surroundings.host, surroundings.registry
    try:
        with importable(document.folder), contextlib.redirect_stdout(sys.stderr):
            pipeline = build(document, registry)
    except ConfigError as error:
        return replace(host, problem=error.problem)
    facts = with_parts(host, pipeline, registry)
    settings = {"log_level": 0, **pipeline.spec.kafka}
    member = member_id(pipeline.spec.name, surroundings.instance, 0)
    facts, admin = with_cluster(facts, settings)
    if admin is not None and facts.cluster is not None:
        cluster = facts.cluster
        try:
            facts = with_topics(facts, pipeline, admin)
            facts = with_rights(with_history(facts, pipeline, admin), settings, member)
        except KafkaEtlError as error:
            facts = replace(facts, cluster=replace(cluster, problem=error.problem))
    return _with_targets(facts, pipeline, member)


def _with_targets(facts: Facts, pipeline: Pipeline, member: str) -> Facts:
    from kafka_etl.contracts import Preflight
    from kafka_etl.doctor.gather import with_targets
    from kafka_etl.runtime.worker.deployments import deployment_of, letter_deployment

    partitions = {topic.name: topic.partitions for topic in facts.topics if "source" in topic.uses}
    deployment = deployment_of(pipeline, member, Preflight(partitions=partitions))
    return with_targets(facts, pipeline, deployment, letter_deployment(pipeline, deployment))
