"""Limits of attempts, kept by a real keeper that has no control groups."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.tasks.limits import Limits
from kafka_etl.tasks.words import Ended, Result
from tests.kit.keeper import OwnerEnd, RunningKeeper, is_running

MIB = 2**20
CODE = """
    import subprocess, sys, time
    from pathlib import Path

    EATS = "import sys, time; kept = bytearray(b'x') * int(sys.argv[1]); time.sleep(60)"
    BURNS = "while True: pass"

    def child(code, *words):
        return subprocess.Popen([sys.executable, "-c", code, *words], start_new_session=True)

    def job(value: dict) -> dict:
        return globals()[value["do"]](value) or {}

    def eats(value):
        kept = bytearray(b"x") * value["size"]
        time.sleep(value.get("stays", 60))

    def eats_in_children(value):
        pids = [child(EATS, str(value["size"])).pid for _ in range(2)]
        Path(value["file"]).write_text(" ".join(map(str, pids)))
        time.sleep(60)

    def burns(value):
        until = time.process_time() + value.get("seconds", 60)
        while time.process_time() < until:
            pass

    def burns_in_a_child(value):
        Path(value["file"]).write_text(str(child(BURNS).pid))
        time.sleep(60)
"""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKeeper]:
    folder = tmp_path_factory.mktemp("limits")
    limits = Limits(memory=300 * MIB, cpu=2.0)
    with RunningKeeper(folder, CODE, slots=2, timeout=60.0, stop_grace=1.0, limits=limits) as it:
        yield it


@pytest.fixture
def owner(keeper: RunningKeeper) -> Iterator[OwnerEnd]:
    end = keeper.owner()
    yield end
    end.close()


def failure(owner: OwnerEnd, token: str) -> Any:
    word = owner.last(token, 30).word
    owner.acknowledge(token)
    assert isinstance(word, Ended), word
    assert word.why == "died", "it counts"
    return word.error


def pids_in(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()]


def test_an_attempt_that_uses_too_much_memory_is_killed_and_its_neighbour_is_not(
    owner: OwnerEnd,
) -> None:
    owner.grant("beside", {"do": "eats", "size": 10 * MIB, "stays": 5})
    owner.grant("eats", {"do": "eats", "size": 400 * MIB})

    error = failure(owner, "eats")

    assert error.type == "MemoryLimit"
    assert "MiB of memory with its processes; `limits.memory` is 300MiB" in error.message
    assert isinstance(owner.last("beside").word, Result)
    owner.acknowledge("beside")


def test_the_memory_of_all_processes_counts(owner: OwnerEnd, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    owner.grant("tree", {"do": "eats_in_children", "size": 150 * MIB, "file": str(file)})

    assert failure(owner, "tree").type == "MemoryLimit"
    assert not [pid for pid in pids_in(file) if is_running(pid)]


@pytest.mark.parametrize("do", ["burns", "burns_in_a_child"])
def test_an_attempt_that_uses_too_much_cpu_time_is_ended(
    owner: OwnerEnd, tmp_path: Path, do: str
) -> None:
    file = tmp_path / "pids"
    file.touch()
    owner.grant(do, {"do": do, "file": str(file)})

    error = failure(owner, do)

    assert error.type == "CpuLimit"
    assert "of CPU time with its processes; `limits.cpu` is 2s" in error.message
    assert not [pid for pid in pids_in(file) if is_running(pid)]


def test_a_process_pays_for_no_attempt_but_the_present_one(owner: OwnerEnd) -> None:
    for number in range(4):
        owner.grant(f"part-{number}", {"do": "burns", "seconds": 1.0})

        assert isinstance(owner.last(f"part-{number}", 30).word, Result)
        owner.acknowledge(f"part-{number}")


def test_a_process_that_has_grown_serves_no_other_attempt(owner: OwnerEnd) -> None:
    owner.grant("grows", {"do": "eats", "size": 200 * MIB, "stays": 1.5})
    pid = owner.started("grows").word.pid
    assert isinstance(owner.last("grows").word, Result)
    owner.acknowledge("grows")
    until = time.monotonic() + 10
    while is_running(pid):
        assert time.monotonic() < until
        time.sleep(0.05)
