"""The `Context` of an operator: stop, progress, folder, external programs."""

from __future__ import annotations

import pickle
import signal
import sys
import time
from pathlib import Path
from threading import Thread
from types import FrameType

import pytest

from kafka_etl import Context
from kafka_etl.errors import ProgramFailed, Stopped
from kafka_etl.functions.context import StopSign


def test_outside_of_tasks_nobody_stops_and_nobody_listens() -> None:
    context = Context()
    context.check()
    context.progress(0.5, "half")

    assert not context.stopped.is_set()
    assert not context.stopped.wait(0.01)
    assert context.folder.is_dir()
    assert context.folder == context.folder


def test_the_facts_can_be_sent_to_other_processes(tmp_path: Path) -> None:
    context = Context("p", "o", "w", 3, "task", 2, 5.0, scratch=tmp_path)
    context.stopped.set()

    sent: Context = pickle.loads(pickle.dumps(context))  # noqa: S301 - our own bytes

    assert sent == context
    assert not sent.stopped


def test_a_stop_wakes_everybody_who_waits() -> None:
    sign = StopSign()
    woken: list[bool] = []
    threads = [Thread(target=lambda: woken.append(sign.wait(10))) for _ in range(3)]
    for thread in threads:
        thread.start()
    sign.set()
    for thread in threads:
        thread.join()

    assert woken == [True] * 3
    assert sign.wait(0)


def test_a_signal_handler_may_set_the_sign_that_its_thread_waits_for() -> None:
    sign = StopSign()

    def ring(_number: int, _frame: FrameType | None) -> None:
        sign.set()

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert sign.wait(10)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_stopped_attempt_raises_where_it_checks() -> None:
    context = Context()
    context.stopped.set()

    with pytest.raises(Stopped):
        context.check()
    with pytest.raises(Stopped):
        context.run(["true"])


def test_the_folder_is_made_where_the_framework_says(tmp_path: Path) -> None:
    context = Context(scratch=tmp_path / "a" / "b")

    assert not (tmp_path / "a").exists()
    assert context.folder == tmp_path / "a" / "b"
    assert context.folder.is_dir()


def test_a_program_has_no_input_and_its_output_may_be_captured(tmp_path: Path) -> None:
    context = Context()
    script = 'cat; printf "$NAME in "; pwd'

    output = context.run(
        ["sh", "-c", script], folder=tmp_path, environment={"NAME": "me"}, capture=True
    )

    assert output == f"me in {tmp_path}\n".encode()


def test_a_large_output_is_captured_whole() -> None:
    command = [sys.executable, "-c", "import sys; sys.stdout.write('x' * 3_000_000)"]

    assert len(Context().run(command, capture=True)) == 3_000_000


def test_a_program_is_heard_line_by_line_while_it_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = 'echo first; until [ -e "$0" ]; do sleep 0.01; done; printf "1%%\\r2%%\\r\\nlast"'
    heard: list[str] = []

    def hear(line: str) -> None:
        heard.append(line)
        gate.touch()  # for which the program waits: it is heard before its end, or never ends

    assert Context().run(["sh", "-c", script, str(gate)], on_line=hear) == b""
    assert heard == ["first", "1%", "2%", "last"]


def test_a_line_without_end_is_heard_in_parts_and_captured_whole() -> None:
    heard: list[str] = []

    output = Context().run(
        ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], capture=True, on_line=heard.append
    )

    assert len(output) == 3_000_000
    assert "".join(heard) == output.decode()
    assert max(map(len, heard)) < 200_000


def test_an_error_of_the_listener_ends_the_program() -> None:
    begun = time.monotonic()

    def refuse(line: str) -> None:
        raise ValueError(line)

    with pytest.raises(ValueError, match="hello"):
        Context().run(["sh", "-c", "echo hello; sleep 20"], on_line=refuse)
    assert time.monotonic() - begun < 15


def test_the_error_of_a_program_has_the_end_of_what_it_said(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ProgramFailed) as raised:
        Context().run(["sh", "-c", "seq 10000 >&2; exit 5"])

    assert raised.value.exit_status == 5
    assert raised.value.stderr.endswith("9999\n10000\n")
    assert len(raised.value.stderr) <= 4096
    assert str(raised.value).startswith("sh: exit status 5\n")
    assert len(capfd.readouterr().err.splitlines()) == 10_000


def test_a_program_that_a_signal_kills_says_so() -> None:
    with pytest.raises(ProgramFailed, match="killed by signal 9"):
        Context().run(["sh", "-c", "kill -9 $$"])


def test_a_child_that_holds_the_output_does_not_hold_the_operator() -> None:
    begun = time.monotonic()

    assert Context().run(["sh", "-c", "sleep 5 & echo done"], capture=True) == b"done\n"
    assert time.monotonic() - begun < 4


def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        Context().run(["no-such-program-at-all"])
