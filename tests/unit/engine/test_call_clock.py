"""What the process of an operator has in hand, read while it is written."""

from __future__ import annotations

import os
import subprocess
import sys

from kafka_etl.engine.pools.call_clock import CallClock, SharedCallClock

WRITER = """
import sys
from kafka_etl.engine.pools.call_clock import CallClock
hand = CallClock(int(sys.argv[1]))
for time in range(1, 300_001):
    hand.begin(time, 1000 + time)
    hand.rest()
"""


def test_it_can_be_read_after_the_death_of_its_writer() -> None:
    hand = SharedCallClock()
    deed = (
        "import os, sys; from kafka_etl.engine.pools.call_clock import CallClock; "
        "CallClock(int(sys.argv[1])).begin"
    )
    subprocess.run(
        [sys.executable, "-c", f"{deed}(7, 123); os.kill(os.getpid(), 9)", str(hand.file)],
        pass_fds=[hand.file],
        check=False,
    )
    assert hand.read() == (7, 123)
    hand.rest()
    assert hand.read()[0] == 0
    hand.close()


def test_no_call_looks_older_than_it_is() -> None:
    hand = SharedCallClock()
    again = CallClock(os.dup(hand.file))
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(hand.file)], pass_fds=[hand.file]
    ) as writer:
        while writer.poll() is None:
            for _ in range(1000):
                number, since = again.read()
                assert number == 0 or since >= 1000 + number
    hand.close()
