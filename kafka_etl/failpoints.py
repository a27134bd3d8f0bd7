"""Named places where a test can make this process die, stop, wait or raise. No-ops unless armed.

`KAFKA_ETL_FAIL=after_send_offsets:kill@3` kills the process the third time it passes that place;
several are separated by commas. Actions: `kill` (SIGKILL), `stop` (SIGSTOP), `exit` (status 1),
`raise`, and `sleep=SECONDS`.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final


class FailpointError(Exception):
    """Raised by a failpoint whose action is `raise`."""


class _Armed:
    def __init__(self, action: str, passes: int) -> None:
        self._action = action
        self._left = passes

    def hit(self) -> None:
        self._left -= 1
        if self._left != 0:
            return
        name, _, argument = self._action.partition("=")
        match name:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "exit":
                os._exit(1)
            case "sleep":
                time.sleep(float(argument))
            case "raise":
                raise FailpointError
            case _:
                raise ValueError(f"unknown failpoint action {self._action!r}")


def _parse(text: str) -> dict[str, _Armed]:
    armed: dict[str, _Armed] = {}
    for entry in filter(None, text.split(",")):
        place, _, what = entry.partition(":")
        action, _, passes = what.partition("@")
        armed[place] = _Armed(action, int(passes or 1))
    return armed


_ARMED: Final = _parse(os.environ.get("KAFKA_ETL_FAIL", ""))


def failpoint(place: str) -> None:
    """Pass a named place: costs a dictionary look-up, once per batch."""
    if place in _ARMED:
        _ARMED[place].hit()
