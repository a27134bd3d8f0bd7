"""`kafka-etl dlq debug`: runs a pipeline's operators on the record of one dead letter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kafka_etl.cli.cluster import KafkaOption
from kafka_etl.cli.dlq.finding import LettersOption, find_topic, parse_id
from kafka_etl.cli.options import Sets, parse_sets

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.config.build import Pipeline
    from kafka_etl.dead_letters import StoredLetter
    from kafka_etl.engine.attempt.chain import Chain
    from kafka_etl.trial.run import Trial


def debug(  # noqa: PLR0913 - one parameter per option
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A pipeline file.")],
    letter: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="TOPIC/PARTITION/OFFSET of a dead letter, or of the record."
        ),
    ],
    *,
    letters: LettersOption = None,
    pdb: Annotated[
        bool, typer.Option("--pdb", help="Open the debugger in the frame that failed.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Outputs with topic, key and headers, as JSON.")
    ] = False,
    kafka: KafkaOption = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Run the current operators on the record of a dead letter; write nothing.

    Prints the outputs if the record passes now, otherwise the traceback with the values of your
    code's variables. The operators' own side effects, such as requests to a service, do take place.
    All of them run in this process, also those with `isolation`. The exit status is 0 if the record
    passes, 1 if it fails.

    Example: kafka-etl dlq debug pipeline.yaml orders/1/421
    """
    from kafka_etl.cli.daemon.run import read_operators
    from kafka_etl.cli.trial.rendering import RealClock, print_outputs
    from kafka_etl.config.secrets import hiding
    from kafka_etl.dead_letters.replayed import ReplayedRecord
    from kafka_etl.dlq.source_records import with_all_parts
    from kafka_etl.trial.run import built_for_trial, run_trial

    overrides = parse_sets(sets)
    wanted = parse_id(letter)
    topic = find_topic(str(file), kafka, None, overrides, letters=letters)
    cluster = topic.cluster
    found = with_all_parts(topic.find(wanted)[-1], cluster.admin, cluster.consumer)
    record = ReplayedRecord(found, found.source if found.source.topic else found.at)
    document = read_operators(file, overrides)
    hide = hiding(document)
    caught = _Caught()
    with built_for_trial(document) as pipeline:
        _say([hide(line) for line in _before(found, pipeline)])
        trial = run_trial(pipeline, [record], RealClock(), caught.watched)
    if not trial.settlement.dead_letters:
        print_outputs(trial.settlement.outputs, pipeline.sink_settings.topics, json=json)
        _say([_passes(trial)])
        return
    error = caught.restored()
    _say([hide(_fails(trial, found)), *_where(error, hide)])
    if pdb and error is not None:
        _debug(error)
    raise typer.Exit(1)


@dataclass(slots=True)
class _Caught:
    """The exception of the last attempt that failed; the engine itself keeps only its text."""

    error: BaseException | None = None
    tracebacks: list[tuple[BaseException, Any]] = field(
        default_factory=list[tuple[BaseException, Any]]
    )

    def watched(self, chain: Chain) -> Chain:
        """The chain, with each exception noted."""
        from kafka_etl.engine.attempt.watched import WatchedChain

        return WatchedChain(
            chain.decode,
            chain.operators,
            chain.encode,
            chain.entering,
            chain.spent,
            noted=self.note,
        )

    def note(self, error: BaseException) -> None:
        """Keep an exception, with the frames of its traceback and of its causes' tracebacks."""
        from kafka_etl.invocation import CONTEXT, TRACEBACK

        self.error, self.tracebacks = error, []
        at: BaseException | None = error
        while at is not None and all(at is not known for known, _ in self.tracebacks):
            self.tracebacks.append((at, TRACEBACK.__get__(at)))
            at = CONTEXT.__get__(at)

    def restored(self) -> BaseException | None:
        """The exception with its frames, which the engine lets go when the attempt is over."""
        from kafka_etl.invocation import TRACEBACK

        for error, frames in self.tracebacks:
            TRACEBACK.__set__(error, frames)
        return self.error


def _before(letter: StoredLetter, pipeline: Pipeline) -> list[str]:
    """What the user should know before the outcome: of the failure, and of differences."""
    from kafka_etl.cli.dlq.rendering import failure
    from kafka_etl.functions.bind import Isolation

    operators = pipeline.operators
    lines = [f"{letter.at.id} of record {letter.source} was: {failure(letter, 300)}"]
    now = {operator.name: operator.version for operator in operators}.get(letter.operator)
    if letter.version and now is not None and now != letter.version:
        lines.append(f"{letter.operator} has changed since: {letter.version} is now {now}")
    isolated = [o.name for o in operators if o.isolation is Isolation.PROCESS]
    if isolated:
        lines.append(f"runs in this process, not in one of its own: {', '.join(isolated)}")
    mixing = [o.name for o in operators if o.shape.mixes]
    if mixing:
        lines.append(f"is given this record alone, not a whole batch: {', '.join(mixing)}")
    return lines


def _passes(trial: Trial) -> str:
    count, dropped = len(trial.settlement.outputs), trial.dropped
    made = f"{count:,} output{'' if count == 1 else 's'}"
    gone = f", {dropped:,} dropped" if dropped else ""
    return f"It passes now: {made}{gone}. Nothing was written."


def _fails(trial: Trial, letter: StoredLetter) -> str:
    from kafka_etl.envelope import fingerprint

    (dead,) = trial.settlement.dead_letters
    failed = dead.failure
    operator = f" in {failed.operator}" if failed.operator else ""
    same = fingerprint(dead) == letter.fingerprint or not letter.fingerprint
    still = "It still fails" if same else "It fails, in another way than before"
    error = f"{failed.error.type}: {failed.error.message}"
    return f"{still}: {failed.condition.value}{operator}: {error}. Nothing was written."


def _where(error: BaseException | None, hide: Callable[[str], str]) -> list[str]:
    from kafka_etl.cli.dlq.frames import with_locals

    return [] if error is None else ["", with_locals(error, hide)]


def _debug(error: BaseException) -> None:
    """Open the debugger in the frame that failed; frames of the engine are left out."""
    from pdb import post_mortem

    from kafka_etl.cli.dlq.frames import failing_frame

    frames = failing_frame(error)
    if frames is None:
        _say(["the error has no frames to debug"])
        return
    post_mortem(frames)


def _say(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line, err=True)
