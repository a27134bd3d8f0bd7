"""Log lines: one JSON object each, readable on a terminal, quiet where asked."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from kafka_etl.client_log import client_logger
from kafka_etl.log import COMPONENTS, LEVELS, configure, get_logger
from kafka_etl.terminal import WIPE


class Stderr(io.StringIO):
    terminal = False

    def configure(self, levels: dict[str, str], **context: Any) -> None:
        with contextlib.redirect_stderr(self):
            configure(levels, **context)

    def isatty(self) -> bool:
        return self.terminal

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stderr]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    yield Stderr()
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for name in ("kafka_etl.client", "uvicorn.error"):
        logging.getLogger(name).handlers = []


def test_elsewhere_than_on_a_terminal_a_line_is_a_json_object(stderr: Stderr) -> None:
    stderr.configure({"": "info"}, pipeline="orders", worker="0")
    get_logger("engine").info("settled", records=5, took=0.25, topic=None)
    (line,) = stderr.lines()
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert line == {
        "event": "settled",
        "level": "info",
        "component": "engine",
        "pipeline": "orders",
        "worker": "0",
        "records": 5,
        "took": 0.25,
        "topic": None,
    }


@pytest.mark.parametrize(
    "value",
    [
        "two\nlines",
        "\udc80 half a pair",
        b"\xff",
        2**70,
        {1: "a", (1, 2): "b"},
        {1, 2},
        object(),
        "\x00",
    ],
    ids=["newline", "surrogate", "bytes", "huge", "keys", "set", "object", "nul"],
)
def test_whatever_a_record_holds_it_is_one_json_line(stderr: Stderr, value: Any) -> None:
    stderr.configure({"": "info"})
    get_logger("engine").warning("odd", value=value)
    (line,) = stderr.lines()
    assert line["event"] == "odd"
    assert "value" in line


def test_on_a_terminal_a_line_is_for_people(stderr: Stderr) -> None:
    stderr.terminal = True
    stderr.configure({"": "info"}, pipeline="orders")
    get_logger("sink").error("refused", topic="a b")
    said = stderr.getvalue()
    assert "refused" in said
    assert not said.startswith("{")
    assert "\x1b[" in said


def test_on_a_terminal_an_error_stands_on_lines_of_its_own(stderr: Stderr) -> None:
    stderr.terminal = True
    stderr.configure({"": "info"})
    get_logger("daemon").error("failed", code="E301", error="Nobody\nanswers.", next="Look.")
    first, *below = stderr.getvalue().splitlines()[1:]  # the first is what was on the line
    assert "failed" in first
    assert below == ["error[E301]: Nobody", "answers.", "  next: Look."]


def test_in_a_pipe_an_error_is_fields(stderr: Stderr) -> None:
    stderr.configure({"": "info"})
    get_logger("daemon").error("failed", code="E301", error="Nobody\nanswers.", next="Look.")
    (line,) = stderr.lines()
    assert (line["code"], line["error"], line["next"]) == ("E301", "Nobody\nanswers.", "Look.")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(
    stderr: Stderr, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    stderr.terminal = True
    monkeypatch.setenv(name, value)
    stderr.configure({"": "info"})
    get_logger("sink").info("opened", topic="orders")
    assert "\x1b[" not in stderr.getvalue().removeprefix(WIPE)
    assert "topic=orders" in stderr.getvalue()


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_below_the_level_is_dropped(stderr: Stderr, level: str) -> None:
    stderr.configure({"": level})
    log = get_logger("engine")
    for method in LEVELS:
        getattr(log, method)(method)
    names = list(LEVELS)
    assert [line["event"] for line in stderr.lines()] == names[names.index(level) :]


def test_a_component_may_have_a_level_of_its_own(stderr: Stderr) -> None:
    stderr.configure({"": "error", "source": "debug"})
    for component in COMPONENTS:
        get_logger(component).info("hello")
    assert [line["component"] for line in stderr.lines()] == ["source"]


def test_lines_of_the_client_and_the_server_become_ours(stderr: Stderr) -> None:
    stderr.configure({"": "info"})
    client_logger().error("broker away: %s", "a:9092")
    client_logger().log(logging.CRITICAL, "gone")
    logging.getLogger("uvicorn.error").warning("slow")
    logging.getLogger("uvicorn.error").debug("connected")
    assert [(line["component"], line["level"], line["event"]) for line in stderr.lines()] == [
        ("client", "error", "broker away: a:9092"),
        ("client", "error", "gone"),
        ("http", "warning", "slow"),
    ]


def test_a_library_level_we_do_not_have_is_info(stderr: Stderr) -> None:
    stderr.configure({"": "debug"})
    client_logger().log(25, "in between")
    assert [line["level"] for line in stderr.lines()] == ["info"]


def test_levels_hold_for_lines_of_libraries(stderr: Stderr) -> None:
    stderr.configure({"": "info", "client": "error"})
    client_logger().warning("dropped")
    assert stderr.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_an_exception_of_a_library_is_named_without_its_traceback(
    stderr: Stderr, terminal: bool
) -> None:
    stderr.terminal = terminal
    stderr.configure({"": "info"})
    try:
        raise OSError("no route")
    except OSError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    assert "OSError: no route" in stderr.getvalue()
    assert "Traceback" not in stderr.getvalue()


def test_configuring_again_does_not_say_things_twice(stderr: Stderr) -> None:
    stderr.configure({"": "info"})
    stderr.configure({"": "info"})
    client_logger().error("once")
    assert len(stderr.lines()) == 1
