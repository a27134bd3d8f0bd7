"""What a keeper and a runner say to each other, after the `RunnerTask`.

A runner says `Ready` or `NotReady`. Then it gets a `Run`, and answers with `Begun`, any number of
`Reported`, and one of `Made` and `Failed`. None instead of a `Run` tells it to close its operator
and to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kafka_etl.tasks.head import Failure
from kafka_etl.tasks.keeping import Grant
from kafka_etl.tasks.words import Why

CONNECTION: Final = 3
"""The number of the socket to the keeper in the runner's process."""
OUTPUT, ERRORS, LOG, STACKS = 1, 2, 4, 5
"""The numbers of the pipes to the keeper: prints, errors, `Context.log`, and stacks."""
PIPES: Final = (OUTPUT, ERRORS, LOG, STACKS)
TOKEN = "KAFKA_ETL_TOKEN"  # noqa: S105 - the name of a variable
"""Environment variable with the token of the attempt, which the attempt's processes inherit."""


@dataclass(frozen=True, slots=True)
class Run:
    """Run an attempt.

    Attributes:
        deadline: When the keeper ends the attempt, in seconds since the epoch; None: never.
        folder: The attempt's scratch folder, which is made when the operator asks for the folder.
    """

    grant: Grant
    deadline: float | None
    folder: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The operator is open."""


@dataclass(frozen=True, slots=True)
class NotReady:
    """The pipeline cannot be built, or the operator cannot be opened; the process ends."""

    why: Why
    failure: Failure


@dataclass(frozen=True, slots=True)
class Begun:
    """The operator begins."""

    token: str


@dataclass(frozen=True, slots=True)
class Reported:
    """How far the operator is."""

    token: str
    fraction: float
    text: str


@dataclass(frozen=True, slots=True)
class Made:
    """The operator has returned.

    Attributes:
        rows: The encoded rows.
        preview: The first of the result as text.
        seconds: How long the attempt took.
        is_alone: Whether the process has no children left.
    """

    token: str
    rows: bytes
    preview: str
    seconds: float
    is_alone: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt has failed.

    Attributes:
        retry_after: Seconds that the operator wants to wait before the next attempt.
    """

    token: str
    why: Why
    failure: Failure
    retry_after: float | None
    seconds: float
    is_alone: bool


Answer = Made | Failed
FromRunner = Ready | NotReady | Begun | Reported | Made | Failed
