"""`kafka-etl dlq release`: the letters of a stopped replay are open again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kafka_etl.cli.dlq.bulk import find_letters, unfinished
from kafka_etl.cli.dlq.finding import LettersOption
from kafka_etl.cli.options import Sets, parse_sets


def release(
    file: Annotated[Path, typer.Argument(help="The pipeline file of the replay.")],
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Id of the replay.")],
    *,
    topic: LettersOption = None,
    state_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the replay keeps its state.")
    ] = None,
    sets: Sets = [],  # noqa: B006 - typer reads it, nobody changes it
) -> None:
    """Give up a replay that was stopped: the remaining letters are open again.

    A replay that still runs on another host ends before its next commit; on this host, stop it
    first. What it has replayed stays replayed.

    Example: kafka-etl dlq release pipeline.yaml 3f9c01d2
    """
    from kafka_etl.cli.dlq.replay_run import run_replay
    from kafka_etl.dlq.replay import ReplayOrder

    overrides = parse_sets(sets)
    letters = find_letters(str(file), overrides, topic=topic)
    account = unfinished(letters, letters.statuses.read(), action)
    order = ReplayOrder(letters.topic, account.id, to=account.to, release=True)
    raise typer.Exit(run_replay(file, overrides, letters, order, account, state_dir))
