"""Children whose own parents have died."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from kafka_etl.runtime.tasks import orphans as module
from kafka_etl.runtime.tasks.orphans import Orphans, children_of


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_children_are_found_until_they_end(child: subprocess.Popen[bytes]) -> None:
    assert child.pid in children_of(os.getpid())
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now

    assert child.pid not in children_of(os.getpid())


def test_those_that_are_known_are_spared(child: subprocess.Popen[bytes]) -> None:
    others = children_of(os.getpid()) - {child.pid}

    assert Orphans().sweep({child.pid, *others})
    assert child.poll() is None


def test_the_others_are_killed_and_waited_for(child: subprocess.Popen[bytes]) -> None:
    others = children_of(os.getpid()) - {child.pid}
    orphans = Orphans()
    while not orphans.sweep(others):
        time.sleep(0.01)

    assert child.wait(5) == -9


def ignored(_pid: int, _signal: int) -> None:
    """Stands for `os.kill` where the process takes no notice."""


def test_an_orphan_that_cannot_be_killed_is_not_waited_for_for_ever(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = children_of(os.getpid()) - {child.pid}
    orphans = Orphans()
    with monkeypatch.context() as powerless:
        powerless.setattr(module, "_PATIENCE", 0.2)
        powerless.setattr(os, "kill", ignored)
        assert not orphans.sweep(others)
        time.sleep(0.3)
        assert orphans.sweep(others)
