"""Tasks over HTTP, under `/v1/tasks`: what the commands of `kafka-etl tasks` do, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec
from starlette.requests import Request

from kafka_etl.errors import RequestRefused, UnknownPipeline
from kafka_etl.runtime.daemon.daemon import View
from kafka_etl.runtime.tasks.requests import Asked, TaskDoor, Verb

PREFIX: Final = "/v1/tasks"
LARGEST: Final = 16 * 1024 * 1024
"""Bytes of the body of a request."""
_OF_TASK: Final[Mapping[tuple[str, str], Verb]] = {
    ("GET", ""): "show",
    ("GET", "logs"): "logs",
    ("POST", "stop"): "stop",
    ("POST", "retry"): "retry",
    ("POST", "stack"): "stack",
}


class Target(NamedTuple):
    """What a path names.

    Attributes:
        pipeline: Name of the pipeline; empty: all.
        task: Id of the task; empty: none.
        act: The last part of the path, behind the id.
    """

    pipeline: str = ""
    task: str = ""
    act: str = ""


def target_of(request: Request) -> Target:
    """What the path of a request names.

    An id may have slashes: in a path they are written as %2F, so the path is taken as it came.
    What is behind the last part that there may be is one part with that.
    """
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    rest = raw.partition(b"?")[0].decode("ascii", "replace")[len(PREFIX) :]
    parts = [unquote(part) for part in rest.strip("/").split("/") if part]
    pipeline, task = [*parts, "", ""][:2]
    return Target(pipeline, task, "/".join(parts[2:]))


def pipelines_of(view: View) -> dict[str, Any]:
    """The pipelines with tasks, for the answer to `GET /v1/tasks`."""
    return {
        "pipelines": [
            {
                "name": status.door.name,
                "state": status.state,
                "tasks": {
                    state: int(count)
                    for (name, state), count in status.gauges.items()
                    if name == "tasks"
                },
            }
            for status in view.pipelines.values()
            if status.door is not None
        ]
    }


def asked_of(request: Request, target: Target, view: View, body: bytes) -> Asked:
    """The request for a clerk.

    Raises:
        UnknownPipeline: The daemon runs no such pipeline with tasks.
        RequestRefused: The path, with this method, is nothing that there is; or the body is none.
    """
    door = _door(view, target.pipeline)
    query = dict(request.query_params)
    if not target.task:
        verb: Verb = "submit" if request.method == "POST" else "list"
        if verb == "submit" and not body:
            raise RequestRefused("the body is empty: it is the input of the task")
        return Asked(door, verb, "", query, body)
    found = _OF_TASK.get((request.method, target.act))
    if found is None:
        known = ", ".join(f"{method} …/{act}" for method, act in _OF_TASK)
        raise RequestRefused(f"there is no {request.method} …/{target.act}; there are {known}")
    return Asked(door, found, target.task, query | _object(body))


def _door(view: View, name: str) -> TaskDoor:
    doors = (status.door for status in view.pipelines.values())
    door = next((door for door in doors if door is not None and door.name == name), None)
    if door is None:
        raise UnknownPipeline(f"this daemon runs no pipeline `{name}` with `mode: task`")
    return door


def _object(body: bytes) -> dict[str, Any]:
    """The parameters in the body of an order.

    Raises:
        RequestRefused: The body is no JSON object.
    """
    try:
        return msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise RequestRefused(f"the body is no JSON object: {error}") from error
