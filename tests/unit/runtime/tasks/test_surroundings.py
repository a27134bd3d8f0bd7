"""What an attempt leaves behind in its process, seen by the next one."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

_ATTEMPT: Final = """
import faulthandler, io, os, signal, sys
from kafka_etl.runtime.tasks.exchange import STACKS
from kafka_etl.runtime.tasks.runner.surroundings import Surroundings, handlers_of_ours

reading, writing = os.pipe()
os.dup2(writing, STACKS)
os.set_blocking(reading, False)
faulthandler.enable()
faulthandler.register(signal.SIGUSR1, file=STACKS)
surroundings = Surroundings(handlers_of_ours())
signal.signal(signal.SIGALRM, lambda *_: None)
sys.stderr = io.StringIO()
assert surroundings.restore()
assert sys.stderr is sys.__stderr__
os.kill(os.getpid(), signal.SIGUSR1)
assert b"most recent call first" in os.read(reading, 4096)
"""


def test_stacks_are_shown_after_an_attempt_that_has_changed_signals_and_streams() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ATTEMPT], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
