"""A terminal whose whole screen is drawn anew, again and again, without flicker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import islice
from typing import Final, TextIO

_BEGIN: Final = "\x1b[?1049h\x1b[?25l"
"""Another screen than that of the shell, without a cursor."""
_END: Final = "\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class FullScreen:
    """The screen of a terminal; in a pipe, or on a dumb terminal, what is shown follows each other.

    Args:
        stream: Where it is shown.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._draws = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        if self._draws:
            stream.write(_BEGIN)

    def show(self, lines: Sequence[str]) -> None:
        """Draw these lines, long ones on several; those that find no room are left out."""
        if self._draws:
            size = shutil.get_terminal_size()
            parts = (part for line in lines for part in _parts(line, size.columns))
            cut = islice(parts, size.lines - 1)
            self._stream.write(_HOME + "".join(f"{line}{_END_OF_LINE}\n" for line in cut) + _BELOW)
        else:
            self._stream.write("".join(f"{line}\n" for line in [*lines, ""]))
        self._stream.flush()

    def close(self) -> None:
        """Give the shell its screen back."""
        if self._draws:
            self._stream.write(_END)
            self._stream.flush()


def _parts(line: str, width: int) -> list[str]:
    """A line in parts that fit: a terminal that wraps it itself would count another number."""
    return [line[at : at + width] for at in range(0, max(1, len(line)), width)]
