"""`kafka-etl tasks wait`: waits for the end of tasks; the exit status tells the outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.dlq.bulk import tell
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.tasks.finding import Given, find_pipeline, opened_index
from kafka_etl.cli.tasks.outcomes import exit_status, no_error_looks_like_an_outcome
from kafka_etl.tasks.states import FINAL

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.task_history.index import Index
    from kafka_etl.task_history.pipeline import TaskPipeline
    from kafka_etl.task_history.watch import Watch

Place = tuple[int, str]
"""Partition and id of a task."""

TimeoutOption = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="How long to wait, such as 1h."),
]


def wait(  # noqa: PLR0913 - one parameter per option
    given: Given,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of tasks.")],
    *,
    timeout: TimeoutOption = None,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Wait until tasks have ended, and print `ID STATE` as each does; change nothing.

    The exit status is 0 if all have Succeeded; otherwise 4 if one did not end in time, 1 if one has
    Failed, 3 if one is Stopped, Expired or Invalid. It is 2 if there is no task with an id, or if
    Kafka is unavailable.

    Example: kafka-etl tasks wait transcode a.mov b.mov --timeout 1h
    """
    seconds, overrides = parse_timeout(timeout), parse_sets(sets)
    with no_error_looks_like_an_outcome():
        found = find_pipeline(given, kafka, pipeline, overrides)
        raise typer.Exit(_wait(found, ids, seconds))


def _wait(found: TaskPipeline, ids: list[str], seconds: float | None) -> int:
    from kafka_etl.task_history.watch import Watch
    from kafka_etl.tasks.placing import partition_of

    with opened_index(found) as index:
        # Whoever waits for known tasks needs no right to the inbox.
        is_known = all(map(index.named, ids))
        unread: Mapping[int, int] = {} if is_known else found.inbox_ends()
        read = {number: mark.inbox for number, mark in index.marks().items()}
        has_order = not is_known and found.has_order()
        states: dict[Place, str | None] = {}
        for task in ids:
            homes = unread if has_order else [partition_of(task, max(1, len(unread)))]
            homes = [number for number in homes if read.get(number, 0) < unread.get(number, 0)]
            states |= _states(index, task, homes)
        begins = {number: index.positions.get(number, 0) for number, _ in states}
    with Watch(found.consumer, found.journal, begins, states) as watch:
        watch.marks.update(read)
        own = {number: unread[number] for number, _ in states if number in unread}
        return wait_for(watch, states, seconds, own)


def parse_timeout(text: str | None) -> float | None:
    """Parse the duration of `--timeout` to seconds; None: none was given.

    Raises:
        typer.BadParameter: The text is no duration.
    """
    from kafka_etl.units import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--timeout") from None


def _states(index: Index, task: str, homes: Sequence[int]) -> dict[Place, str | None]:
    """Where a task is, and its state; None: its submission may be there in the inbox, unread.

    Args:
        index: The index.
        task: The task's id.
        homes: The partitions that may have its submission, and whose owners have not read all.

    Raises:
        NoSuchTask: There is no such task, and all words have been read; or there are several.
    """
    from kafka_etl.task_history.pipeline import named_task

    if homes and not index.named(task):
        return dict.fromkeys((number, task) for number in homes)
    row = named_task(index, task).row
    return {(row.partition, row.id): row.state}


def wait_for(
    watch: Watch,
    states: Mapping[Place, str | None],
    seconds: float | None,
    unread: Mapping[int, int] | None = None,
) -> int:
    """Wait until tasks have ended, and print each that has; returns the exit status.

    Args:
        watch: Follows the tasks from where their states were read.
        states: The tasks with their states; None: a task that is not known yet, and may be in
            any of the partitions under which it is listed.
        seconds: How long to wait; None: for ever.
        unread: Partition -> the offset of the inbox up to which a submission may be unread.

    Raises:
        NoSuchTask: All words have been read, and a task is still not known.
    """
    found = dict(states)
    open_ = {place for place, state in found.items() if not _tell_end(place, state)}
    deadline = None if seconds is None else monotonic() + seconds
    while open_ and (deadline is None or monotonic() < deadline):
        for place in watch.poll():
            head = watch.heads.get(place)
            if place in open_ and head is not None:
                found[place] = head.state
                for other in [p for p in open_ if p[1] == place[1] and found[p] is None]:
                    open_.discard(other)
                    del found[other]
                if _tell_end(place, head.state):
                    open_.discard(place)
        _check_known(watch, found, unread)
    for task, state in sorted({(place[1], found[place]) for place in open_}):
        tell(f"{task} has not ended: {state or 'no owner has taken it yet'}")
    return exit_status(state or "" for state in found.values())


def _tell_end(place: Place, state: str | None) -> bool:
    """Print the outcome of a task; returns whether it has ended."""
    from kafka_etl.readable import plain

    if state not in FINAL:
        return False
    typer.echo(f"{plain(place[1])}  {state}")
    return True


def _check_known(
    watch: Watch, states: Mapping[Place, str | None], unread: Mapping[int, int] | None
) -> None:
    from kafka_etl.errors import NoSuchTask

    if unread is None or not watch.has_taken(unread):
        return
    unknown = {task for (_, task), state in states.items() if state is None}
    if unknown:
        raise NoSuchTask(f"the pipeline has no task {', '.join(sorted(unknown))}")
