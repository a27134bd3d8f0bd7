"""Lines of a shell as the command line of `kafka-etl` reads them; nothing is run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import groupby

import typer

from kafka_etl.cli.app import app

PROGRAM = "kafka-etl"
_COMMAND = typer.main.get_command(app)
_INCOMPLETE = {"MissingParameter", "NoArgsIsHelpError"}
_STARTERS = {"exec", "flock", "--"}
"""Words behind which a line names a program that is run elsewhere, or later."""


def lines_of(text: str, *, prompt: bool) -> Iterator[str]:
    """The lines that a shell gets, of a block with or without prompts and outputs."""
    for line in text.replace("\\\n", " ").splitlines():
        if not prompt or line.startswith("$ "):
            yield line.removeprefix("$ ") if prompt else line


def programs_of(line: str) -> Iterator[list[str]]:
    """The words of each program of a line: those of a pipe, behind `&&`, behind `--` …"""
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    for is_end, part in groupby(words, lambda word: set(word) <= set("|&;")):
        if not is_end:
            own = _without_files(list(part))
            yield own
            if PROGRAM in own[1:] and _STARTERS & set(own[: own.index(PROGRAM)]):
                yield own[own.index(PROGRAM) :]


def _without_files(words: list[str]) -> list[str]:
    """The words without `> FILE`."""
    ends = [at for at, word in enumerate(words) if set(word) <= set("<>")]
    return words[: ends[0]] if ends else words


def mistake_in(words: list[str], *, whole: bool = True) -> str | None:
    """What `kafka-etl` would say to these words instead of running, or nothing.

    Args:
        words: The program's name and its arguments.
        whole: Whether all required arguments must be there.
    """
    command, rest, context = _COMMAND, words[1:], None
    name: str | None = PROGRAM
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not hasattr(command, "resolve_command"):
                return None
            rest = [*context._protected_args, *context.args]
            name, command, rest = context.command.resolve_command(context, rest)
    except typer.Exit:  # of `--help` and `--version`
        return None
    except Exception as error:  # noqa: BLE001 - its classes are private to typer
        if type(error).__name__ in _INCOMPLETE and not whole:
            return None
        return str(error) or type(error).__name__
