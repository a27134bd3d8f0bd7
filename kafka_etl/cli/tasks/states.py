"""The option `--state`: states of tasks by name, or all open or all final ones."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from kafka_etl.spelling import did_you_mean
from kafka_etl.tasks.states import FINAL, OPEN, State

_GROUPS: Final = {"open": OPEN, "final": FINAL}
_UNREADABLE: Final = "Unreadable"

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
    known = {state.lower(): frozenset({state.value}) for state in State}
    known[_UNREADABLE.lower()] = frozenset({_UNREADABLE})
    known |= {name: frozenset(s.value for s in states) for name, states in _GROUPS.items()}
    found: frozenset[str] = frozenset()
    for text in ",".join(texts).split(",") if texts else ():
        name = text.strip().lower()
        if name not in known:
            near = did_you_mean(name, known)
            said = f"`{text}` is no state{f'; {near}' if near else ''}: {', '.join(known)}"
            raise typer.BadParameter(said, param_hint="--state")
        found |= known[name]
    return found or None
