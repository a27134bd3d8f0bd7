"""What an attempt changes in its process, and the next attempt in that process does not meet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.tasks.rows import decode_rows
from kafka_etl.tasks.words import Ended, Result
from tests.kit.keeper import OwnerEnd, RunningKeeper

CODE = """
    import io, os, signal, sys

    def job(value: dict) -> dict:
        return globals()[value["do"]]()

    def looks():
        print("looks")
        return {
            "pid": os.getpid(),
            "folder": os.getcwd(),
            "umask": os.umask(0o22),
            "left": os.environ.get("LEFT"),
            "path": os.environ["PATH"],
            "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
            "handlers": {str(int(n)): str(signal.getsignal(n)) for n in signal.valid_signals()},
            "timer": signal.getitimer(signal.ITIMER_REAL)[0],
            "output": sys.stdout.fileno(),
        }

    def changes():
        os.chdir("/")
        os.umask(0o77)
        os.environ["LEFT"] = "1"
        os.environ["PATH"] = "/nowhere"
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
        signal.alarm(100)
        sys.stdout = io.StringIO()
        return {"pid": os.getpid()}

    def closes_the_stream():
        sys.stdout.close()
        return {"pid": os.getpid()}

    def closes_descriptors():
        os.close(1), os.close(2)
        return {"pid": os.getpid()}

    def redirects():
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
        return {"pid": os.getpid()}
"""


def run(owner: OwnerEnd, token: str, do: str) -> Any:
    owner.grant(token, {"do": do})
    heard = owner.last(token)
    assert isinstance(heard.word, Result), heard.word
    owner.acknowledge(token)
    return json.loads(decode_rows(heard.value or b"")[0].value or b"")


def test_the_next_attempt_finds_the_process_as_the_first_one_did(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE, slots=1) as keeper:
        owner = keeper.owner()
        before = run(owner, "a", "looks")
        assert run(owner, "b", "changes") == {"pid": before["pid"]}

        assert run(owner, "c", "looks") == before
        owner.grant("d", {"do": "looks"})
        assert isinstance(owner.last("d").word, Result)


@pytest.mark.parametrize("do", ["closes_the_stream", "closes_descriptors", "redirects"])
def test_a_process_without_its_output_serves_no_other_attempt(tmp_path: Path, do: str) -> None:
    with RunningKeeper(tmp_path, CODE, slots=1) as keeper:
        owner = keeper.owner()
        before = run(owner, "a", do)

        assert run(owner, "b", "looks")["pid"] != before["pid"]


def test_a_stop_still_reaches_a_process_after_an_attempt_that_blocked_signals(
    tmp_path: Path,
) -> None:
    code = (
        CODE
        + """
    def sleeps():
        import time
        time.sleep(60)
    """
    )
    with RunningKeeper(tmp_path, code, slots=1, stop_grace=30.0) as keeper:
        owner = keeper.owner()
        run(owner, "a", "changes")
        owner.grant("b", {"do": "sleeps"})
        owner.started("b")
        owner.halt("b", force=True)

        word = owner.last("b", 10).word
        assert isinstance(word, Ended)
        assert word.why == "stopped"
