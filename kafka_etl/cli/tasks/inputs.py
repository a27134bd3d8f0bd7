"""The input of a task, from the options of a command."""

from __future__ import annotations

import sys
from pathlib import Path

import typer


def read_input(text: str | None, file: str | None, option: str) -> bytes:
    """Read the input.

    Args:
        text: The input as text.
        file: The file that has it; -: standard input.
        option: The option for a text.

    Raises:
        typer.BadParameter: There is none, or two, or the file cannot be read.
    """
    if (text is None) == (file is None):
        said = f"give the input: either {option} JSON, or -f FILE"
        raise typer.BadParameter(said, param_hint=option)
    if text is not None:
        return text.encode("utf-8", "surrogateescape")
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file or "").read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="-f") from error
