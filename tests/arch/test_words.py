"""One word for each thing: those DESIGN.md gives up do not come back in names or in prose."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arch.source import ROOT, Definition, files, shown, tree

_GIVEN_UP = ("message", "event", "job", "step", "strategy", "handler", "ack", "redrive")
GIVEN_UP = {form for word in _GIVEN_UP for form in (word, f"{word}s")} | {"strategies"}

EVERYWHERE = {
    "message": "the text of an error",
    "next_step": "what an error tells its reader to do",
}
ALLOWED = {
    ("kafka_etl/dlq/exchange.py", "error_message"): "the text of an error",
    ("kafka_etl/envelope/raw.py", "short_message"): "the text of an error, cut",
    ("kafka_etl/engine/pools/event_loop.py", "event_loop"): "asyncio's own",
    ("kafka_etl/engine/stream/loop.py", "step"): "StreamEngine.step is the design's own",
    ("kafka_etl/expression.py", "handler"): "pydantic's",
    (
        "kafka_etl/kafka/source/source.py",
        "event",
    ): "of the client: the end of a partition, an error",
    (
        "kafka_etl/kafka/source/source.py",
        "messages",
    ): "the client's objects, before they are records",
    ("kafka_etl/log.py", "event"): "structlog's",
    ("kafka_etl/log.py", "handlers"): "the standard library's",
    ("kafka_etl/runtime/daemon/http.py", "handlers"): "of HTTP requests",
    ("kafka_etl/runtime/tasks/runner/bench.py", "handlers"): "of signals",
    ("kafka_etl/runtime/tasks/runner/surroundings.py", "handler"): "of a signal",
    ("kafka_etl/runtime/tasks/runner/surroundings.py", "handlers"): "of signals",
    ("kafka_etl/runtime/tasks/runner/surroundings.py", "handlers_of_ours"): "of signals",
    ("kafka_etl/runtime/messages.py", "messages"): "what processes send each other",
}

PROSE = ("*.md", "deploy/*.md", "examples/**/*.md", "requirements/*.md")
PHRASES = re.compile(r"error messages?|signal handlers?|end-of-partition event|step by step")


def test_names_in_code() -> None:
    found = {
        (shown(path), plain)
        for path in files()
        for name in names(path)
        if (plain := name.strip("_").lower()) not in EVERYWHERE and GIVEN_UP & words(name)
    }
    assert found - ALLOWED.keys() == set()
    assert ALLOWED.keys() - found == set(), "exceptions nobody needs any more"


@pytest.mark.parametrize("path", sorted(p for g in PROSE for p in ROOT.glob(g)), ids=shown)
def test_words_in_prose(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith("Not: ")]
    prose = PHRASES.sub("", "\n".join(lines))
    assert GIVEN_UP & set(re.findall(r"[a-z]+", prose.lower())) == set()


def names(path: Path) -> Iterator[str]:
    """Names the file gives to things: not those it imports or calls."""
    yield path.stem
    for node in ast.walk(tree(path)):
        match node:
            case _ if isinstance(node, Definition):
                yield node.name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def words(name: str) -> set[str]:
    """`_MyName2` -> my, name."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
