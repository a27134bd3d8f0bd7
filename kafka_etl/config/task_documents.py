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
from kafka_etl.config.parse import is_mapping
from kafka_etl.config.report import Finding
from kafka_etl.config.task_model import TaskSpec
from kafka_etl.tasks.placing import inbox_of, journal_of

_CLIENTS: Final = ("kafka", "consumer", "producer", "registry")
_PLACES: Final = ("topic", "routes", "create")
_ACCEPT: Final = "kafka_etl.runtime.tasks.accept:submit"
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
_LOST_SHARE: Final = 0.01
_LOST_LEAST, _LOST_MOST = 60.0, 600.0


def is_task_mode(document: Document) -> bool:
    """Whether the file says `mode: task`."""
    return document.data.get("mode") == "task"


def stream_documents(document: Document, findings: list[Finding]) -> list[Document]:
    """The pipelines that a file stands for: itself, or the two of a task pipeline.

    Args:
        document: The file.
        findings: Takes the findings of a task pipeline, which then stands for none.
    """
    if not is_task_mode(document):
        return [document]
    spec = check(TaskSpec, document.data, document)
    if not isinstance(spec, TaskSpec):
        findings += spec
        return []
    return [_accepting(document, spec), _owning(document, spec)]


def all_documents(document: Document, findings: list[Finding]) -> list[Document]:
    """Likewise, with the pipeline that runs the attempts of tasks, which no daemon runs as such."""
    documents = stream_documents(document, findings)
    spec = None if len(documents) == 1 else check(TaskSpec, document.data, document)
    if isinstance(spec, TaskSpec):
        documents.append(replace(document, data=run_data(document, spec)))
    return documents


def owner_name(name: str) -> str:
    """Name of the pipeline, and of the group, that owns the tasks of a task pipeline."""
    return f"{name}.tasks"


def _accepting(document: Document, spec: TaskSpec) -> Document:
    as_it_is = {"value": "bytes", "key": "bytes"}
    data = {
        **_clients(document),
        "name": spec.name,
        "source": {"use": spec.source.use, "with": spec.source.with_ | as_it_is},
        "operators": [{"use": _ACCEPT, "name": "accept", "with": _accept_settings(document, spec)}],
        "sink": {
            "use": "kafka",
            "with": {
                "topic": inbox_of(spec.name),
                "create": {"partitions": spec.topics.partitions, "config": _inbox_config(spec)},
                "set": {"partition": "int(headers.p)"},
            },
        },
        "dead_letter": document.data["on_failure"],
        "workers": spec.workers,
        "drain_timeout": f"{spec.interrupt_within}s",
    }
    return replace(document, data=data)


def _accept_settings(document: Document, spec: TaskSpec) -> dict[str, Any]:
    door = {
        "kafka": {**document.data.get("kafka", {}), **document.data.get("consumer", {})},
        "inbox": inbox_of(spec.name),
        "group": owner_name(spec.name),
        "most": spec.max_open,
    }
    settings: dict[str, Any] = {"partitions": spec.topics.partitions, "door": door}
    if spec.id is not None:
        settings |= {"id": document.data["id"], "source": run_data(document, spec)}
    return settings


def _owning(document: Document, spec: TaskSpec) -> Document:
    operator, retry = spec.operator, spec.operator.retry or spec.retry
    wait = retry.backoff
    lost = operator.lost_after
    if lost is None:
        lost = min(max(operator.timeout * _LOST_SHARE, _LOST_LEAST), _LOST_MOST)
    settings = {
        "topics": inbox_of(spec.name),
        "group": owner_name(spec.name),
        "value": "bytes",
        "journal": journal_of(spec.name),
        "partitions": spec.topics.partitions,
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
        "lost_after_ms": _ms(lost),
        "slots": operator.concurrency,
        "timeout": operator.timeout,
        "stop_grace": operator.stop_grace,
        "finish_within": spec.finish_within,
        "max_memory": operator.limits.memory,
        "max_cpu": operator.limits.cpu,
        "pool": operator.pool,
        "logs_topic": spec.history.topic,
        "logs": spec.history.logs,
        "logs_config": {"retention.ms": str(_ms(spec.history.retention + _DAY))},
        "run": run_data(document, spec),
    }
    data: dict[str, Any] = {
        **_clients(document),
        "name": owner_name(spec.name),
        "source": {"use": "task_inbox", "with": settings},
        "operators": [],
        "sink": {"use": spec.on_success.use, "with": _places(spec.on_success.with_)},
        "dead_letter": document.data["on_failure"],
        "drain_timeout": f"{spec.interrupt_within}s",
    }
    return replace(document, data=data)


def _inbox_config(spec: TaskSpec) -> dict[str, str]:
    """Settings of an inbox: words outlive the tasks whose inputs they are."""
    waits = max(spec.max_age or 0.0, _DAY)
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(_ms(_SLACK * (spec.history.retention + waits))),
        "retention.bytes": "-1",
    }


def _places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where results go; how they are encoded is the business of an attempt."""
    return {name: settings[name] for name in _PLACES if name in settings}


def run_data(document: Document, spec: TaskSpec) -> dict[str, Any]:
    """The pipeline that the process of an attempt builds, as plain data."""
    use: dict[str, Any] = {"use": spec.operator.use, "with": spec.operator.with_}
    if spec.operator.name is not None:
        use["name"] = spec.operator.name
    return {
        **_clients(document),
        "name": f"{spec.name}.attempt",
        "source": document.data["source"],
        "operators": [use],
        "sink": document.data["on_success"],
        "dead_letter": document.data["on_failure"],
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
