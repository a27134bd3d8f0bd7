"""Options, arguments and parsers that several commands share."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket

DEFAULT_HTTP = "127.0.0.1:8321"
_LAST_PORT = 65_535

Paths = Annotated[
    list[Path], typer.Argument(help="Pipeline files, or folders of them.", metavar="PATH")
]
Sets = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting of the files, such as source.with.group=other.",
    ),
]
HttpOfDaemon = Annotated[
    str | None,
    typer.Option(
        "--http",
        metavar="HOST:PORT",
        help=f"The daemon's address; default: its socket in --state-dir, else {DEFAULT_HTTP}.",
    ),
]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", metavar="DIR", help="Where the daemon keeps its state."),
]


def show_address(listener: socket.socket) -> str:
    """Return HOST:PORT of a listening socket; the port is the real one, also for port 0."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def random_id(size: int) -> str:
    """Return a name of `size` random bytes, in hexadecimal digits."""
    import secrets

    return secrets.token_hex(size)


def program() -> str:
    """Return the command that calls this program from the current folder."""
    own = Path(sys.executable).with_name("kafka-etl")
    if not own.exists():
        return f"{sys.executable} -m kafka_etl"
    found = shutil.which("kafka-etl")
    if found is not None and own.samefile(found):
        return "kafka-etl"
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)


def parse_sets(sets: list[str]) -> dict[str, str]:
    """Parse texts of the form KEY=VALUE into a mapping.

    Raises:
        typer.BadParameter: A text does not have this form.
    """
    parsed: dict[str, str] = {}
    for text in sets:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise typer.BadParameter(f"`{text}` is not KEY=VALUE", param_hint="--set")
        parsed[key] = value
    return parsed


def parse_address(text: str) -> tuple[str, int]:
    """Parse HOST:PORT into a pair; an empty host stands for 127.0.0.1.

    Raises:
        typer.BadParameter: The text does not have this form.
    """
    host, separator, port = text.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > _LAST_PORT:
        raise typer.BadParameter(f"`{text}` is not HOST:PORT", param_hint="--http")
    return host.strip("[]") or "127.0.0.1", int(port)
