"""What the commands that run a trial print: outputs, and dead letters as they would be written."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.invocation import DeadLetter, Outputs


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
    """Print outputs to standard output, one a line; `topics` are the sink's."""
    import orjson

    from kafka_etl.readable import data_of, headers_of, shown, value_of

    for i, value in enumerate(outputs.values):
        if not json:
            typer.echo(shown(value))
            continue
        topic = outputs.topics[i] if outputs.topics is not None else None
        parts = {
            "topic": topic or (topics[0] if topics else None),
            **data_of("key", outputs.keys[i]),
            **value_of(value),
            "headers": headers_of((outputs.headers[i] if outputs.headers else None) or []),
        }
        typer.echo(orjson.dumps(parts).decode())


def print_dead_letters(pipeline: Pipeline, letters: Sequence[DeadLetter]) -> None:
    """Print dead letters to standard error, as the pipeline would write them."""
    from kafka_etl.cli.dlq.rendering import briefly
    from kafka_etl.dead_letters.raw import stored
    from kafka_etl.trial.run import provenance_of

    about = provenance_of(pipeline)
    for letter in letters:
        typer.echo(briefly(stored(letter, about)), err=True)
