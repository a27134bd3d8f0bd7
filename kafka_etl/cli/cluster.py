"""Finds the cluster and the pipeline of a command; shared by the commands on topics and groups."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.config.model import PipelineSpec
    from kafka_etl.kafka.cluster.admin import Admin
    from kafka_etl.kafka.settings import KafkaSourceSettings

DEFAULT_KAFKA = "localhost:9092"

KafkaOption = Annotated[
    str | None,
    typer.Option("--kafka", metavar="HOST:PORT", help=f"Default: $KAFKA, else {DEFAULT_KAFKA}."),
]
PipelineOption = Annotated[
    Path | None,
    typer.Option(
        "--pipeline", metavar="FILE", help="Take client settings (SASL, TLS) from this file."
    ),
]


@dataclass(frozen=True, slots=True)
class Cluster:
    """The client settings for one Kafka cluster.

    Attributes:
        admin: Settings of admin clients.
        consumer: Settings of consumers.
        producer: Settings of producers.
        spec: Pipeline that the settings come from; None: no pipeline file was given.
    """

    admin: Mapping[str, Any]
    consumer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    producer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    spec: PipelineSpec | None = None


def find_cluster(
    kafka: str | None,
    pipeline: Path | None,
    overrides: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Cluster:
    """Make the client settings of a command.

    Args:
        kafka: Bootstrap servers of the option `--kafka`, which come first; then come the pipeline
            file, `$KAFKA` and the default address.
        pipeline: Pipeline file with further client settings, if any.
        overrides: Place in the pipeline file -> YAML text of its value.
        name: Name of a pipeline of the file; None: the file's first.

    Raises:
        ConfigError: The pipeline file is not valid.
    """
    spec = None if pipeline is None else read_one(pipeline, overrides or {}, name)
    # Our own errors report the failures that the client would log.
    settings: dict[str, Any] = {"log_level": 0, **(spec.kafka if spec else {})}
    if kafka is not None:
        settings["bootstrap.servers"] = kafka
    settings.setdefault("bootstrap.servers", os.environ.get("KAFKA") or DEFAULT_KAFKA)
    return Cluster(
        admin=settings,
        consumer={**settings, **(spec.consumer if spec else {})},
        producer={**settings, **(spec.producer if spec else {})},
        spec=spec,
    )


def is_file(given: str) -> bool:
    """Whether an argument names a pipeline file or folder, rather than a topic or a group."""
    path = Path(given)
    pipelines = [*path.glob("*.yaml"), *path.glob("*.yml")] if path.is_dir() else []
    return given.endswith((".yaml", ".yml")) or "/" in given or path.is_file() or bool(pipelines)


def read_one(path: Path, overrides: Mapping[str, str], name: str | None = None) -> PipelineSpec:
    """Read the one pipeline of a file or folder; imports no plug-in.

    Args:
        path: File or folder.
        overrides: Place in the pipeline file -> YAML text of its value.
        name: Name of the pipeline; None: the first, which accepts tasks if the file has two.

    Raises:
        ConfigError: The file is not valid, the folder holds several pipelines, or the file none of
            this name.
    """
    from kafka_etl.cli.daemon.run import read_pipelines
    from kafka_etl.errors import ConfigError

    read = read_pipelines([path], dict(overrides))
    files = {document.path for document, _ in read}  # a file with `mode: task` has two pipelines
    if len(files) > 1:
        names = ", ".join(map(str, sorted(files)))
        raise ConfigError(f"{path} holds several pipelines: {names}", "Name one of these files.")
    specs = {spec.name: spec for _, spec in read}
    if name is None:
        return next(iter(specs.values()))
    if name not in specs:
        raise ConfigError(f"{path} holds {', '.join(specs)}, and no pipeline `{name}`")
    return specs[name]


def accepts_tasks(spec: PipelineSpec | None) -> bool:
    """Whether the first pipeline of a file accepts tasks: the file says `mode: task`."""
    from kafka_etl.config.task_documents import ACCEPT

    return spec is not None and any(operator.use == ACCEPT for operator in spec.operators)


def has_journal(admin: Admin, name: str) -> bool:
    """Whether there is a task pipeline of this name, as far as this user may know."""
    from kafka_etl.errors import NotAuthorized
    from kafka_etl.tasks.placing import journal_of

    try:
        return bool(admin.topics({journal_of(name)}, "READ"))
    except NotAuthorized:
        return True


def source_of(cluster: Cluster, file: object) -> tuple[str, KafkaSourceSettings]:
    """Return the pipeline's name, and the settings of its Kafka source.

    Args:
        cluster: Cluster of a pipeline file.
        file: Path of the file, for the errors.

    Raises:
        NotKafka: The pipeline's source is not Kafka.
        ConfigError: The settings of the source are not valid.
    """
    from pydantic import ValidationError

    from kafka_etl.errors import ConfigError, NotKafka
    from kafka_etl.kafka.settings import KafkaSourceSettings

    spec = cluster.spec
    if spec is None or spec.source.use != "kafka":
        used = "" if spec is None else f": `{spec.source.use}`"
        raise NotKafka(f"the source of {file} is not Kafka{used}")
    try:
        return spec.name, KafkaSourceSettings.model_validate(spec.source.with_)
    except ValidationError as error:
        wrong = "; ".join(f"{e['loc'][0] if e['loc'] else ''}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"{file}: source.with is not right: {wrong}") from error
