"""What the commands that run a trial print: outputs, and dead letters as they would be written."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.invocation import DeadLetter, Outputs
    from kafka_etl.trial.run import Trial

_ANY_SIZE: Final = 2**31
_MOST_DROPPED: Final = 5
_SHORT: Final = 200
_LONG: Final = 2_000
"""Characters of a value that are shown."""


class RealClock:
    """The time of the host; waits are told on standard error."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def wait(self, seconds: float, reason: str) -> None:
        typer.echo(f"waiting {seconds:.1f} s: {reason}", err=True)
        time.sleep(seconds)

    def random(self) -> float:
        return random.random()  # noqa: S311 - the jitter of a wait


def print_outputs(outputs: Outputs, topics: Sequence[str], *, json: bool) -> None:
    """Print outputs to standard output, one a line; `topics` are the sink's.

    As text: the value, and where it goes if an operator has routed it elsewhere.
    """
    import orjson

    from kafka_etl.readable import data_of, headers_of, shown, value_of

    own = topics[0] if topics else None
    for i, value in enumerate(outputs.values):
        topic = (outputs.topics[i] if outputs.topics is not None else None) or own
        if not json:
            typer.echo(shown(value) if topic == own else f"to {topic}: {shown(value)}")
            continue
        parts = {
            "topic": topic,
            **data_of("key", outputs.keys[i]),
            **value_of(value),
            "headers": headers_of((outputs.headers[i] if outputs.headers else None) or []),
        }
        typer.echo(orjson.dumps(parts).decode())


def print_dead_letters(pipeline: Pipeline, letters: Sequence[DeadLetter], *, json: bool) -> None:
    """Print dead letters to standard error, as the pipeline would write them.

    As text: a summary, and the record with its headers, long ones cut; as JSON: the whole record.
    """
    from kafka_etl.cli.dlq.rendering import briefly
    from kafka_etl.dead_letters.raw import stored
    from kafka_etl.envelope import encode_letter, own_frame
    from kafka_etl.readable import as_json, plain, shown
    from kafka_etl.trial.run import provenance_of
    from kafka_etl.trial.stored_record import StoredRecord

    about, place = provenance_of(pipeline), pipeline.spec.dead_letter
    form = "raw" if place is None else place.written_as
    for letter in letters:
        encoded = encode_letter(letter, about, form, _ANY_SIZE)
        if json:
            written = StoredRecord(
                encoded.value,
                encoded.key,
                encoded.headers,
                timestamp_ms=letter.at_ms,
                topic=(place and place.topic) or "",
            )
            typer.echo(as_json(written), err=True)
            continue
        typer.echo(briefly(stored(letter, about)), err=True)
        if (at := own_frame(letter.failure.error.traceback)) is not None:
            typer.echo(f"    at      {at}", err=True)
        if place is None:
            typer.echo("    without `dead_letter`, this stops the pipeline", err=True)
            continue
        typer.echo(f"    goes to {place.place}, format {form}:", err=True)
        if form == "envelope":
            typer.echo(f"        {shown(encoded.value, _LONG)}", err=True)
        for name, value in encoded.headers:
            typer.echo(f"        {plain(name)}: {shown(value, _SHORT)}", err=True)


def print_dropped(trial: Trial) -> None:
    """Print some of the records that gave no output to standard error."""
    from kafka_etl.readable import shown
    from kafka_etl.record import offset_of, partition_of

    sources = trial.settlement.sources()
    if not trial.dropped or None in sources:
        return  # outputs of many records do not tell whose they are
    known = {id(record) for record in sources}
    known |= {id(letter.record) for letter in trial.settlement.dead_letters}
    gone = [record for record in trial.settlement.records if id(record) not in known]
    for record in gone[:_MOST_DROPPED]:
        at = f"{partition_of(record)}@{offset_of(record)}"
        typer.echo(f"dropped {at}  {shown(record.value(), _SHORT)}", err=True)
    if len(gone) > _MOST_DROPPED:
        typer.echo(f"and {len(gone) - _MOST_DROPPED:,} more dropped", err=True)
