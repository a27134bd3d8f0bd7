"""The daemon's side of the processes that answer requests about tasks."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.runtime.daemon import clerks as module
from kafka_etl.runtime.daemon.clerks import Clerks

_CLERK = """
import os
from kafka_etl.runtime.child import next_task, task_of_child

_, connection = task_of_child()
while True:
    connection.send(os.getpid())
    next_task(connection)
"""


def test_a_clerk_that_has_died_without_a_request_costs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_clerk.py").write_text(_CLERK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module, "_MODULE", "a_clerk")
    monkeypatch.setattr(module, "_CLERKS", 1)
    asked: Any = "who are you?"
    clerks = Clerks()
    try:
        first: Any = clerks.ask(asked)
        assert clerks.ask(asked) == first
        os.kill(first, signal.SIGKILL)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        assert clerks.ask(asked) != first
    finally:
        clerks.close()
