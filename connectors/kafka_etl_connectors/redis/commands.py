"""Rows as commands of the server, and rows that can be none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from kafka_etl.contracts import Refused, RefusedRows, Row, Rows
from kafka_etl_connectors.redis.settings import RESERVED, RedisSettings

LARGEST: Final = 512 * 1024 * 1024
"""Bytes of the longest value that a server takes, unless its configuration says otherwise."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: Name of the command.
        key: The Redis key.
        arguments: What follows the key.
    """

    name: bytes
    key: bytes
    arguments: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of key and arguments."""
        return len(self.key) + sum(map(len, self.arguments))


Former = Callable[[Row, bytes], "Command | Refused"]
"""Row and Redis key of the target -> the row's command."""


def commands_of(rows: Rows, settings: RedisSettings, largest: int) -> list[Command]:
    """Make a command of each row.

    Args:
        rows: The rows.
        settings: The target.
        largest: Bytes of the longest value that the server takes.

    Raises:
        RefusedRows: Some rows can be no command; all of them are named.
    """
    form = _FORMERS[settings.into](settings)
    made: list[Command] = []
    refused: dict[int, Refused] = {}
    own = settings.target.encode()
    reserved = RESERVED.encode()
    for row in rows:
        named = row.destination
        verdict = form(row, own if named is None else named.encode())
        if isinstance(verdict, Command):
            if verdict.key.startswith(reserved):
                verdict = Refused("ReservedKey", f"keys that begin with {RESERVED} hold offsets")
            elif (size := max(map(len, (verdict.key, *verdict.arguments)))) > largest:
                verdict = Refused("TooLarge", f"{size:,} bytes; the server takes {largest:,}")
        if isinstance(verdict, Refused):
            refused[row.position] = verdict
        else:
            made.append(verdict)
    if refused:
        raise RefusedRows(refused)
    return made


def _stream(settings: RedisSettings) -> Former:
    bound: tuple[bytes, ...] = ()
    if settings.maxlen is not None:
        bound = (b"MAXLEN", b"~", b"%d" % settings.maxlen)

    def entry(row: Row, key: bytes) -> Command:
        fields: list[bytes] = []
        for name, content in ((b"id", row.id), (b"key", row.key), (b"value", row.value)):
            if content is not None:
                fields += [name, content.encode() if isinstance(content, str) else content]
        return Command(b"XADD", key, (*bound, b"*", *(fields or (b"id", b""))))

    return entry


def _adding(name: bytes, what: str) -> Callable[[RedisSettings], Former]:
    def former(_settings: RedisSettings) -> Former:
        def add(row: Row, key: bytes) -> Command | Refused:
            if row.value is None:
                return Refused("NoValue", f"a record without a value can be no {what}")
            return Command(name, key, (row.value,))

        return add

    return former


def _hash(_settings: RedisSettings) -> Former:
    def put(row: Row, key: bytes) -> Command | Refused:
        if row.key is None:
            return _NO_KEY
        if row.value is None:
            return Command(b"HDEL", key, (row.key,))
        return Command(b"HSET", key, (row.key, row.value))

    return put


def _string(settings: RedisSettings) -> Former:
    prefix = settings.target.encode()

    def put(row: Row, key: bytes) -> Command | Refused:
        if row.destination is None:
            if row.key is None:
                return _NO_KEY
            key = prefix + row.key
        return Command(b"DEL", key) if row.value is None else Command(b"SET", key, (row.value,))

    return put


_NO_KEY: Final = Refused("NoKey", "a record without a key names no place in Redis")
_FORMERS: Final[dict[str, Callable[[RedisSettings], Former]]] = {
    "stream": _stream,
    "list": _adding(b"RPUSH", "element of a list"),
    "set": _adding(b"SADD", "member of a set"),
    "hash": _hash,
    "string": _string,
}
