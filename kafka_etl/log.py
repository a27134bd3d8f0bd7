"""Structured logs on stderr: readable on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, TextIO

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

from kafka_etl.client_log import CLIENT_LOG
from kafka_etl.terminal import WIPE, overwrites

Logger = structlog.typing.FilteringBoundLogger

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_SELDOM: Final = 30.0
OPERATORS_LOG: Final = "kafka_etl.operator"
"""Name of the logger of Python's own that operators get."""
COMPONENTS: Final = ("daemon", "worker", "engine", "source", "sink", "client", "http", "operator")


def configure(levels: Mapping[str, str], **context: Any) -> None:
    """Set up logging for this process.

    Args:
        levels: Component -> level; "" is the level of all others.
        context: Stands in every line: pipeline, worker.
    """
    terminal = sys.stderr.isatty()
    renderer: Any = (
        _ForPeople() if terminal else structlog.processors.JSONRenderer(serializer=_to_json)
    )
    wanted = {"": logging.INFO} | {name: LEVELS[level] for name, level in levels.items()}
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _ByComponent(wanted),
            structlog.processors.TimeStamper(fmt="iso", utc=not terminal),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min(wanted.values())),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**context)
    bridge = _Bridge()
    for name in (CLIENT_LOG, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [bridge]
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
    _have_operators_log(_FromOperators(), wanted.get("operator", wanted[""]))


def log_of_operators(file: TextIO, level: str) -> None:
    """Write what operators log, from a level on, into a file, as lines with time and level."""
    written = logging.StreamHandler(file)
    form = logging.Formatter("{asctime}.{msecs:03.0f}Z {levelname} {message}", style="{")
    form.datefmt, form.converter = "%Y-%m-%dT%H:%M:%S", time.gmtime
    written.setFormatter(form)
    _have_operators_log(written, LEVELS[level])


def _have_operators_log(written: logging.Handler, level: int) -> None:
    logger = logging.getLogger(OPERATORS_LOG)
    logger.handlers = [written]
    logger.propagate = False
    logger.setLevel(level)


def get_logger(component: str, **context: Any) -> Logger:
    """The logger of a component; its events carry the component's name, and the context."""
    logger: Logger = structlog.get_logger(component=component, **context)
    return logger


class _ForPeople:
    """A line on a terminal. The progress line, of this process or another's, makes room for it.

    An error with a next step stands on lines of its own, as a command that fails prints it.
    """

    def __init__(self) -> None:
        self._wipe = WIPE if overwrites() else ""
        self._line = structlog.dev.ConsoleRenderer(colors=_has_colours(), pad_event_to=0)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        below = ""
        if "next" in event:
            code, error, next_step = (event.pop(key, "") for key in ("code", "error", "next"))
            below = f"\nerror[{code}]: {error}\n  next: {next_step}"
        return f"{self._wipe}{self._line(logger, method, event)}{below}"


class _ByComponent:
    """Drops events below the level of their component."""

    def __init__(self, levels: Mapping[str, int]) -> None:
        self._levels = levels

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        wanted = self._levels.get(event.get("component", ""), self._levels[""])
        if LEVELS.get(method, logging.ERROR) < wanted:
            raise structlog.DropEvent
        return event


class _Bridge(logging.Handler):
    """Log records of libraries, passed to the project's own log."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, float] = {}

    def _is_repeated(self, record: logging.LogRecord) -> bool:
        """Whether the same text was just logged: a client repeats a text for every broker."""
        said = record.getMessage().partition(" ")[0]
        last, self._seen[said] = self._seen.get(said, -_SELDOM), record.created
        return record.created - last < _SELDOM

    def emit(self, record: logging.LogRecord) -> None:
        component = "client" if record.name == CLIENT_LOG else "http"
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        if component == "http" and level == "info":
            level = "debug"  # a server that starts and stops is no news
        if record.getMessage().startswith("TXNERR") or self._is_repeated(record):
            level = "debug"  # the engine says what it makes of it
        log = getattr(get_logger(component), level if level in LEVELS else "info")
        raised = record.exc_info[1] if record.exc_info else None
        said = {} if raised is None else {"error": f"{type(raised).__name__}: {raised}"}
        log(record.getMessage().strip(), **said)


class _FromOperators(logging.Handler):
    """What operators log, as events of the component `operator`."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        log = getattr(get_logger("operator"), level if level in LEVELS else "info")
        raised = record.exc_info[1] if record.exc_info else None
        said = {} if raised is None else {"error": f"{type(raised).__name__}: {raised}"}
        log(record.getMessage(), **said)


def _has_colours() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _to_json(event: EventDict, **_options: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a surrogate pair, or a huge number: from a record, most likely
        return json.dumps(event, default=str, skipkeys=True)
