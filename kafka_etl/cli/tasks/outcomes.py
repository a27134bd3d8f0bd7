"""Exit statuses by what became of tasks, and lines that tell people."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Final

import typer

from kafka_etl.errors import KafkaEtlError, TasksFull
from kafka_etl.tasks.states import FINAL, State

LEFT_ALONE: Final = 3
"""Exit status: a task was left alone, or a submission found its id taken."""
TIMED_OUT: Final = 4
"""Exit status: a task had not ended in time."""
UNKNOWN: Final = 2
"""Exit status: the outcome could not be found out."""
INTERRUPTED: Final = 130
"""Exit status: the user has interrupted the command, as a shell says it."""
_FAILED: Final = 1
_NEVER_RAN_TO_ITS_END: Final = 3


def exit_status(states: Iterable[str]) -> int:
    """The exit status for the states of tasks; the worst counts: not ended, Failed, others."""
    found = set(states)
    if found - {state.value for state in FINAL}:
        return TIMED_OUT
    if State.FAILED in found:
        return _FAILED
    return _NEVER_RAN_TO_ITS_END if found - {State.SUCCEEDED} else 0


@contextmanager
def no_error_looks_like_an_outcome() -> Generator[None]:
    """End with `UNKNOWN` after an error, since the usual 1 would say that a task has Failed.

    Raises:
        typer.Exit: There was an error, which is told; or the user has interrupted the command.
    """
    try:
        yield
    except TasksFull:
        raise  # its exit status is no outcome's
    except KafkaEtlError as error:
        typer.echo(str(error.problem), err=True)
        raise typer.Exit(UNKNOWN) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error
