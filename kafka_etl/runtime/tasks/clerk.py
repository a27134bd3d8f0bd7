"""A process of the daemon that answers requests about tasks, one after the other.

The daemon has no Kafka client. What the clerk does is what the commands of `kafka-etl tasks` do.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from time import monotonic
from typing import Any, Final, TypeVar

import msgspec
import orjson

from kafka_etl.errors import (
    AttemptSilent,
    BrokersUnreachable,
    KafkaEtlError,
    NoAttempt,
    NoSuchTask,
    NotAuthorized,
    RecordsNotSent,
    RequestRefused,
    TasksFull,
    TopicMissing,
)
from kafka_etl.expression import ExpressionError
from kafka_etl.invocation import ErrorInfo
from kafka_etl.kafka.cluster.admin import reached
from kafka_etl.kafka.cluster.tail import Tail
from kafka_etl.log import configure, get_logger
from kafka_etl.runtime.child import next_task, task_of_child
from kafka_etl.runtime.tasks.requests import Answered, Asked
from kafka_etl.task_history.fields import everything_fields, fields, piece_fields
from kafka_etl.task_history.filters import since_of, states_of
from kafka_etl.task_history.logs import InOrder, Logs, chosen_run, stack_of
from kafka_etl.task_history.orders import Order, give, new_input, retry_order, stop_order
from kafka_etl.task_history.pipeline import Everything, TaskPipeline, named_task
from kafka_etl.task_history.submission import submitted
from kafka_etl.task_history.where import Where
from kafka_etl.tasks.log_records import Piece
from kafka_etl.tasks.words import id_problem

_MOST: Final = 1_000
_USUAL: Final = 50
_LONGEST_WAIT: Final = 30.0
_PIECE: Final = 0.2
_RETRY_AFTER: Final = 10
"""Seconds after which a client may submit again where there was no room."""
_STATUSES: Final[Mapping[type[KafkaEtlError], int]] = {
    NoSuchTask: 404,
    TopicMissing: 404,
    NoAttempt: 409,
    RequestRefused: 400,
    RecordsNotSent: 413,
    NotAuthorized: 403,
    TasksFull: 429,
    BrokersUnreachable: 503,
    AttemptSilent: 504,
}
P = TypeVar("P", bound=msgspec.Struct)
_PAGE: Final = "docs/tasks/http.md says what a request has."


class _Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a list."""

    state: str = ""
    where: str | None = None
    since: str | None = None
    limit: int = _USUAL
    page: int = 0


class _New(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a submission."""

    id: str | None = None
    key: str | None = None
    by: str | None = None


class _Stop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of an order to stop."""

    reason: str = ""
    force: bool = False
    quiet: bool = False
    by: str | None = None


class _Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of an order to run once more."""

    reason: str = ""
    again: bool = False
    deliver: bool = False
    input: Any = msgspec.UNSET
    by: str | None = None


class _Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a request for a log."""

    attempt: int | None = None
    after: int = -1
    wait: float = 0.0


class _Stack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a request for a stack."""

    wait: float = 10.0
    by: str | None = None


class _None(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


def answer(asked: Asked) -> Answered:
    """Answer a request; an error is an answer, too."""
    try:
        door = asked.door
        admin = reached(door.client)
        pipeline = TaskPipeline(
            door.name, door.consumer, door.producer, admin, door.logs, door.order
        )
        return _VERBS[asked.verb](pipeline, asked)
    except KafkaEtlError as error:
        status = next((s for kind, s in _STATUSES.items() if isinstance(error, kind)), 500)
        again = _RETRY_AFTER if isinstance(error, TasksFull) else None
        return _said({"error": asdict(error.problem)}, status, again)


def _list(pipeline: TaskPipeline, asked: Asked) -> Answered:
    wanted = _parameters(asked, _Page)
    if not 1 <= wanted.limit <= _MOST or wanted.page < 0:
        raise RequestRefused(f"`limit` is from 1 to {_MOST:,}, and `page` from 0", _PAGE)
    try:
        where = None if wanted.where is None else Where(wanted.where)
        states, since_ms = states_of([wanted.state] if wanted.state else []), since_of(wanted.since)
    except (ExpressionError, ValueError) as error:
        raise RequestRefused(str(error), _PAGE) from error
    begin = wanted.page * wanted.limit
    with pipeline.opened_index() as index:
        tasks = index.tasks(where, states, since_ms)
        found = list(islice(tasks, begin, begin + wanted.limit + 1))
        counts = index.counts()
    return _said(
        {
            "pipeline": pipeline.name,
            "counts": counts,
            "tasks": [fields(task) for task in found[: wanted.limit]],
            "next_page": wanted.page + 1 if len(found) > wanted.limit else None,
        }
    )


def _show(pipeline: TaskPipeline, asked: Asked) -> Answered:
    _parameters(asked, _None)
    return _said(everything_fields(_everything(pipeline, asked)))


def _submit(pipeline: TaskPipeline, asked: Asked) -> Answered:
    wanted = _parameters(asked, _New)
    task = wanted.id if wanted.id is not None else os.urandom(8).hex()
    problem = id_problem(task)
    if problem is not None:
        raise RequestRefused(f"this cannot be the id of a task: {problem}", _PAGE)
    key = None if wanted.key is None else wanted.key.encode()
    with submitted(pipeline, task, asked.body, _by(wanted.by), key) as submission:
        is_taken, head = submission.until_taken(), submission.head
        is_mine = submission.is_mine
    told: dict[str, Any] = {
        "id": task,
        "state": None if head is None else head.state.value,
        "taken": is_taken,
        "duplicate": is_taken and not is_mine,
    }
    if not is_taken:
        return _said(told, 202)
    return _said(told, 201 if is_mine else 409)


def _stop(pipeline: TaskPipeline, asked: Asked) -> Answered:
    wanted = _parameters(asked, _Stop)
    order = stop_order(_by(wanted.by), wanted.reason, force=wanted.force, quiet=wanted.quiet)
    return _give(pipeline, asked, order)


def _retry(pipeline: TaskPipeline, asked: Asked) -> Answered:
    wanted = _parameters(asked, _Retry)
    fresh = None
    if wanted.input is not msgspec.UNSET:
        if wanted.deliver:
            raise RequestRefused("`deliver` runs nothing that could have another `input`", _PAGE)
        given = wanted.input
        value = given.encode() if isinstance(given, str) else orjson.dumps(given)
        fresh = new_input(pipeline, asked.task, value)
    order = retry_order(
        _by(wanted.by), wanted.reason, again=wanted.again, deliver=wanted.deliver, input_=fresh
    )
    return _give(pipeline, asked, order)


def _give(pipeline: TaskPipeline, asked: Asked, order: Order) -> Answered:
    pipeline.partitions()
    with pipeline.opened_index() as index:
        row = named_task(index, asked.task).row
    objection = order.objection(row)
    if objection is not None:
        return _said({"id": row.id, "state": row.state, "left_alone": objection}, 409)
    (told,) = give(pipeline, order, [row])
    return _said(told, 200 if told["taken"] else 202)


def _logs(pipeline: TaskPipeline, asked: Asked) -> Answered:
    wanted = _parameters(asked, _Log)
    every = _everything(pipeline, asked)
    head = every.head
    run = None if head is None else chosen_run(head, wanted.attempt)
    told: dict[str, Any] = {"id": every.task.row.id, "state": every.task.row.state}
    if run is None:
        return _said(told | {"attempt": None, "pieces": (), "is_over": False})
    logs = Logs(pipeline)
    with logs.tail_from_now(run.token) as tail:  # before the rest is read: nothing is missed
        found = [piece for piece in logs.of(run) if piece.seq > wanted.after]
        if not found and not run.ended_ms:
            found = _wait_for(tail, run.token, wanted)
    is_over = bool(run.ended_ms) or any(piece.stream == "end" for piece in found)
    pieces = [piece_fields(piece, run.number) for piece in found]
    return _said(told | {"attempt": run.number, "pieces": pieces, "is_over": is_over})


def _wait_for(tail: Tail, token: str, wanted: _Log) -> list[Piece]:
    """The first pieces that come, within the time that the client waits."""
    until = monotonic() + min(wanted.wait, _LONGEST_WAIT)
    ordered = InOrder(token)
    while monotonic() < until:
        found = [piece for record in tail.poll(_PIECE) for piece in ordered.taken(record)]
        new = [piece for piece in found if piece.seq > wanted.after]
        if new:
            return new
    return []


def _stack(pipeline: TaskPipeline, asked: Asked) -> Answered:
    wanted = _parameters(asked, _Stack)
    every = _everything(pipeline, asked)
    patience = min(max(wanted.wait, 0.0), _LONGEST_WAIT)
    stack = stack_of(pipeline, every, Logs(pipeline), _by(wanted.by), patience)
    return _said({"id": every.task.row.id, "stack": stack})


_VERBS: Final[Mapping[str, Callable[[TaskPipeline, Asked], Answered]]] = {
    "list": _list,
    "show": _show,
    "submit": _submit,
    "stop": _stop,
    "retry": _retry,
    "logs": _logs,
    "stack": _stack,
}


def _everything(pipeline: TaskPipeline, asked: Asked) -> Everything:
    """Everything about the task that was named; the beginning of an id is not enough.

    Raises:
        NoSuchTask: There is no task of this id.
    """
    every = pipeline.everything(asked.task, lambda _line: None)
    if every.task.row.id != asked.task:
        raise NoSuchTask(f"{pipeline.journal} has no task {asked.task}")
    return every


def _parameters(asked: Asked, kind: type[P]) -> P:
    """The parameters of a request.

    Raises:
        RequestRefused: One is unknown, or not of its type.
    """
    try:
        return msgspec.convert(dict(asked.parameters), kind, strict=False)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"a parameter is wrong: {error}", _PAGE) from error


def _by(claimed: str | None) -> str:
    """Who asks, as the client claims; else this host."""
    return claimed or f"http@{socket.gethostname()}"


def _said(found: object, status: int = 200, retry_after: int | None = None) -> Answered:
    return Answered(status, orjson.dumps(found), retry_after)


def main() -> None:
    """Answer requests until the daemon is gone."""
    asked: Asked
    asked, connection = task_of_child()
    configure({"": "info"}, worker="clerk")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("KAFKA_ETL_CACHE", str(asked.door.cache))
    while True:
        try:
            connection.send(answer(asked))
        except Exception as error:  # noqa: BLE001 - a fault of ours costs this request alone
            info = ErrorInfo.of(error)
            get_logger("http").error("a request has failed", verb=asked.verb, error=info.message)
            problem = {"code": "", "what": f"{info.type}: {info.message}", "next_step": ""}
            connection.send(_said({"error": problem}, 500))
        asked = next_task(connection)


if __name__ == "__main__":
    main()
