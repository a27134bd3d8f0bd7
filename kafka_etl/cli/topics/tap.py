"""`kafka-etl tap`: shows the records that go into a pipeline and come out, as they come."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.cluster import Cluster, KafkaOption, find_cluster, is_file
from kafka_etl.cli.options import HttpOfDaemon, Sets, StateDir, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.model import PipelineSpec
    from kafka_etl.kafka.cluster.admin import Admin
    from kafka_etl.kafka.cluster.tail import Tail
    from kafka_etl.record import Partition, SourceRecord


def tap(  # noqa: PLR0913 - one parameter per option
    given: Annotated[
        str,
        typer.Argument(
            metavar="FILE|NAME", help="A pipeline file, or a pipeline that runs in a daemon."
        ),
    ],
    *,
    count: Annotated[
        int | None, typer.Option("-n", min=1, help="End after this many records.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0.1, metavar="SECONDS", help="End after this time.")
    ] = None,
    fixture: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="FIXTURE",
            help="Also write what goes in to this file, redacted, for `try -f` and `test`.",
        ),
    ] = None,
    redact: Annotated[
        list[str], typer.Option("--redact", metavar="FIELD", help="A further field to hide.")
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    kafka: KafkaOption = None,
    sets: Sets = [],  # noqa: B006
    http: HttpOfDaemon = None,
    state_dir: StateDir = None,
) -> None:
    """Show the input of a pipeline, its outputs and its dead letters, as they arrive.

    The command reads the topics of the file, joins no group and writes nothing to Kafka. A name
    stands for the file that the daemon reads; if the daemon was started with `--set` or environment
    variables, give them here, too. A fixture contains records in the format of `show --json`, but
    with keys and plain values as `key_text` and `value_text`; fields whose names suggest secrets
    are hidden.

    Example: kafka-etl tap pipeline.yaml -n 20 --record orders.jsonl --redact email
    """
    from kafka_etl.cli.daemon.address import file_of
    from kafka_etl.kafka.cluster.admin import reached
    from kafka_etl.kafka.cluster.tail import Tail
    from kafka_etl.readable import as_text

    if is_file(given):
        file, name = Path(given), None
    else:
        file, name = file_of(given, http, state_dir), given
    cluster = find_cluster(kafka, file, parse_sets(sets), name)
    admin = reached(cluster.admin)
    kinds = _kinds(cluster, admin)
    partitions = _partitions(admin, kinds)
    begins = admin.latest(partitions)
    until = None if seconds is None else time.monotonic() + seconds
    typer.echo(f"tapping {', '.join(sorted(kinds))}", err=True)
    if cluster.spec is not None:
        for line in unseen(cluster.spec, kinds, {partition.topic for partition in partitions}):
            typer.echo(line, err=True)
    with suppress(KeyboardInterrupt), Tail(cluster.consumer, begins) as tail:
        for number, record in enumerate(_records(tail, until), 1):
            kind = kinds[record.topic() or ""]
            typer.echo(f"{kind:<4} {as_text(record)}")
            if fixture is not None and kind == "in":
                _keep(fixture, record, redact)
            if number == count:
                break


def _keep(fixture: Path, record: SourceRecord, redact: Collection[str]) -> None:
    try:
        with fixture.open("ab") as file:
            file.write(kept(record, redact) + b"\n")
    except OSError as error:
        said = f"{fixture} cannot be written: {error.strerror}"
        raise typer.BadParameter(said, param_hint="--record") from None


def kept(record: SourceRecord, redact: Collection[str]) -> bytes:
    """The line of a fixture, without secrets, from which `try` and `test` make the record again.

    A key, and a value that is no object or list, stand there as text: data would be encoded by the
    pipeline's codec, which makes a JSON text of what is no JSON.
    """
    import orjson

    from kafka_etl.config.secrets import HIDDEN, redacted
    from kafka_etl.readable import as_json

    parts = redacted(orjson.loads(as_json(record)), redact)
    for part, data in (("key", record.key()), ("value", record.value())):
        if data is not None and not isinstance(parts.get(part, {}), dict | list):
            hidden = parts.pop(part) == HIDDEN
            parts[f"{part}_text"] = HIDDEN if hidden else data.decode()
    return orjson.dumps(parts)


def _kinds(cluster: Cluster, admin: Admin) -> dict[str, str]:
    """Topic of the cluster's pipeline -> `in`, `out` or `dead`."""
    from kafka_etl.kafka import topic_pattern

    spec = cluster.spec
    if spec is None:
        return {}
    given = spec.source.with_.get("topics", [])
    sources = [given] if isinstance(given, str) else list(given)
    if sources and topic_pattern.is_pattern(sources[0]):
        sources = [name for name in admin.all_topics() if topic_pattern.matches(sources[0], name)]
    kinds = dict.fromkeys(sources, "in")
    if spec.sink.use == "kafka":
        named = [spec.sink.with_.get("topic"), *spec.sink.with_.get("routes", [])]
        kinds |= {name: "out" for name in named if name and not topic_pattern.is_pattern(name)}
    if spec.dead_letter is not None and spec.dead_letter.topic:
        kinds[spec.dead_letter.topic] = "dead"
    return kinds


def unseen(
    spec: PipelineSpec, kinds: Mapping[str, str], existing: Collection[str]
) -> Iterator[str]:
    """Yield what of a pipeline's records cannot be shown, and why.

    Args:
        spec: The pipeline.
        kinds: Topic -> `in`, `out` or `dead`.
        existing: The topics among these that exist.
    """
    from kafka_etl.kafka.topic_pattern import is_pattern

    sink, letters = spec.sink, spec.dead_letter
    if "in" not in kinds.values():
        yield "not shown: what goes in, as no topic fits the source"
    if sink.use != "kafka":
        yield f"not shown: outputs, as sink {sink.use} writes them to no Kafka topic"
    for route in filter(is_pattern, sink.with_.get("routes", []) if sink.use == "kafka" else []):
        yield f"not shown: outputs to topics that fit {route}, as only names are followed"
    if letters is None:
        yield "not shown: dead letters, as the file names no place for them"
    elif letters.topic is None:
        yield f"not shown: dead letters, as they go to {letters.place} and no Kafka topic"
    for topic in sorted(kinds.keys() - existing):
        yield f"not shown: {topic} ({kinds[topic]}), as there is no such topic yet"


def _partitions(admin: Admin, topics: Collection[str]) -> list[Partition]:
    """The partitions of these topics; a topic that is not there yet is left out."""
    from kafka_etl.errors import TopicMissing
    from kafka_etl.kafka.cluster.topics import existing_partitions

    partitions: list[Partition] = []
    for topic in topics:
        with suppress(TopicMissing):
            partitions += existing_partitions(admin, topic)
    return partitions


def _records(tail: Tail, until: float | None) -> Iterator[SourceRecord]:
    while until is None or time.monotonic() < until:
        yield from tail.poll(0.2)
