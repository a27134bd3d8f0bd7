"""A real keeper with real runners, and an owner's end of its socket; no Kafka."""

from __future__ import annotations

import json
import signal
import socket
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from kafka_etl.config.document import Document
from kafka_etl.runtime import process_family
from kafka_etl.runtime.child import Child
from kafka_etl.runtime.messages import KeeperTask, Listening, LogSettings
from kafka_etl.tasks.keeping import (
    Acknowledged,
    Attach,
    FromKeeper,
    FromOwner,
    Grant,
    Halt,
    Holding,
    Instant,
    Logged,
    Said,
    TaskRecord,
    pack,
    unpack_from_keeper,
)
from kafka_etl.tasks.words import Word, decode_word

MODULE = "kafka_etl.runtime.tasks.keeper.keeper"
PATIENCE = 20.0


class Heard(NamedTuple):
    """A word as the owner has heard it."""

    word: Any
    value: bytes | None
    said: Said


class RunningKeeper:
    """A keeper as a child of the test, which stands for the daemon.

    `code` is the text of `ops.py`, whose `job` is the operator.
    """

    def __init__(self, folder: Path, code: str, **more: Any) -> None:
        self.folder = folder
        project = folder / "project"
        project.mkdir(parents=True, exist_ok=True)
        (project / "ops.py").write_text(textwrap.dedent(code))
        given: dict[str, Any] = {
            "executor": "here",
            "slots": 2,
            "timeout": 30.0,
            "stop_grace": 5.0,
            "pool": "warm",
            "partitions": 4,
            "idempotent": False,  # each attempt says that it has begun
        }
        self.task = KeeperTask(
            document=document(project / "p.yaml"),
            socket=folder / "keeper.sock",
            spool=folder / "spool",
            logs=LogSettings({"": "warning"}),
            **{**given, **more},
        )
        self._owners: list[OwnerEnd] = []
        self.child = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        for owner in self._owners:
            owner.close()
        self.child.end()
        self.child.close()

    @property
    def scratch(self) -> Path:
        """The folder of the attempts' folders."""
        return self.task.spool / "scratch"

    def owner(self, *partitions: int) -> OwnerEnd:
        """Connect, and attach as the owner of these partitions; none: of all."""
        end = OwnerEnd(self.task.socket)
        self._owners.append(end)
        end.send(Attach(dict.fromkeys(partitions or range(self.task.partitions), 0)))
        end.holding = end.until(_is_holding)
        return end

    def processes(self) -> list[int]:
        """The keeper, and its descendants that have kept their environment."""
        environment = (Path("/proc") / str(self.child.pid) / "environ").read_bytes()
        variables = dict(entry.split(b"=", 1) for entry in environment.split(b"\0") if entry)
        return process_family.members(variables[process_family.VARIABLE.encode()].decode())

    def again(self) -> None:
        """Start the successor of a keeper that has ended."""
        self.child.end()
        self.child.close()
        self.child = self._start()

    def terminate(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self.child.signal(signal.SIGTERM)
        return self.exit_status()

    def exit_status(self, within: float = PATIENCE) -> int:
        """Wait for the keeper's end."""
        until = time.monotonic() + within
        while (status := self.child.exit_status()) is None:
            assert time.monotonic() < until, "the keeper does not end"
            time.sleep(0.02)
        return status

    def _start(self) -> Child:
        child = Child(MODULE)
        child.send(self.task)
        until = time.monotonic() + PATIENCE
        while not (received := child.received()):
            assert child.exit_status() is None, "the keeper has died"
            assert time.monotonic() < until, "the keeper says nothing"
            time.sleep(0.01)
        assert isinstance(received[0], Listening), received
        return child


class OwnerEnd:
    """An owner's end of the socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._arrived = bytearray()
        self._unread: list[FromKeeper] = []
        self.holding: Any = None
        self.all: list[Heard] = []
        self.logged: list[Logged] = []

    def send(self, message: FromOwner) -> None:
        self._socket.sendall(pack(message))

    def close(self) -> None:
        self._socket.close()

    def grant(
        self,
        token: str,
        value: Any = None,
        *,
        partition: int = 0,
        attempt: int = 1,
        offer: int = 0,
    ) -> None:
        """Give a grant; the value is the operator's argument."""
        record = TaskRecord("in", partition, 7, 1_000, b"key", json.dumps(value).encode(), [])
        now = Instant.now()
        task = f"task-{token}"
        self.send(Grant(token, task, partition, 1, attempt, record, (1, 2), 5, now, offer))

    def halt(self, token: str, *, force: bool = False) -> None:
        self.send(Halt(token, force))

    def acknowledge(self, token: str) -> None:
        self.send(Acknowledged(token))

    def started(self, token: str) -> Heard:
        """Wait until the operator has begun."""
        return self.word("Started", token)

    def last(self, token: str, within: float = PATIENCE) -> Heard:
        """Wait for the last word of an attempt."""

        def is_last(heard: Heard) -> bool:
            return heard.said.last == token

        return self._until_heard(is_last, within)

    def word(self, kind: str, token: str = "", within: float = PATIENCE) -> Heard:
        """Wait for a word of this class, about this attempt."""

        def is_it(heard: Heard) -> bool:
            is_kind = type(heard.word).__name__ == kind
            return is_kind and (not token or heard.word.token == token)

        return self._until_heard(is_it, within)

    def until_next(self, kind: str, within: float = PATIENCE) -> Heard:
        """Wait for the next word of this class, whatever was said before."""
        self.until(lambda m: isinstance(m, Said) and self._is_last_a(kind), within)
        return self.all[-1]

    def _is_last_a(self, kind: str) -> bool:
        return type(self.all[-1].word).__name__ == kind

    def _until_heard(self, is_wanted: Callable[[Heard], bool], within: float) -> Heard:
        for heard in self.all:
            if is_wanted(heard):
                return heard

        def was_heard(message: FromKeeper) -> bool:
            return isinstance(message, Said) and is_wanted(self.all[-1])

        self.until(was_heard, within)
        return self.all[-1]

    def log(self, token: str, stream: str, within: float = PATIENCE) -> str:
        """Wait for the end of an attempt's log, and return what is in one stream of it."""

        def is_end(message: FromKeeper) -> bool:
            return isinstance(message, Logged) and (message.token, message.stream) == (token, "end")

        if not any(is_end(piece) for piece in self.logged):
            self.until(is_end, within)
        pieces = [piece for piece in self.logged if piece.token == token]
        assert [piece.seq for piece in pieces] == list(range(len(pieces)))
        return b"".join(piece.data for piece in pieces if piece.stream == stream).decode()

    def logs(self, stream: str, within: float = PATIENCE) -> str:
        """Wait for a piece of a stream."""
        found: Logged = self.until(lambda m: isinstance(m, Logged) and m.stream == stream, within)
        return found.data.decode()

    def listen(self, seconds: float) -> None:
        """Take in what is said for so long."""
        with suppress(TimeoutError):
            self.until(_is_unheard_of, seconds)

    def until(self, is_wanted: Callable[[FromKeeper], bool], within: float = PATIENCE) -> Any:
        """Wait for a message; words before it are kept in `all`."""
        until = time.monotonic() + within
        while True:
            while self._unread:
                message = self._unread.pop(0)
                if isinstance(message, Said):
                    word: Word = decode_word(message.headers)
                    self.all.append(Heard(word, message.value, message))
                elif isinstance(message, Logged):
                    self.logged.append(message)
                if is_wanted(message):
                    return message
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError([heard.word for heard in self.all])
            self._socket.settimeout(left)
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("the keeper has hung up")
            self._arrived += chunk
            self._unread += unpack_from_keeper(self._arrived)


def _is_holding(message: FromKeeper) -> bool:
    return isinstance(message, Holding)


def _is_unheard_of(_message: FromKeeper) -> bool:
    return False


def document(path: Path) -> Document:
    """A run document: JSON in, the operator `ops:job`, JSON out."""
    data = {
        "name": "jobs",
        "source": {"use": "kafka", "with": {"topics": ["in"], "value": "json"}},
        "operators": [{"use": "ops:job"}],
        "sink": {"use": "kafka", "with": {"topic": "out"}},
        "kafka": {"bootstrap.servers": "nowhere:1"},
    }
    return Document(path, data, {}, {}, [])


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        state = (Path("/proc") / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in {b"Z", b"X"}
