"""`kafka-etl tasks logs` and `stack`: what an attempt has printed, and where it is now."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption
from kafka_etl.cli.dlq.bulk import actor, tell
from kafka_etl.cli.options import Sets, parse_sets
from kafka_etl.cli.tasks.finding import Given, find_pipeline, progress_line
from kafka_etl.cli.tasks.wait import TimeoutOption, parse_timeout

if TYPE_CHECKING:  # imported when a command runs: `--help` must not wait for them
    from collections.abc import Iterable

    from kafka_etl.task_history.logs import Run
    from kafka_etl.tasks.log_records import Piece

_PATIENCE = 20.0
_TO_STDERR = frozenset({"err", "gap"})

TaskArgument = Annotated[
    str, typer.Argument(metavar="ID", help="The task's id, or the beginning of it.")
]


def logs(  # noqa: PLR0913 - one parameter per option
    given: Given,
    task: TaskArgument,
    *,
    follows: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the task has ended.")
    ] = False,
    attempt: Annotated[
        int | None,
        typer.Option("--attempt", min=1, metavar="N", help="As `show` counts; default: the last."),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object a line: attempt, seq, stream, at, text."),
    ] = False,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Print what an attempt has printed and logged; change nothing. Needs no daemon here.

    What the attempt wrote to standard error goes to standard error. A long log has only its
    beginning and its end. With -f, further attempts follow, each announced by a line.

    Example: kafka-etl tasks logs transcode a.mov -f
    """
    from kafka_etl.task_history.logs import Logs, chosen_run, follow

    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    with progress_line() as progress:
        every = found.everything(task, progress)
    topic = Logs(found)
    head = every.head
    run = None if head is None else chosen_run(head, attempt)
    if not follows:
        if run is None:
            tell(f"{every.task.row.id} is {every.task.row.state}: no attempt has begun")
            return
        _print([run, *topic.of(run)], json=json)
        return
    with suppress(KeyboardInterrupt):
        _print(follow(found, every, topic, run), json=json)


def stack(  # noqa: PLR0913 - one parameter per option
    given: Given,
    task: TaskArgument,
    *,
    timeout: TimeoutOption = None,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Print the Python stacks of the running attempt of a task, without stopping it.

    The request goes through the inbox to the owner, and from there to the process.

    Example: kafka-etl tasks stack transcode a.mov
    """
    from kafka_etl.task_history.logs import Logs, stack_of

    seconds = parse_timeout(timeout)
    found = find_pipeline(given, kafka, pipeline, parse_sets(sets))
    with progress_line() as progress:
        every = found.everything(task, progress)
    patience = _PATIENCE if seconds is None else seconds
    typer.echo(stack_of(found, every, Logs(found), actor(), patience), nl=False)


def _print(parts: Iterable[Run | Piece | None], *, json: bool) -> None:
    """Print attempts and pieces as they come; bytes that are no text stay as they are."""
    from kafka_etl.task_history.logs import Run

    run: Run | None = None
    for part in parts:
        if part is None:
            continue
        if isinstance(part, Run):
            run = part
            if not json:
                tell(f"--- attempt {run.number}")
        elif json:
            typer.echo(_line(part, run))
        else:
            stream: Any = sys.stderr if part.stream in _TO_STDERR else sys.stdout
            stream.buffer.write(part.data)
            stream.buffer.flush()


def _line(piece: Piece, run: Run | None) -> str:
    import orjson

    from kafka_etl.task_history.fields import piece_fields

    return orjson.dumps(piece_fields(piece, 0 if run is None else run.number)).decode()
