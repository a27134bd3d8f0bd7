"""Finds the daemon that a command is meant for, and sends requests to the daemon."""

from __future__ import annotations

import socket
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import orjson

from kafka_etl.cli.options import DEFAULT_HTTP, parse_address
from kafka_etl.errors import ConfigError, DaemonUnreachable, Problem, UnknownPipeline, error_of
from kafka_etl.runtime.daemon.control_socket import address_of, path_in
from kafka_etl.runtime.daemon.state_folder import default_folder

_STARTS_WITHIN: Final = 2.0
"""The longest time, in seconds, from the start of a daemon until it listens on its address."""
_ANSWERS_WITHIN: Final = 30.0
"""The longest time, in seconds, until a daemon that starts on a busy machine answers."""


class _ControlConnection(HTTPConnection):
    """An HTTP connection through the control socket in a daemon's state folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWERS_WITHIN)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWERS_WITHIN)
        with address_of(self._path) as address:
            self.sock.connect(address)


def ask(http: str | None, state_dir: Path | None, method: str, path: str) -> Any:
    """Send a request to the daemon and return the answer as data.

    Raises:
        DaemonUnreachable: No daemon answers at the address.
        KafkaEtlError: The daemon answered with an error, which is raised here.
    """
    address, connection = connect(http, state_dir)
    stranger = f"something else than a daemon answers at {address}"
    try:
        connection.request(method, path)
        answer = connection.getresponse().read()
    except OSError as error:
        raise DaemonUnreachable(f"no daemon answers at {address}: {error}") from error
    except HTTPException as error:
        raise DaemonUnreachable(stranger) from error
    finally:
        connection.close()
    try:
        data = orjson.loads(answer)
    except orjson.JSONDecodeError:
        data = None
    match data:
        case {"pipelines": list()} | {"pipeline": str(), "id": str(), "settled": bool()}:
            return data
        case {"error": {"code": str(code), "what": str(what), "next_step": str(next_step)}}:
            raise error_of(Problem(code, what, next_step))
        case _:  # any program may listen on the port
            raise DaemonUnreachable(stranger)


def file_of(name: str, http: str | None, state_dir: Path | None) -> Path:
    """Return the file of a pipeline that runs in a daemon.

    Raises:
        UnknownPipeline: The daemon runs no pipeline of this name.
        ConfigError: The file is not on this machine.
        DaemonUnreachable: No daemon answers at the address.
    """
    pipelines = ask(http, state_dir, "GET", "/pipelines")["pipelines"]
    files = {pipeline["name"]: Path(pipeline["file"]) for pipeline in pipelines}
    if name not in files:
        raise UnknownPipeline(f"the daemon runs no pipeline `{name}`, but {', '.join(files)}")
    if not files[name].is_file():
        raise ConfigError(
            f"the daemon reads {name} from {files[name]}, which is not on this machine",
            "Name a copy of the file instead of the pipeline.",
        )
    return files[name]


def connect(http: str | None, state_dir: Path | None) -> tuple[str, HTTPConnection]:
    """Connect to the daemon; wait a moment for a daemon that is about to listen.

    A daemon listens on its address early in its start, and answers once its start is complete.

    Returns:
        The address in words, and the open connection.

    Raises:
        DaemonUnreachable: No process accepts a connection at the address.
    """
    deadline = time.monotonic() + _STARTS_WITHIN
    while True:
        address, connection = candidate(http, state_dir)
        try:
            connection.connect()
            return address, connection
        except OSError as error:
            connection.close()
            starting = isinstance(error, ConnectionRefusedError | FileNotFoundError)
            if not starting or time.monotonic() > deadline:
                raise DaemonUnreachable(f"no daemon answers at {address}: {error}") from error
            time.sleep(0.05)


def candidate(http: str | None, state_dir: Path | None) -> tuple[str, HTTPConnection]:
    """Return the daemon's address in words, and a connection that is not open yet.

    The address is the first of: `http`; the control socket in the state folder, if a daemon listens
    on the socket; the default HTTP address. If `state_dir` is given, only its socket is tried: at
    the default address another daemon might take the order.
    """
    if http is None:
        path = path_in(state_dir or default_folder())
        if state_dir is not None or _answers(path):
            return str(path), _ControlConnection(path)
    host, port = parse_address(http or DEFAULT_HTTP)
    return http or DEFAULT_HTTP, HTTPConnection(host, port, timeout=_ANSWERS_WITHIN)


def _answers(path: Path) -> bool:
    """Whether a daemon listens on the socket: a killed daemon leaves the socket's file behind."""
    connection = _ControlConnection(path)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True
