"""The option `--state`: states of tasks by name, or all open or all final ones."""

from __future__ import annotations

from typing import Annotated

import typer

StateOption = Annotated[
    list[str],
    typer.Option(
        "--state",
        metavar="STATE",
        help="Those in a state such as running or failed, or: open, final. May be repeated.",
    ),
]


def parse_states(texts: list[str]) -> frozenset[str] | None:
    """Parse the states of `--state`, also several with commas between; None: any state.

    Raises:
        typer.BadParameter: A text names no state.
    """
    from kafka_etl.task_history.filters import states_of

    try:
        return states_of(texts)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--state") from None
