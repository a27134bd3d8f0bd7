"""Where attempts run: the keeper of this host, and what is heard of the executors of others.

An executor is one keeper. Its words come through the inbox, also those of the keeper next door: an
owner only relays them. So an executor's list of its tokens comes behind the results that it sent
before, and a token that is missing there is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from secrets import token_hex
from typing import Final, Protocol

from kafka_etl.record import Partition
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.keeping import (
    Acknowledged,
    Attach,
    FromKeeper,
    FromOwner,
    Grant,
    Halt,
    Holding,
    Said,
    TaskRecord,
)
from kafka_etl.tasks.states import State

_MISSES: Final = 2
"""Lists in a row in which a token is missing that make it lost."""
_ATTACH_EVERY_MS: Final = 5_000


class KeeperLink(Protocol):
    """The connection to the keeper of this host; no method waits."""

    def exchange(self) -> list[FromKeeper]:
        """Connect where there is no connection, send what is unsent, return what has arrived.

        The first message of a new connection is `Holding`.
        """
        ...

    def send(self, message: FromOwner) -> None:
        """Send a message; one that is lost with the connection is lost."""
        ...

    @property
    def connected(self) -> bool: ...

    def close(self) -> None: ...


class Relay(Protocol):
    """Writes words to the inbox, outside of the owner's transactions; no method waits."""

    def write(self, said: Said) -> None: ...

    def acknowledged(self) -> list[str]:
        """The last words, by their tokens, that Kafka has acknowledged since the last call."""
        ...

    def close(self) -> None: ...


class Executors:
    """The executors of a pipeline, as its owner knows them.

    Args:
        link: The keeper of this host.
        relay: Writes the keeper's words.
        lost_after_ms: Milliseconds of silence after which an executor is lost.
    """

    def __init__(self, link: KeeperLink, relay: Relay, lost_after_ms: int) -> None:
        self._link = link
        self._relay = relay
        self._lost_after_ms = lost_after_ms
        self._partitions: frozenset[int] = frozenset()
        self._holding: Holding | None = None
        self._running: set[str] = set()
        self._reserved: set[str] = set()
        self._heard: dict[str, int] = {}
        self._boots: dict[str, str] = {}
        self._missed: dict[str, int] = {}
        self._drains = False
        self._attached_at = 0

    def close(self) -> None:
        self._link.close()
        self._relay.close()

    # The keeper of this host

    def serve(self, partitions: Collection[int], now_ms: int) -> None:
        """Serve these partitions from now on; the keeper tells what it runs of them."""
        self._partitions = frozenset(partitions)
        self._attach(now_ms)

    def relay(self, now_ms: int) -> None:
        """Hear the keeper, and pass its words on to the inbox."""
        was_connected = self._link.connected
        for message in self._link.exchange():
            if isinstance(message, Holding):
                self._drains = self._drains and message.boot == self._boot
                self._holding = message
                self._running = set(message.tokens)
            else:
                self._relay.write(message)
        if self._link.connected and not was_connected:
            self._attach(now_ms)
        for token in self._relay.acknowledged():
            self._link.send(Acknowledged(token))

    def _attach(self, now_ms: int) -> None:
        self._attached_at = now_ms
        self._link.send(Attach(tuple(sorted(self._partitions))))

    @property
    def _boot(self) -> str:
        return "" if self._holding is None else self._holding.boot

    @property
    def free(self) -> int:
        """Number of attempts that the keeper can begin now."""
        if self._holding is None or self._drains or not self._link.connected:
            return 0
        return self._holding.slots - len(self._running) - len(self._reserved)

    def grant(self) -> w.Granted:
        """Reserve a slot of the keeper; the grant counts once it is committed."""
        holding = self._holding
        if holding is None:
            raise RuntimeError("there is no keeper")
        token = token_hex(8)
        self._reserved.add(token)
        return w.Granted(token=token, executor=holding.executor, boot=holding.boot)

    def start(self, partition: int, head: Head, record: TaskRecord) -> None:
        """Begin a granted attempt."""
        self._reserved.discard(head.token)
        self._running.add(head.token)
        grant = Grant(
            token=head.token,
            task=head.id,
            partition=partition,
            generation=head.generation,
            attempt=head.attempts.counted + 1,
            record=record,
        )
        self._link.send(grant)

    def halt(self, head: Head) -> None:
        """End an attempt, if it runs here."""
        if self._holding is not None and head.executor == self._holding.executor:
            self._link.send(Halt(head.token, force=head.stop is not None and head.stop.force))

    def released(self, token: str) -> None:
        """The attempt is over: its slot is free."""
        self._running.discard(token)
        self._missed.pop(token, None)

    def void(self) -> None:
        """Grants that were not committed reserve nothing."""
        self._reserved.clear()

    # All executors

    def hear(self, word: w.Alive | w.Hello, held: Iterable[Head], now_ms: int) -> None:
        """Take in what an executor says of itself, in a partition that holds these tokens."""
        self._heard[word.executor] = now_ms
        self._boots[word.executor] = word.boot
        if isinstance(word, w.Hello):
            return
        self._drains = self._drains or (word.draining and word.boot == self._boot)
        for head in held:
            if (head.executor, head.boot) != (word.executor, word.boot):
                continue
            if head.token in word.tokens:
                self._missed.pop(head.token, None)
            else:
                self._missed[head.token] = self._missed.get(head.token, 0) + 1

    def lost(
        self, held: Mapping[Partition, Collection[Head]], now_ms: int
    ) -> Iterator[tuple[Partition, str, w.Word]]:
        """The tasks whose attempts are lost, and the word that says so."""
        every = [head for heads in held.values() for head in heads]
        # A token that the keeper still lists may have come to its end here: its slot is free.
        self._running &= {head.token for head in every}
        unheard = False
        for tp, heads in held.items():
            for head in heads:
                word = self._loss(head, every, now_ms)
                if word is not None:
                    yield tp, head.id, word
                unheard = unheard or head.token not in self._running
        if (unheard or self._missed) and now_ms - self._attached_at >= _ATTACH_EVERY_MS:
            self._attach(now_ms)  # has the keeper say what it runs

    def _loss(self, head: Head, every: Collection[Head], now_ms: int) -> w.Word | None:
        """The word for an attempt that is lost; None: it is not."""
        if self._missed.get(head.token, 0) >= _MISSES:
            if head.state is State.DEQUEUED:  # it was never begun: an executor lists what it begins
                return w.Returned(token=head.token)
            return w.Silent(token=head.token)
        heard = self._heard.setdefault(head.executor, now_ms)
        reborn = self._boots.get(head.executor, head.boot) != head.boot
        if not reborn and now_ms - heard <= self._lost_after_ms:
            return None
        mates = sum((o.executor, o.boot) == (head.executor, head.boot) for o in every)
        return w.ExecutorGone(token=head.token, alone=mates == 1)
