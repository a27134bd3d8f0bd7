"""`kafka-etl tasks submit`: a new task, by hand."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from kafka_etl.cli.cluster import KafkaOption, PipelineOption, is_file
from kafka_etl.cli.dlq.bulk import actor, tell
from kafka_etl.cli.options import Sets, parse_sets, random_id
from kafka_etl.cli.tasks.finding import Given, find_pipeline
from kafka_etl.cli.tasks.inputs import read_input
from kafka_etl.cli.tasks.outcomes import LEFT_ALONE, no_error_looks_like_an_outcome
from kafka_etl.cli.tasks.wait import TimeoutOption, parse_timeout, wait_for

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.task_history.pipeline import TaskPipeline
    from kafka_etl.tasks.head import Head


def submit(  # noqa: PLR0913 - one parameter per option
    given: Given,
    *,
    data: Annotated[
        str | None, typer.Option("-d", "--data", metavar="JSON", help="The input, as text.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("-f", "--file", metavar="FILE", help="The input; -: standard input."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="ID", help="Default: what `id` of a pipeline file says, else random."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="KEY", help="Key of the input; `order: key` needs one."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end, as `wait` does.")] = False,
    timeout: TimeoutOption = None,
    kafka: KafkaOption = None,
    pipeline: PipelineOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Submit a task, print its id, and say whether an owner has taken it; needs no daemon here.

    The exit status is 3 if the id is taken: that task stays as it is. It is 5 if the number of open
    tasks has reached the pipeline's `max_open`: nothing was submitted. With --wait it is that of
    `kafka-etl tasks wait`.

    Example: kafka-etl tasks submit transcode -d '{"object": "a.mov"}' --id a.mov
    """
    seconds, overrides = parse_timeout(timeout), parse_sets(sets)
    body = read_input(data, file, "-d")
    if task is not None:
        name = _checked(task, "--id")
    elif is_file(given):
        name = _by_file(Path(given), overrides, body, "-f" if data is None else "-d")
    else:
        name = random_id(8)
    with no_error_looks_like_an_outcome() if wait else nullcontext():
        found = find_pipeline(given, kafka, pipeline, overrides)
        new = _New(name, body, None if key is None else key.encode("utf-8", "surrogateescape"))
        status = _submit(found, new, given, wait=wait, seconds=seconds)
    raise typer.Exit(status)


class _New(NamedTuple):
    """A new task: its id, its input, and the key of that."""

    name: str
    body: bytes
    key: bytes | None


def _submit(
    found: TaskPipeline, new: _New, given: str, *, wait: bool, seconds: float | None
) -> int:
    """Submit a task, tell what became of it, and return the exit status."""
    from kafka_etl.task_history.submission import submitted

    with submitted(found, new.name, new.body, actor(), new.key) as submission:
        typer.echo(new.name)
        is_taken, head = submission.until_taken(), submission.head
        if is_taken and not submission.is_mine:
            _tell_duplicate(given, new.name, head)
            return LEFT_ALONE
        tell(_fate(found, head))
        state = None if head is None else head.state
        place, watch = submission.place, submission.watch
        return wait_for(watch, {place: state}, seconds) if wait else 0


def _by_file(file: Path, overrides: Mapping[str, str], body: bytes, option: str) -> str:
    """The id that the file's expression gives an input; a random one, if the file has none.

    Args:
        file: The pipeline file, or its folder.
        overrides: Place in the pipeline file -> YAML text of its value.
        body: The input.
        option: The option that the input comes from.

    Raises:
        ConfigError: The file is not valid.
        typer.BadParameter: The expression gives no id.
    """
    from kafka_etl.cli.cluster import read_one
    from kafka_etl.config.task_documents import ACCEPT
    from kafka_etl.expression import Expression
    from kafka_etl.runtime.tasks.accept import id_by_hand

    operators = read_one(file, overrides).operators
    settings = next((each.with_ for each in operators if each.use == ACCEPT), None)
    if settings is None or "id" not in settings:
        return random_id(8)
    folder = file if file.is_dir() else file.parent
    try:
        found = id_by_hand(Expression(settings["id"]), settings["source"], folder, body)
    except ValueError as error:
        said = f"the file's `id` is not for this input: {error}. Correct it, or give --id"
        raise typer.BadParameter(said, param_hint=option) from error
    return _checked(found, option)


def _checked(task: str, option: str) -> str:
    """The id, if it is one.

    Args:
        task: The id.
        option: The option that the id comes from.

    Raises:
        typer.BadParameter: The text is no id.
    """
    from kafka_etl.tasks.words import id_problem

    problem = id_problem(task)
    if problem is not None:
        raise typer.BadParameter(f"this cannot be the id of a task: {problem}", param_hint=option)
    return task


def _fate(pipeline: TaskPipeline, head: Head | None) -> str:
    from kafka_etl.task_history.sending import PATIENCE

    if head is not None:
        return f"taken by {pipeline.name}: {head.state}"
    return (
        f"it is in {pipeline.inbox}, but no owner has taken it within {PATIENCE:.0f} s: it is "
        f"taken when {pipeline.name} runs"
    )


def _tell_duplicate(given: str, name: str, head: Head | None) -> None:
    state = "" if head is None else f"; that task is {head.state}"
    tell(f"the id {name} is taken{state}: this submission was dropped or rejected")
    tell(f"All about that task: kafka-etl tasks show {quote(given)} {quote(name)}")
