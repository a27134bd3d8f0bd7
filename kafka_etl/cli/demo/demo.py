"""`kafka-etl demo`: runs a pipeline on a real Kafka, and shows its outputs and a dead letter."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kafka_etl.cli.options import program

if TYPE_CHECKING:
    from kafka_etl.record import SourceRecord

_FILES: Final = Path(__file__).with_name("files")
_FOLDER: Final = "kafka-etl-demo"
_ORDERS: Final = 200_000
_BAD: Final = (
    b'{"id": "broken", "amount": 12.5, "curren',
    b'{"id": "refund", "amount": -30.0, "currency": "USD"}',
    b'{"id": "nothing", "currency": "GBP"}',
)


def demo(
    *,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            metavar="DIR",
            help=f"Where its files go; default: {_FOLDER}, or {_FOLDER}-tasks.",
        ),
    ] = None,
    kafka: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Use this Kafka instead of starting one."),
    ] = None,
    tasks: Annotated[
        bool, typer.Option("--tasks", help="Show long tasks instead: submit, stop, list.")
    ] = False,
) -> None:
    """Run a pipeline on a real Kafka, started for the demo, and show outputs and a dead letter."""
    from kafka_etl.log import configure

    configure({"": "warning"})
    if tasks:
        if kafka is not None:
            raise typer.BadParameter(
                "the demo of tasks starts a Kafka of its own", param_hint="--kafka"
            )
        _show_tasks(_filled(folder or Path(f"{_FOLDER}-tasks"), _FILES / "tasks"))
        return
    folder = _filled(folder or Path(_FOLDER), _FILES)
    if kafka is not None:
        _show(folder, kafka)
        return
    with _own_kafka() as bootstrap:
        _show(folder, bootstrap)
    _say("Kafka is stopped again. To go on:")
    rows = _next_commands(program(), folder)
    width = max(len(command) for command, _ in rows)
    for command, what in rows:
        typer.echo(f"  {command:<{width}}   {what}")


def _filled(folder: Path, files: Path) -> Path:
    """The folder, with a copy of the demo's files."""
    folder.mkdir(exist_ok=True)
    for file in files.glob("*.*"):
        shutil.copy(file, folder)
    return folder


def _show_tasks(folder: Path) -> None:
    from kafka_etl.cli.demo.task_demo import show_tasks

    with _own_kafka() as bootstrap:
        show_tasks(folder, bootstrap)
    _say(f"Kafka is stopped again. The pipeline and its operator are in {folder}.")


def _next_commands(name: str, folder: Path) -> list[tuple[str, str]]:
    """Return (command, purpose) of the commands to try after the demo."""
    return [
        (f"{name} broker start", "a Kafka that stays, on localhost:9092"),
        (f"{name} demo --kafka localhost:9092", "the same there"),
        (f"{name} validate {folder}", "after changing its pipeline or its operator"),
        (f"{name} run {folder}", "the daemon, until Ctrl-C"),
        (f"{name} status", "from another terminal"),
    ]


@contextmanager
def _own_kafka() -> Generator[str]:
    from kafka_etl.broker import Cluster
    from kafka_etl.cli.broker import download_progress

    with tempfile.TemporaryDirectory() as data:
        _say("Starting Apache Kafka")
        with download_progress() as progress:
            cluster = Cluster.start(Path(data), progress=progress)
        with cluster:
            yield cluster.bootstrap


def _show(folder: Path, bootstrap: str) -> None:
    from kafka_etl.kafka.cluster import topics

    settings = {"bootstrap.servers": bootstrap}
    _say(f"Writing {_ORDERS:,} orders, {len(_BAD)} of them bad, to topic orders")
    topics.create_topic(settings, "orders", 4)
    topics.write(settings, "orders", demo_orders())
    _run(folder, bootstrap)
    _show_outputs(list(topics.read(settings, "orders-eur")))
    _show_dead_letter(list(topics.read(settings, "orders-eur.dlq")))


def demo_orders() -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, value) of each order of the demo; the orders are the same in every run."""
    chance = random.Random(7)  # noqa: S311 - the same orders each time
    places = sorted(chance.sample(range(_ORDERS), len(_BAD)))
    bad = dict(zip(places, _BAD, strict=True))
    for number in range(_ORDERS):
        order = {
            "id": number,
            "customer": f"c{chance.randrange(5000)}",
            "amount": round(chance.uniform(1, 500), 2),
            "currency": chance.choice(["USD", "GBP", "EUR"]),
        }
        value = bad.get(number) or json.dumps(order).encode()
        yield str(order["customer"]).encode(), value


def _run(folder: Path, bootstrap: str) -> None:
    """Run the pipeline with `kafka-etl run --until-end`, in a process of its own."""
    arguments = ["run", str(folder), "--until-end"]
    _say(f"Running: KAFKA={bootstrap} {program()} {' '.join(arguments)}")
    with tempfile.TemporaryDirectory() as state:
        done = subprocess.run(  # noqa: S603 - our own program
            [
                *(sys.executable, "-P", "-m", "kafka_etl", *arguments),
                *("--state-dir", state, "--log-level", "warning"),
            ],
            env={**os.environ, "KAFKA": bootstrap},
            check=False,
        )
    if done.returncode:
        raise typer.Exit(done.returncode)


def _show_outputs(outputs: Sequence[SourceRecord]) -> None:
    times = [message.timestamp()[1] for message in outputs]
    seconds = max(0.001, (max(times) - min(times)) / 1000)
    _say(f"Topic orders-eur has {len(outputs):,} records, {len(outputs) / seconds:,.0f} a second:")
    for message in outputs[:3]:
        typer.echo(f"  {_text(message.key())}  {_text(message.value())}")


def _show_dead_letter(letters: Sequence[SourceRecord]) -> None:
    _say(f"Topic orders-eur.dlq has {len(letters)} dead letters; one of them:")
    letter = next(m for m in letters if b"refund" in (m.value() or b""))
    typer.echo(f"  key      {_text(letter.key())}")
    typer.echo(f"  value    {_text(letter.value())}")
    headers: Any = letter.headers()
    for name, value in headers:
        shown = _text(value)
        if name == "kafka_etl.context":
            shown = json.dumps(json.loads(value), indent=2).replace("\n", "\n    ")
        typer.echo(f"  {name}: {shown}")


def _say(text: str) -> None:
    typer.echo(f"\n== {text}", err=True)


def _text(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "backslashreplace")
