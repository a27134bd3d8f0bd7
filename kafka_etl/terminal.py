"""The terminal: how wide stdout is, and whether a line of stderr can be written over."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

WIPE: Final = "\r\x1b[2K"
"""Takes a terminal's cursor back to the beginning of its line, and clears that."""


def overwrites() -> bool:
    """Whether stderr is a terminal on which a line can be written over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def columns() -> int | None:
    """The width of the terminal behind stdout; None: stdout is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
