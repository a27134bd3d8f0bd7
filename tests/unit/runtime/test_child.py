"""Processes of ours, and what operators start in them: all of it ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kafka_etl.runtime import process_family
from kafka_etl.runtime.child import Child, OperatorChild

OPERATOR = """
    import os, subprocess, sys, time
    from pathlib import Path
    from kafka_etl.runtime.child import OperatorChild, task_of_child

    HERE = Path(__file__).parent
    STARTS = {
        "plain": lambda: subprocess.Popen(["sleep", "1000"]),
        "shell": lambda: subprocess.run("sleep 1000 & echo $! >&2", shell=True),
        "session": lambda: subprocess.Popen(["sleep", "1000"], start_new_session=True),
        "orphan": lambda: subprocess.run("setsid sleep 1000 & ", shell=True),
        "no environment": lambda: subprocess.Popen(["sleep", "1000"], env={}),
        "nothing": lambda: None,
        "isolated": lambda: OperatorChild("family_operator").send("session"),
    }

    if __name__ == "__main__":
        task, connection = task_of_child()
        kept = STARTS[task]()
        (HERE / "started").touch()
        if task == "nothing":
            sys.exit(0)
        time.sleep(1000)
"""

WAYS = ["plain", "shell", "session", "orphan", "no environment", "isolated"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the module of a child; whatever a test leaves behind is killed."""
    (tmp_path / "family_operator.py").write_text(textwrap.dedent(OPERATOR))
    paths = [str(tmp_path), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv(process_family.VARIABLE, f"test-{os.getpid()}-{tmp_path.name}")
    yield tmp_path
    process_family.kill_family(os.environ[process_family.VARIABLE])


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sleepers(group: int = 0) -> list[int]:
    """Processes `sleep 1000` of this test: by family, or by the group if they have left it."""
    found = [
        pid
        for pid in process_family.members(os.environ[process_family.VARIABLE])
        if command(pid).startswith("sleep")
    ]
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "-g", str(group)], capture_output=True, text=True, check=False
    ).stdout
    in_group = [int(line.split()[0]) for line in listed.splitlines() if " sleep 1000" in line]
    return sorted({*found, *in_group})


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("killed_by", ["us", "somebody"])
def test_what_an_operator_has_started_ends_with_its_worker(
    folder: Path, way: str, killed_by: str
) -> None:
    child = Child("family_operator")
    child.send(way)
    until(lambda: (folder / "started").exists() and sleepers(child.pid))
    if killed_by == "us":
        child.kill()
    else:
        os.kill(child.pid, signal.SIGKILL)
    until(lambda: child.exit_status() is not None)
    assert child.exit_status() == -signal.SIGKILL
    until(lambda: not sleepers(child.pid))
    child.close()


@pytest.mark.parametrize("way", ["plain", "session"])
def test_what_an_isolated_operator_has_started_ends_with_its_process(
    folder: Path, way: str
) -> None:
    child = OperatorChild("family_operator")
    child.send(way)
    until(lambda: (folder / "started").exists() and sleepers())
    assert child.end() == "killed by SIGKILL"
    until(lambda: not sleepers())
    child.close()


def test_others_live(folder: Path) -> None:
    first, second = Child("family_operator"), Child("family_operator")
    second.send("session")
    until(lambda: (folder / "started").exists() and sleepers())
    first.send("nothing")
    until(lambda: first.exit_status() is not None)
    assert first.exit_status() == 0
    assert second.exit_status() is None
    assert sleepers()
    second.end()
    for child in (first, second):
        child.close()


def test_a_signal_reaches_the_child_alone(folder: Path) -> None:
    """SIGTERM drains a worker, which may still need what its operators have started."""
    child = Child("family_operator")
    child.send("plain")
    until(lambda: (folder / "started").exists() and sleepers())
    (sleeper,) = sleepers()
    os.kill(child.pid, signal.SIGSTOP)
    child.signal(signal.SIGTERM)
    assert sleepers() == [sleeper]
    child.end()
    child.signal(signal.SIGTERM)  # it is gone, and nobody else is meant
    child.close()


DAEMON = """
    import sys, time
    from pathlib import Path
    from kafka_etl.runtime import process_family
    from kafka_etl.runtime.child import Child

    process_family.found(Path(sys.argv[1]))
    child = Child("family_operator")
    child.send(sys.argv[2])
    time.sleep(1000)
"""


@pytest.mark.parametrize("way", ["plain", "shell", "session", "isolated"])
def test_what_a_killed_daemon_left_is_killed_by_the_next_one(
    folder: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = folder / "state"
    state.mkdir()
    code = textwrap.dedent(DAEMON)
    with subprocess.Popen([sys.executable, "-c", code, str(state), way]) as daemon:
        until((folder / "started").exists)
        daemon.kill()
    monkeypatch.setenv(process_family.VARIABLE, "somebody")
    (folder / "other").mkdir()
    process_family.found(folder / "other")
    family = f"{state.stat().st_dev:x}-{state.stat().st_ino:x}"
    until(lambda: any(command(pid).startswith("sleep") for pid in process_family.members(family)))
    process_family.found(state)
    assert os.environ[process_family.VARIABLE] == family
    until(lambda: not process_family.members(family))
