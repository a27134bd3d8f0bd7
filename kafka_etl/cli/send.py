"""`kafka-etl send`: sends the lines of a file to a topic, one record each."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NamedTuple

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption, find_cluster

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.kafka.topics import Sender, Sent
    from kafka_etl.record import Headers

_DEFAULT_LIMIT = 1_048_588
_SHOWN = 3


class Line(NamedTuple):
    """The rules by which a line becomes a record.

    Attributes:
        separator: Separator between key and value; None: the whole line is the value.
        key: Key of all records, without a separator; None: records have no key.
        null: Text of a value that makes the record a tombstone; None: no text does.
    """

    separator: bytes | None
    key: bytes | None
    null: bytes | None

    def parted(self, line: bytes) -> tuple[bytes | None, bytes | None] | None:
        """Split a line into key and value; None: the line lacks the separator."""
        key, value = self.key, line
        if self.separator is not None:
            key, found, value = line.partition(self.separator)
            if not found:
                return None
        return key, None if value == self.null else value


def send(  # noqa: PLR0913 - one parameter per option
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.")],
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="One record per line; -: standard input.")
    ] = "-",
    *,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    separator: Annotated[
        str | None,
        typer.Option(
            "--key-separator",
            metavar="TEXT",
            help="Lines are KEY, this text, VALUE; TAB stands for a tab.",
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="The key of all records.")] = None,
    headers: Annotated[
        list[str], typer.Option("--header", metavar="NAME=VALUE", help="A header of all records.")
    ] = [],  # noqa: B006 - typer reads it, nobody changes it
    null: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The text that stands for a null value, a tombstone."),
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Create the topic if it is missing.")
    ] = False,
    partitions: Annotated[
        int, typer.Option(min=1, help="Number of partitions, if the topic is created.")
    ] = 1,
) -> None:
    """Send lines to a topic, one record each, and print the number of records that arrived.

    Example: kafka-etl send orders orders.txt --key-separator TAB --create
    """
    from kafka_etl.errors import RecordsNotSent
    from kafka_etl.kafka.topics import Sender

    if separator is not None and key is not None:
        raise typer.BadParameter("the key is in the line already", param_hint="--key")
    line = Line(_separator(separator), _encoded(key), _encoded(null))
    told = [_header(text) for text in headers]
    cluster = find_cluster(kafka, pipeline)
    with _opened(file) as lines:
        limit = _prepare(cluster.admin, topic, create=create, partitions=partitions)
        sender = Sender(cluster.producer, topic, limit)
        broken = _send_lines(sender, lines, line, told)
        sent = sender.finish()
    if broken or sent.failed:
        raise RecordsNotSent(_what_failed(topic, sent, broken))
    typer.echo(f"{topic} has {sent.arrived:,} records more", err=True)


def _send_lines(sender: Sender, lines: BinaryIO, line: Line, headers: Headers) -> str:
    """Send lines until one fails; return why sending stopped early, apart from failed records."""
    try:
        for number, text in enumerate(lines, 1):
            parted = line.parted(text.removesuffix(b"\n").removesuffix(b"\r"))
            if parted is None:
                return f"line {number} has no key separator"
            key, value = parted
            sender.send(value, key, headers)
            if sender.sent.failed:
                break
    except KeyboardInterrupt:
        return "it was interrupted"
    return ""


def _prepare(settings: Mapping[str, Any], topic: str, *, create: bool, partitions: int) -> int:
    """Check the topic, or create it; return the largest record that the topic takes, in bytes."""
    from kafka_etl.kafka.admin import reached
    from kafka_etl.kafka.topics import existing_partitions

    admin = reached(settings)
    if create and topic not in admin.topics([topic], "WRITE"):
        admin.create_topic(topic, partitions, None, {})
        typer.echo(f"created topic {topic} with {partitions} partitions", err=True)
        return _DEFAULT_LIMIT
    existing_partitions(admin, topic, "Correct its name, or add `--create`.", "WRITE")
    limits = admin.settings_of([topic]).get(topic, {})
    return int(limits.get("max.message.bytes", _DEFAULT_LIMIT))


def _what_failed(topic: str, sent: Sent, broken: str) -> str:
    failed = sorted(sent.failed.items())
    reasons = [f"line {number}: {why}" for number, why in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        reasons.append(f"and {len(failed) - _SHOWN:,} more")
    reasons += [broken] if broken else []
    return f"{topic} has {sent.arrived:,} records more, but not all: {'; '.join(reasons)}"


@contextmanager
def _opened(file: str) -> Generator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as opened:
            yield opened
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from error


def _separator(text: str | None) -> bytes | None:
    if text == "":
        raise typer.BadParameter("is empty", param_hint="--key-separator")
    return _encoded("\t" if text in {"TAB", "\\t"} else text)


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _header(text: str) -> tuple[str, bytes | None]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise typer.BadParameter(f"`{text}` is not NAME=VALUE", param_hint="--header")
    return name, _encoded(value)
