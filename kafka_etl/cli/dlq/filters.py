"""What commands on many dead letters share: the filter, the index, and lines of progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from kafka_etl.terminal import WIPE, overwrite, overwrites

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from kafka_etl.cli.dlq.finding import LetterFolder, LetterTopic
    from kafka_etl.dead_letters.statuses import LetterStatus
    from kafka_etl.dlq.index import Index
    from kafka_etl.dlq.where import Where

T = TypeVar("T")

_EVERY: Final = 0.2


class StatusChoice(StrEnum):
    """Which dead letters are wanted, by what became of them."""

    OPEN = "open"
    REPLAYING = "replaying"
    REPLAYED = "replayed"
    DROPPED = "dropped"
    ALL = "all"

    @property
    def wanted(self) -> LetterStatus | None:
        """The status; None: any."""
        from kafka_etl.dead_letters.statuses import LetterStatus

        return None if self is StatusChoice.ALL else LetterStatus(self.value)


StatusOption = Annotated[StatusChoice, typer.Option("--status", help="Letters with this status.")]


def parse_where(text: str | None) -> Where | None:
    """Parse the filter of `--where`.

    Raises:
        typer.BadParameter: The text is no filter; names the column and what would be right.
    """
    from kafka_etl.dlq.where import Where
    from kafka_etl.expression import ExpressionError

    if text is None:
        return None
    try:
        return Where(text)
    except ExpressionError as error:
        raise typer.BadParameter(str(error), param_hint="--where") from None


@contextmanager
def opened_index(letters: LetterTopic | LetterFolder, *, rebuild: bool = False) -> Generator[Index]:
    """Open the index of dead letters and bring it up to date; a terminal shows how far.

    Raises:
        KafkaEtlError: The topic does not exist or cannot be read, or the index cannot be written.
    """
    from kafka_etl.cli.dlq.finding import LetterFolder
    from kafka_etl.dlq.index import index_in_memory, open_index

    progress = ProgressLine()
    try:
        if isinstance(letters, LetterFolder):
            index = index_in_memory(letters.topic, letters.ranges, letters.read)
        else:
            index = open_index(
                letters.cluster.consumer,
                letters.admin,
                letters.topic,
                progress.show,
                rebuild=rebuild,
            )
    finally:
        progress.clear()
    try:
        yield index
    finally:
        index.close()


class ProgressLine:
    """One line of progress on a terminal, written over again and again."""

    def __init__(self) -> None:
        self._terminal = overwrites()
        self._next = time.monotonic() + _EVERY

    def show(self, line: str) -> None:
        if self._terminal and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY
            overwrite(line)

    def clear(self) -> None:
        if self._terminal:
            sys.stderr.write(WIPE)
            sys.stderr.flush()


def told(items: Iterable[T], what: str) -> Iterator[T]:
    """The items; a terminal is told from time to time how many there were."""
    progress = ProgressLine()
    for count, item in enumerate(items, 1):
        yield item
        if count % 100 == 0:
            progress.show(f"{count:,} {what}")
    progress.clear()
