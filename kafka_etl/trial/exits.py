"""Tells of operators that end the process, which is then that of a trial."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Generator
from typing import Final, NoReturn

_FAILED: Final = 1


@contextlib.contextmanager
def exits_told() -> Generator[None]:
    """Within the block, say it on standard error when user code calls `os._exit`.

    That call ends the process without a word, and perhaps with a status that means success. The
    status becomes 1. Processes that were forked meanwhile end as ever.
    """
    end, process = os._exit, os.getpid()

    def told(status: int) -> NoReturn:
        if os.getpid() != process:
            end(status)
        caller = traceback.extract_stack(limit=2)[0]
        place = f"{caller.filename}:{caller.lineno}"
        sys.stdout.flush()
        said = f"the operator ended the process: os._exit({status}) at {place}\n"
        os.write(2, said.encode())
        end(_FAILED)

    os._exit = told
    try:
        yield
    finally:
        os._exit = end
