"""Runs external programs on behalf of an operator."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from kafka_etl.errors import ProgramFailed

_TAIL: Final = 4096
"""The last bytes of standard error that the error of a program holds."""
_CHUNK: Final = 65536
_LOOK_EVERY: Final = 0.05
"""Seconds between two looks at a program that says nothing."""


def run_program(
    command: Sequence[str | os.PathLike[str]],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    capture: bool = False,
    on_line: Callable[[str], None] | None = None,
) -> bytes:
    """Run a program to its end, in our process group, with nothing on its standard input.

    The program's standard error is passed on to ours, and so is its standard output unless somebody
    wants the output. A process that the program leaves behind may hold both open: the end of the
    program is the end of the wait.

    Args:
        command: The program and its arguments; no shell is involved.
        folder: Working directory; None: ours.
        environment: Variables beside our own.
        capture: Whether to return the standard output.
        on_line: Is called with each line of the standard output, as soon as the program has written
            the line.

    Returns:
        The standard output if it is captured, else nothing.

    Raises:
        ProgramFailed: The program's exit status is not 0.
        OSError: The program cannot be started.
    """
    program = subprocess.Popen(  # noqa: S603 - the operator's own program
        list(command),
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture or on_line is not None else None,
        stderr=subprocess.PIPE,
    )
    output = bytearray()
    lines = _Lines(on_line or _ignore)

    def take(chunk: bytes) -> None:
        lines.take(chunk)
        if capture:
            output.extend(chunk)

    try:
        said = _listen(program, take)
    except BaseException:
        program.kill()
        program.wait()
        raise
    finally:
        for pipe in (program.stdout, program.stderr):
            if pipe is not None:
                pipe.close()
    if program.returncode != 0:
        raise ProgramFailed(os.fspath(command[0]), program.returncode, said)
    lines.end()
    return bytes(output)


class _Lines:
    """Cuts output into lines; a carriage return ends a line, too, and empty lines are left out.

    Args:
        tell: Is called with each line.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = b""

    def take(self, chunk: bytes) -> None:
        """Take the next bytes; an overlong line is told in parts."""
        *lines, rest = (self._rest + chunk.replace(b"\r", b"\n")).split(b"\n")
        self._rest = rest if len(rest) < _CHUNK else b""
        for line in lines if self._rest else [*lines, rest]:
            if line:
                self._tell(line.decode("utf-8", "replace"))

    def end(self) -> None:
        """The output has ended, maybe within a line."""
        if self._rest:
            self._tell(self._rest.decode("utf-8", "replace"))


def _listen(program: subprocess.Popen[bytes], take: Callable[[bytes], None]) -> str:
    """Read what the program writes until the program has ended.

    Args:
        program: The program.
        take: Takes its standard output.

    Returns:
        The last of the standard error.
    """
    tail = bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, taker in ((program.stdout, take), (program.stderr, tail.extend)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, taker)
        while True:
            has_ended = program.poll() is not None
            for key, _ in selector.select(0 if has_ended else _LOOK_EVERY):
                chunk = os.read(key.fd, _CHUNK)
                key.data(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data == tail.extend:
                    _pass_on(chunk)
                    del tail[:-_TAIL]
            if has_ended:
                return tail.decode("utf-8", "replace")
            if not selector.get_map():
                program.wait()


def _pass_on(chunk: bytes) -> None:
    sys.stderr.buffer.write(chunk)
    sys.stderr.buffer.flush()


def _ignore(_line: str) -> None:
    """Stands for a listener where nobody listens."""
