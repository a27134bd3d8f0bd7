"""Every command on a narrow terminal, in a pipe, and where characters are missing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from kafka_etl.cli.app import app
from kafka_etl.cli.daemon.full_screen import FullScreen
from kafka_etl.cli.dlq.filters import ProgressLine
from kafka_etl.cli.dlq.kind_table import letter_line
from kafka_etl.cli.dlq.kind_table import table as table_of_kinds
from kafka_etl.cli.doctor import rendered
from kafka_etl.cli.groups import Unloaded
from kafka_etl.cli.tasks.table import table as table_of_tasks
from kafka_etl.dlq.index import Index
from kafka_etl.dlq.rows import Group, Own
from kafka_etl.dlq.store import Store
from kafka_etl.doctor.checks import Result
from kafka_etl.log import _ForPeople
from kafka_etl.task_history.rows import Task, row_of
from kafka_etl.tasks.head import Failure, Head
from kafka_etl.tasks.states import State
from kafka_etl.terminal import WIPE, fitting
from tests.kit.daemon import COMMAND
from tests.unit.config.project import pipeline

NARROW = 40
CODE = "def op(order: dict) -> dict:\n    return order\n"
FAR = "Zoë … 😀"


def _every(command: Any, *words: str) -> Iterator[tuple[str, ...]]:
    yield words
    loaded = command.load() if isinstance(command, Unloaded) else command
    for name, child in getattr(loaded, "commands", {}).items():
        yield from _every(child, *words, name)


ALL = list(_every(typer.main.get_command(app)))


@pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(words) or "kafka-etl")
def test_help_fits_a_narrow_terminal(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(NARROW))
    with pytest.raises(SystemExit):
        typer.main.get_command(app).main([*words, "--help"], "kafka-etl")
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert "\x1b" not in shown
    long = [line for line in shown.splitlines() if len(line) > NARROW]
    assert [line for line in long if " <" not in line] == []  # choices stay together


def test_help_on_a_wide_terminal_has_texts_beside_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        typer.main.get_command(app).main(["run", "--help"], "kafka-etl")
    lines = capsys.readouterr().out.splitlines()
    assert "  --workers <int range>          Workers of each pipeline.  [1<=x<=256]" in lines
    assert max(map(len, lines)) <= 80


# What draws something


def test_tasks_on_a_narrow_terminal_have_whole_ids_and_errors() -> None:
    name, error = "a-film-with-a-name-that-is-long-and-longer.mov", "no such codec as prores in it"
    failed = Head(id=name, state=State.FAILED, error=Failure("OSError", error), finished_ms=9)
    shown = list(table_of_tasks([Task(row_of(failed, name, 0, 0))], NARROW))
    assert shown[0] == name
    assert error in " ".join(" ".join(shown[1:]).split())
    assert max(map(len, shown[1:])) <= NARROW


def test_kinds_of_dead_letters_on_a_narrow_terminal_have_whole_errors(tmp_path: Path) -> None:
    store = Store(tmp_path / "index.sqlite")
    group = Group("a" * 16, "OperatorError", "to_eur", "1", "shop.NoRate", "shop", "orders", "")
    error = "there is no rate of TRY on this day"
    store.add([(group, Own(0, 0, 1000, 0, 0, 3, 9, error))])
    store.commit()
    index = Index("orders.dlq", store, lambda _ranges: iter(()))
    shown = list(table_of_kinds(index.kinds(), 1, "orders.dlq", NARROW))
    assert error in " ".join(" ".join(shown).split())
    assert "a" * 16 in shown[1]
    assert max(map(len, shown)) <= NARROW
    assert "other message" not in " ".join(shown)
    store.add([(group, Own(0, 1, 900, 0, 1, 3, 9, "there is no rate of XAU on this day"))])
    told = list(table_of_kinds(index.kinds(), 2, "orders.dlq", None))[-1]
    assert told.strip() == "for example orders.dlq/0/0; and 1 other message"
    (row, _) = index.letters()
    line = letter_line(row, "orders.dlq", NARROW)
    assert line.splitlines()[0] == "orders.dlq/0/0"
    assert error in " ".join(line.split())


def test_what_doctor_finds_is_below_its_check_on_a_narrow_terminal() -> None:
    results = [Result("in-sync replicas", "warn", "one two three four five six seven", "mend it")]
    assert list(rendered(results, NARROW)) == [
        "warn  in-sync replicas",
        "      one two three four five six seven",
        "      fix: mend it",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_that_is_written_over_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": str(NARROW)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", terminal)
    line = ProgressLine()
    line._next = 0.0
    line.show("x" * 100)
    assert terminal.getvalue() == WIPE + "x" * (NARROW - 1)


def test_the_whole_screen_has_long_lines_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "5", "LINES": "4"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    FullScreen(terminal).show(["too long", "", "b", "c"])
    assert "\x1b[Htoo l\x1b[K\nong\x1b[K\n\x1b[K\n\x1b[J" in terminal.getvalue()


def test_a_sign_for_what_is_cut_is_one_that_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "latin-1"))
    assert fitting("abcdefgh", 6) == "abc..."
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    assert fitting("abcdefgh", 6) == "abcde…"
    assert fitting("abcdefgh", 8) == fitting("abcdefgh", None) == "abcdefgh"


# Characters that are missing


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "ops.py").write_text(CODE)
    case = f"{{name: '{FAR}', given: [{{value: {{a: '{FAR}'}}}}], expect: [{{value: {{a: 1}}}}]}}"
    (folder / "p.yaml").write_text(pipeline("operators: [ops:op]", f"tests: [{case}]"))
    (folder / "records.jsonl").write_text(json.dumps({"a": FAR}, ensure_ascii=False) + "\n")
    return folder


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},  # of which click thinks that nobody means it
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=["C", "ascii", "latin-1"],
)
def test_records_are_whole_in_every_locale(project: Path, locale: dict[str, str]) -> None:
    done = _in(project, locale, "try", "p.yaml", "-f", "records.jsonl")
    assert json.loads(done.stdout) == {"a": FAR}
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_a_case_that_fails_is_told_in_every_locale(project: Path) -> None:
    done = _in(project, {"PYTHONIOENCODING": "latin-1"}, "test", "p.yaml")
    assert done.returncode == 1
    assert "Zoë \\u2026 \\ud83d\\ude00" in done.stdout
    assert "Traceback" not in done.stderr


def _in(folder: Path, locale: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    encoding = locale.get("PYTHONIOENCODING", "utf-8").replace("ascii", "utf-8")
    return subprocess.run(
        [*COMMAND, *words],
        cwd=folder,
        env={**os.environ, **locale},
        capture_output=True,
        check=False,
        encoding=encoding,
    )


@pytest.mark.parametrize(
    ("environment", "codes"),
    [
        ({"TERM": "xterm", "NO_COLOR": ""}, {WIPE, "colours"}),
        ({"TERM": "xterm", "NO_COLOR": "1"}, {WIPE}),
        ({"TERM": "dumb", "NO_COLOR": ""}, set[str]()),
    ],
    ids=["terminal", "NO_COLOR", "dumb"],
)
def test_a_line_of_the_log_has_the_codes_that_the_terminal_wants(
    environment: dict[str, str], codes: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", Terminal())
    event = {"event": "begins", "level": "info", "timestamp": "2026", "component": "daemon"}
    line = _ForPeople()(None, "info", event)
    found = {WIPE} if WIPE in line else set[str]()
    if "\x1b" in line.replace(WIPE, ""):
        found |= {"colours"}
    assert found == codes
