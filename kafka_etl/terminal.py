"""The terminal: its width, lines that are written over, and characters that it cannot show."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import textwrap
from io import TextIOWrapper
from typing import Final

WIPE: Final = "\r\x1b[2K"
"""Takes a terminal's cursor back to the beginning of its line, and clears that."""
NARROW: Final = 60
"""Columns of a terminal for which a table of several columns is too wide."""
_ESCAPED: Final = "kafka_etl.escaped"
"""Name of the way in which unknown characters are written."""


def overwrites() -> bool:
    """Whether stderr is a terminal on which a line can be written over."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def overwrite(line: str) -> None:
    """Write a line over the last one on stderr, as much of it as fits: a wrapped one would stay."""
    sys.stderr.write(WIPE + line[: _width_of_stderr() - 1])
    sys.stderr.flush()


def columns() -> int | None:
    """The width of the terminal behind stdout; None: stdout is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitting(line: str, width: int | None) -> str:
    """The beginning of a line that fits into a width, with a sign that it goes on.

    Args:
        line: The line.
        width: Number of columns; None: the line stays as it is.
    """
    if width is None or len(line) <= width:
        return line
    sign = "…" if _encodes("…") else "..."
    return line[: width - len(sign)] + sign


def is_narrow(width: int | None) -> bool:
    """Whether a terminal is too narrow for a table; None: the output is no terminal."""
    return width is not None and width < NARROW


def wrapped(text: str, width: int, indent: str = "", head: str | None = None) -> list[str]:
    """The lines of a text that fit into a width, by whole words: a long one is left whole.

    Args:
        text: The text.
        width: Number of columns.
        indent: What each line begins with.
        head: What the first line begins with; None: as the others.
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=indent if head is None else head,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def escape_unknown_characters() -> None:
    r"""Have stdout write characters that its encoding lacks as `\u00e9`, which JSON also reads."""
    stream = sys.stdout
    if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
        codecs.register_error(_ESCAPED, _escaped)
        stream.reconfigure(errors=_ESCAPED)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    units = unknown.encode("utf-16-be", "surrogatepass")
    pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
    return "".join(f"\\u{pair}" for pair in pairs), error.end


def _encodes(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _width_of_stderr() -> int:
    """The width of the terminal behind stderr, since stdout may be a pipe."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        width = 0
    return width or shutil.get_terminal_size().columns
