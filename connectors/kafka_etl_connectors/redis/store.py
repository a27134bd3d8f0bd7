"""The store `redis`: rows and offsets by one script, which the server runs as a whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final, cast

import redis

from kafka_etl.contracts import (
    Conflict,
    Deployment,
    Limits,
    Move,
    Refused,
    RefusedRows,
    Rows,
    Store,
    StoredOffset,
    Unreachable,
)
from kafka_etl.record import Partition
from kafka_etl_connectors.redis.commands import LARGEST, Command, commands_of
from kafka_etl_connectors.redis.errors import target
from kafka_etl_connectors.redis.parts import Part, parts_of
from kafka_etl_connectors.redis.session import client_of
from kafka_etl_connectors.redis.settings import RedisSettings

# Everything that can fail is looked at before the first write, because nothing is rolled back. Full
# memory is judged by the server once, when a script begins. Rows come before offsets: should a
# write fail all the same, no row is lost.
_SCRIPT: Final = """
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end

local wanted = take()
local moves, moved = {}, {'moved'}
for _ = 1, tonumber(take()) do
  local field, from, to = take(), take(), take()
  local stands = redis.call('HGET', KEYS[1], field)
  if stands and string.sub(stands, 1, #from) == from then
    if from ~= to then
      moves[#moves + 1] = {field, to .. string.sub(stands, #from + 1)}
    end
  else
    moved[#moved + 1] = field
  end
end
if #moved > 1 then return moved end

local strange = {'type'}
if wanted ~= '' then
  for i = 2, #KEYS do
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'none' and kind ~= wanted then
      strange[#strange + 1] = KEYS[i]
    end
  end
end
if #strange > 1 then return strange end

for _ = 1, tonumber(take()) do
  local name, key, arguments = take(), KEYS[tonumber(take())], {}
  for i = 1, tonumber(take()) do
    arguments[i] = take()
  end
  redis.call(name, key, unpack(arguments))
end
for _, move in ipairs(moves) do
  redis.call('HSET', KEYS[1], move[1], move[2])
end
return {'done'}
"""


class RedisStore(Store):
    """Rows of one target, and the offsets in a hash of the same slot.

    Args:
        settings: The server and the target.
        deployment: Whose offsets these are.
    """

    kind: ClassVar[str] = "redis"
    limits = Limits(rows=1_000_000)

    def __init__(self, settings: RedisSettings, deployment: Deployment) -> None:
        self._settings = settings
        self._deployment = deployment
        self._key = settings.offsets_key(deployment.group).encode()
        self._wanted = b"" if settings.into == "string" else settings.into.encode()
        self._client: Any | None = None
        self._is_cut = False
        self._script: Any = None
        self._largest = LARGEST

    def connect(self) -> None:
        """Connect, and ask for the longest value that the server takes.

        Raises:
            Unreachable: The server is away, or refuses the user.
        """
        deployment = self._deployment
        self._is_cut = False
        with self._errors():
            client = client_of(self._settings, deployment.folder, f"kafka-etl {deployment.member}")
            self._client = client
            client.ping()
            self._script = client.register_script(_SCRIPT)
            self._largest = longest_value(client)

    def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def interrupt(self) -> None:
        """Cut the connection: the call under way ends with an error."""
        client = self._client
        if client is not None:
            self._is_cut = True
            with suppress(redis.RedisError, OSError):
                client.connection_pool.disconnect(inuse_connections=True)

    def offsets(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]:
        """See `Store.offsets`."""
        wanted = list(partitions)
        if not wanted:
            return {}
        with self._errors():
            found = self._ready().hmget(self._key, [self._field(tp) for tp in wanted])
            stood = cast("list[bytes | None]", found)
        return {tp: _read(at) for tp, at in zip(wanted, stood, strict=True) if at is not None}

    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        """See `Store.place`."""
        with self._errors(), self._ready().pipeline(transaction=True) as pipeline:
            for tp, at in offsets.items():
                put = pipeline.hset if overwrite else pipeline.hsetnx
                put(self._key, self._field(tp), _written(at))
            pipeline.execute()

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        """See `Store.commit`.

        A large settlement is written in parts; each is a whole, with offsets of its own, so that
        whatever happens between two of them nothing is written twice.
        """
        del letters  # the store has no place for them
        commands = commands_of(rows, self._settings, self._largest)
        for number, part in enumerate(parts_of(rows, commands, moves)):
            keys = {command.key: None for command in (part.commands if number else commands)}
            with self._errors():
                answer = self._run(part, list(keys))
            match answer:
                case [b"done"]:
                    pass
                case [b"moved", _, *_]:
                    raise Conflict(self._elsewhere(set(answer[1:]), moves, begun=number > 0))
                case [b"type", _, *_]:
                    raise self._strange(answer[1:], commands, begun=number > 0)
                case _:
                    place, said = self._settings.place, repr(answer)[:200]
                    raise Unreachable(f"Redis at {place}: the script answered {said}", mend=True)

    def _run(self, part: Part, keys: list[bytes]) -> Any:
        self._ready()
        arguments: list[bytes] = [self._wanted, b"%d" % len(part.moves)]
        for tp, move in sorted(part.moves.items()):
            arguments += [
                self._field(tp),
                b"%d:%d:" % (move.begin, move.generation),
                b"%d:%d:" % (move.next, move.generation),
            ]
        places = {key: b"%d" % place for place, key in enumerate(keys, 2)}
        arguments.append(b"%d" % len(part.commands))
        for command in part.commands:
            arguments += [command.name, places[command.key], b"%d" % len(command.arguments)]
            arguments += command.arguments
        return self._script(keys=[self._key, *keys], args=arguments)

    def _elsewhere(
        self, fields: set[bytes], moves: Mapping[Partition, Move], *, begun: bool
    ) -> list[Partition]:
        """The partitions that no longer stand where the settlement begins.

        Among them are those that earlier parts of this settlement have moved.
        """
        if not begun:
            return [tp for tp in moves if self._field(tp) in fields]
        stands = self.offsets(moves)
        return [
            tp
            for tp, move in moves.items()
            if tp not in stands
            or (stands[tp].next, stands[tp].generation) != (move.begin, move.generation)
        ]

    def _strange(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, begun: bool
    ) -> Exception:
        """What follows from keys of another type: of the sink's own key, or of those of rows."""
        into, own = self._settings.into, self._settings.target.encode()
        if own in keys or begun:
            shown = keys[0].decode("utf-8", "backslashreplace")
            return Unreachable(
                f"Redis at {self._settings.place}: key {shown} is no {into}", mend=True
            )
        verdict = Refused("WRONGTYPE", f"the key that the record names is there, and no {into}")
        return RefusedRows(
            {at: verdict for at, command in enumerate(commands) if command.key in keys}
        )

    def _field(self, tp: Partition) -> bytes:
        return f"{self._deployment.cluster}/{tp.topic}/{tp.number}".encode()

    def _ready(self) -> Any:
        if self._client is None:
            raise Unreachable(f"Redis at {self._settings.place}: not connected")
        return self._client

    @contextmanager
    def _errors(self) -> Generator[None]:
        """Errors of the server, of the network and of files of certificates, as `Unreachable`."""
        place = self._settings.place
        try:
            yield
        except redis.RedisError as error:
            raise target(error, place) from error
        except OSError as error:
            mend = isinstance(error, FileNotFoundError | PermissionError)
            raise Unreachable(f"Redis at {place}: {error}", mend=mend) from error
        except ValueError as error:
            if not self._is_cut:  # else the client stumbles over the buffer that is gone
                raise
            raise Unreachable(f"Redis at {place}: the call was interrupted") from error


def longest_value(client: Any) -> int:
    """Bytes of the longest value that the server takes; the usual ones if it does not say."""
    try:
        found = cast("dict[Any, Any]", client.config_get("proto-max-bulk-len"))
    except redis.ResponseError:
        return LARGEST
    return int(next(iter(found.values()), LARGEST))


def _written(at: StoredOffset) -> bytes:
    """A standing as `NEXT:GENERATION:[TOPIC-ID, GROUP]`; a script compares its beginning."""
    return f"{at.next}:{at.generation}:{json.dumps([at.topic_id, at.group])}".encode()


def _read(stands: bytes) -> StoredOffset:
    after, generation, rest = stands.split(b":", 2)
    topic_id, group = json.loads(rest)
    return StoredOffset(int(after), int(generation), topic_id, group)
