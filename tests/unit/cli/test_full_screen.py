"""A screen that is drawn anew, and a pipe that is not."""

from __future__ import annotations

import io

import pytest

from kafka_etl.cli.daemon import address as daemon_address
from kafka_etl.cli.daemon import control
from kafka_etl.cli.daemon.full_screen import FullScreen
from kafka_etl.errors import DaemonUnreachable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def size(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TERM": "xterm", "COLUMNS": "5", "LINES": "3"}.items():
        monkeypatch.setenv(name, value)


def test_what_finds_no_room_is_left_out_and_the_shell_gets_its_screen_back() -> None:
    terminal = Terminal()
    screen = FullScreen(terminal)
    screen.show(["too long", "b", "c"])
    screen.close()
    shown = terminal.getvalue()
    assert shown.startswith("\x1b[?1049h")
    assert "\x1b[Htoo l\x1b[K\nong\x1b[K\n\x1b[J" in shown
    assert "b" not in shown
    assert shown.endswith("\x1b[?1049l")


def test_a_pipe_and_a_dumb_terminal_get_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setenv("TERM", "dumb")
    for stream in (pipe, dumb := Terminal()):
        screen = FullScreen(stream)
        screen.show(["too long", "b"])
        screen.close()
    assert pipe.getvalue() == dumb.getvalue() == "too long\nb\n\n"


def test_top_waits_for_a_daemon_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([{"pipelines": []}, DaemonUnreachable("it is gone"), {"pipelines": []}])

    def ask(*_: object) -> object:
        answer = next(answers, None)
        if answer is None:
            raise KeyboardInterrupt
        if isinstance(answer, DaemonUnreachable):
            raise answer
        return answer

    monkeypatch.setattr(daemon_address, "ask", ask)
    control.top(every=0.01)
    shown = capsys.readouterr().out
    assert shown.count("NAME") == 2
    assert "it is gone" in shown
