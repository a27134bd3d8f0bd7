"""A task pipeline as stream pipelines: one accepts tasks, another owns them.

Both are documents of the same file, so that whatever runs, checks and shows pipelines needs to know
of one kind only. The owner has a third one in its settings: what the processes of attempts build.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from kafka_etl.config.check import check
from kafka_etl.config.document import Document
from kafka_etl.config.mode import TASK
from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.config.report import Finding, Loc
from kafka_etl.config.task_destinations import (
    Places,
    delivering,
    letters_of,
    owner_letters,
    owner_settings,
    owner_sink,
    places_of,
    run_sinks,
)
from kafka_etl.config.task_model import TaskSpec
from kafka_etl.tasks.limits import AROUND_RESULT
from kafka_etl.tasks.placing import inbox_of, journal_of, owners_of

_CLIENTS: Final = ("kafka", "consumer", "producer", "registry")
ACCEPT: Final = "kafka_etl.runtime.tasks.accept:submit"
"""The operator of the pipeline that accepts."""
_DAY: Final = 86_400.0
_SLACK: Final = 1.25
_JOURNAL: Final[Mapping[str, str]] = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 * 1024 * 1024),
    "segment.ms": str(3_600_000),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(6 * 3_600_000),
}
"""Settings of a journal: small segments, so that old states are compacted soon."""
_COMMIT: Final[Mapping[str, Any]] = {
    "max_records": 500,
    "max_bytes": "16MiB",
    "max_wait": "25ms",
}
"""Words of one commit: one that is refused is halved, until one word is alone.

While words come all the time, a commit has those of `max_wait`: its markers cost as much as fifty
words.
"""
_BROKERS_LIMIT: Final = 1_048_588
"""Bytes of the largest record that a topic takes, unless somebody says otherwise."""
_LOST_SHARE: Final = 0.01
_LOST_LEAST, _LOST_MOST = 60.0, 600.0


def is_task_mode(document: Document) -> bool:
    """Whether the file says `mode: task`."""
    return document.data.get("mode") == TASK


def task_spec(document: Document) -> TaskSpec | None:
    """The model of a valid file with `mode: task`; None: the file has another mode, or findings."""
    found = check(TaskSpec, document.data, document) if is_task_mode(document) else None
    return found if isinstance(found, TaskSpec) else None


def stream_documents(document: Document, findings: list[Finding]) -> list[Document]:
    """The pipelines that a file stands for: itself, or those of a task pipeline.

    These are one that accepts, one that owns, and one for each destination outside of the cluster.

    Args:
        document: The file.
        findings: Takes the findings of a task pipeline, which then stands for none.
    """
    if not is_task_mode(document):
        return [document]
    spec = check(TaskSpec, document.data, _as_given(document))
    if not isinstance(spec, TaskSpec):
        findings += spec
        return []
    places = places_of(document, spec)
    shared = {"clients": _clients(document), "config": _topic_config(spec)}
    return [
        _accepting(document, spec, places),
        _owning(document, spec, places),
        *(delivering(document, spec, place, shared) for place in places.outside),
    ]


def all_documents(document: Document, findings: list[Finding]) -> list[Document]:
    """Likewise, with the pipelines that run the attempts of tasks, which no daemon runs as such.

    There is one for each topic of the cluster that gets results, since each has codecs of its own.
    """
    documents = stream_documents(document, findings)
    spec = task_spec(document)
    if spec is None:
        return documents
    places = places_of(document, spec)
    data = run_data(document, spec, places)
    every = list(zip(places.successes, run_sinks(places), strict=True))
    chosen = [(place, sink) for place, sink in every if not place.topic] or every[:1]
    for number, (place, sink) in enumerate(chosen, 1):
        name = data["name"] if number == 1 else f"{data['name']}-{number}"
        at: list[tuple[Loc, Loc]] = [(("operators", 0), ("operator",)), (("sink",), place.loc)]
        documents.append(replace(document, data={**data, "name": name, "sink": sink}, places=at))
    return documents


def notes_of(document: Document) -> list[str]:
    """What follows from the settings of a task pipeline that its user should know."""
    if not is_task_mode(document) or document.data.get("order") != "key":
        return []
    note = (
        "order: key: tasks of one key run one after the other, those without a key at any time; "
        "ids are taken within their key, so give the tasks of two keys two ids"
    )
    return [note]


def attempt_document(document: Document) -> Document:
    """The pipeline with the operators of a valid file: of a task pipeline, that of its attempts."""
    documents = all_documents(document, [])
    names = [part.data["name"] for part in documents]
    attempt = f"{document.data['name']}.attempt"
    return documents[names.index(attempt)] if attempt in names else documents[-1]


def _as_given(document: Document) -> Document:
    """The file for checks of its model, which has lists where the file may have one entry."""
    single = [key for key in ("on_success", "on_failure") if not is_list(document.data.get(key))]
    return replace(document, places=[((key, 0), (key,)) for key in single])


def _accepting(document: Document, spec: TaskSpec, places: Places) -> Document:
    as_it_is = {"value": "bytes", "key": "bytes"}
    data = {
        **_clients(document),
        "name": spec.name,
        "source": {"use": spec.source.use, "with": spec.source.with_ | as_it_is},
        "operators": [
            {"use": ACCEPT, "name": "accept", "with": _accept_settings(document, spec, places)}
        ],
        "sink": {
            "use": "kafka",
            "with": {
                "topic": inbox_of(spec.name),
                "create": {"partitions": spec.topics.partitions, "config": _inbox_config(spec)},
                "set": {"partition": "int(headers.p)"},
            },
        },
        "dead_letter": letters_of(document, places.failures[0]),
        "workers": spec.workers,
        "drain_timeout": f"{spec.interrupt_within}s",
    }
    at = [(("dead_letter",), places.failures[0].loc), (("operators", 0, "with", "id"), ("id",))]
    return replace(document, data=data, places=at)


def _accept_settings(document: Document, spec: TaskSpec, places: Places) -> dict[str, Any]:
    door = {
        "kafka": {**document.data.get("kafka", {}), **document.data.get("consumer", {})},
        "inbox": inbox_of(spec.name),
        "group": owners_of(spec.name),
        "most": spec.max_open,
    }
    settings: dict[str, Any] = {
        "partitions": spec.topics.partitions,
        "order": spec.order,
        "door": door,
    }
    if spec.id is not None:
        settings |= {"id": document.data["id"], "source": run_data(document, spec, places)}
    return settings


def _owning(document: Document, spec: TaskSpec, places: Places) -> Document:
    operator, retry = spec.operator, spec.operator.retry or spec.retry
    wait = retry.backoff
    lost = operator.lost_after
    if lost is None:
        lost = min(max(operator.timeout * _LOST_SHARE, _LOST_LEAST), _LOST_MOST)
    settings = {
        "topics": inbox_of(spec.name),
        "group": owners_of(spec.name),
        "value": "bytes",
        "batch": _COMMIT,
        "journal": journal_of(spec.name),
        "partitions": spec.topics.partitions,
        "order": spec.order,
        "inbox_config": _inbox_config(spec),
        "journal_config": _JOURNAL,
        "operator": spec.operator_name,
        "max_attempts": retry.max_attempts,
        "backoff": [wait.initial, wait.factor, wait.max, wait.jitter],
        "idempotent": operator.idempotent,
        "window_ms": _ms(spec.dedup.window),
        "on_duplicate": spec.dedup.on_duplicate,
        "max_age_ms": None if spec.max_age is None else _ms(spec.max_age),
        "history_ms": _ms(spec.history.retention),
        "history_max": spec.history.max,
        "max_open": spec.max_open,
        "lost_after_ms": _ms(lost),
        "slots": operator.concurrency,
        "max_result": operator.max_result,
        "timeout": operator.timeout,
        "stop_grace": operator.stop_grace,
        "finish_within": spec.finish_within,
        "max_memory": operator.limits.memory,
        "max_cpu": operator.limits.cpu,
        "pool": operator.pool,
        "logs_topic": spec.history.topic,
        "logs": spec.history.logs,
        "logs_config": {"retention.ms": str(_ms(spec.history.retention + _DAY))},
        "run": run_data(document, spec, places),
        "sinks": run_sinks(places)[1:],
        **owner_settings(places),
    }
    data: dict[str, Any] = {
        **_clients(document),
        "name": owners_of(spec.name),
        "source": {"use": "task_inbox", "with": settings},
        "operators": [],
        "sink": owner_sink(places),
        "dead_letter": owner_letters(document, spec.name, places),
        "drain_timeout": f"{spec.interrupt_within}s",
    }
    return replace(document, data=data)


def _inbox_config(spec: TaskSpec) -> dict[str, str]:
    """Settings of an inbox: words outlive the tasks whose inputs they are, and results fit in."""
    needed = spec.operator.max_result + AROUND_RESULT
    room = {"max.message.bytes": str(needed)} if needed > _BROKERS_LIMIT else {}
    return {"message.timestamp.type": "LogAppendTime", **_topic_config(spec), **room}


def _topic_config(spec: TaskSpec) -> dict[str, str]:
    """Settings of a topic whose records outlive the tasks that they are about."""
    waits = max(spec.max_age or 0.0, _DAY)
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(_ms(_SLACK * (spec.history.retention + waits))),
        "retention.bytes": "-1",
    }


def run_data(document: Document, spec: TaskSpec, places: Places) -> dict[str, Any]:
    """The pipeline that the process of an attempt builds, as plain data."""
    use: dict[str, Any] = {"use": spec.operator.use, "with": spec.operator.with_}
    if spec.operator.name is not None:
        use["name"] = spec.operator.name
    return {
        **_clients(document),
        "name": f"{spec.name}.attempt",
        "source": document.data["source"],
        "operators": [use],
        "sink": run_sinks(places)[0],
        "dead_letter": letters_of(document, places.failures[0]),
        "retry": _retry_of(document),
    }


def _retry_of(document: Document) -> Mapping[str, Any]:
    """The classes of errors that are tried again: how often, and when, the owner decides."""
    operator: Any = document.data["operator"]
    own: Any = operator.get("retry") if is_mapping(operator) else None
    given: Any = own or document.data.get("retry") or {}
    return {**given, "max_attempts": 1}


def _clients(document: Document) -> dict[str, Any]:
    return {name: document.data[name] for name in _CLIENTS if name in document.data}


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
