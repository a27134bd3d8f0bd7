"""What the daemon's HTTP server and a clerk say to each other: a request, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka_etl.tasks.placing import Order

Verb = Literal["list", "show", "submit", "stop", "retry", "logs", "stack"]


@dataclass(frozen=True, slots=True)
class TaskDoor:
    """How one reaches the tasks of a pipeline.

    Attributes:
        name: Name of the pipeline, as its file has it.
        client: Settings of all clients; likewise `consumer` and `producer`.
        logs: Topic of what attempts print.
        order: Whether tasks of one key run one after the other.
        cache: Folder of the indexes, unless the environment names one.
    """

    name: str
    client: Mapping[str, Any]
    consumer: Mapping[str, Any]
    producer: Mapping[str, Any]
    logs: str
    order: Order
    cache: Path


@dataclass(frozen=True, slots=True)
class Asked:
    """A request about tasks.

    Attributes:
        task: Id of the task; empty: the request is about all, or about a new one.
        parameters: Of the query, and of the body where that is an object of parameters.
        body: The input of a new task.
    """

    door: TaskDoor
    verb: Verb
    task: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer.

    Attributes:
        status: Status of HTTP.
        body: JSON.
        retry_after: Seconds after which the client may ask again; None: there is no use in that.
    """

    status: int
    body: bytes
    retry_after: int | None = None
