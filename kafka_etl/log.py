"""Structured logs on stderr: readable on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
COMPONENTS: Final = ("daemon", "worker", "engine", "source", "sink", "client", "http")


def configure(levels: Mapping[str, str], **context: Any) -> None:
    """Set up logging for this process.

    Args:
        levels: Component -> level; "" is the level of all others.
        context: Stands in every line: pipeline, worker.
    """
    terminal = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=terminal, pad_event_to=0)
        if terminal
        else structlog.processors.JSONRenderer(serializer=_to_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _ByComponent({name: LEVELS[level] for name, level in levels.items()}),
            structlog.processors.TimeStamper(fmt="iso", utc=not terminal),
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**context)
    bridge = _Bridge()
    for name in ("kafka_etl.client", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [bridge]
        logger.propagate = False
        logger.setLevel(logging.DEBUG)


def get_logger(component: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a component; its events carry the component's name."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=component)
    return logger


def client_logger() -> logging.Logger:
    """Where the Kafka client's own log lines go, instead of straight to stderr."""
    return logging.getLogger("kafka_etl.client")


class _ByComponent:
    """Drops events below the level of their component."""

    def __init__(self, levels: Mapping[str, int]) -> None:
        self._levels = levels
        self._default = levels.get("", logging.INFO)

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        wanted = self._levels.get(event.get("component", ""), self._default)
        if LEVELS.get(method, logging.ERROR) < wanted:
            raise structlog.DropEvent
        return event


class _Bridge(logging.Handler):
    """Log records of libraries, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        component = "client" if record.name == "kafka_etl.client" else "http"
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        log = get_logger(component)
        getattr(log, level if level in LEVELS else "info")(record.getMessage())


def _to_json(event: EventDict, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
