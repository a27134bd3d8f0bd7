"""Kafka pipelines in YAML and plain Python."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_etl.errors import Permanent, RecordErrors, Retry
    from kafka_etl.functions.context import Context
    from kafka_etl.functions.declare import DROP, Drop, operator
    from kafka_etl.record import Record

__all__ = ["DROP", "Context", "Drop", "Permanent", "Record", "RecordErrors", "Retry", "operator"]

_HOMES = {
    "DROP": "functions.declare",
    "Context": "functions.context",
    "Drop": "functions.declare",
    "Permanent": "errors",
    "Record": "record",
    "RecordErrors": "errors",
    "Retry": "errors",
    "operator": "functions.declare",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when first asked for: a command's `--help` must not wait for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
