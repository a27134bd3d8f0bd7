"""The terminal behind stderr, on which one line of progress is written over again and again."""

from __future__ import annotations

import os
import sys
from typing import Final

WIPE: Final = "\r\x1b[2K"
"""Takes a terminal's cursor back to the beginning of its line, and clears that."""


def overwrites() -> bool:
    """Whether stderr is a terminal on which a line can be written over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
