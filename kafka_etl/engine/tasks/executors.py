"""Where attempts run: the keeper of this host, and what is heard of the executors of others.

An executor is one keeper. Its words come through the inbox, also those of the keeper next door: the
link to it only relays them. So an executor's list of its tokens comes behind the results that it
sent before, and a token that is missing there is lost.

Silence counts only up to a moment until which an owner has surely heard everything. To know one,
the owner writes a probe into the inbox, and reads the probe: whatever was said before stands before
it. An inbox that cannot be read for a while, for whatever reason, makes no executor silent.

The other way, from an owner to an executor of another host, is the journal: each host follows the
heads of the tasks that run there and whose partitions are not its own. So come also the grants that
answer an offer; see `kafka_etl.engine.tasks.offers`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from math import ceil
from secrets import token_hex
from time import monotonic
from typing import Final, Protocol

import msgspec
from msgspec.structs import replace

from kafka_etl.engine.tasks.offers import (
    OffersOfOthers,
    Opening,
    OwnOffers,
    may_be_on_its_way,
    never_begins,
)
from kafka_etl.record import Partition
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Head, decode_head
from kafka_etl.tasks.keeping import (
    Attach,
    FromKeeper,
    FromOwner,
    Grant,
    Halt,
    Held,
    Holding,
    Instant,
    Said,
    Show,
    TaskRecord,
)
from kafka_etl.tasks.log import FoundHead, HeadTail
from kafka_etl.tasks.states import State

_MISSES: Final = 2
"""Lists in a row in which a token is missing that make it lost."""
_ATTACH_EVERY: Final = 5.0
_AHEAD: Final = 0.1
"""Seconds of work that a slot has at hand, so that it need not wait for the next commit."""
_LONG: Final = 1.0
"""Seconds of an attempt from which on a slot has nothing at hand."""
_MOST_AHEAD: Final = 64
_NEWEST: Final = 0.05
"""Share of the latest attempt in the mean time of attempts."""
_PROBE_AGAIN: Final = 30.0
"""Seconds after which a probe that has not come back is written again."""


class KeeperLink(Protocol):
    """The connection to the keeper of this host, which relays its words; no method waits."""

    def exchange(self) -> list[FromKeeper]:
        """Connect where there is no connection, and return what the owner is to know of.

        That is `Holding`, the first message of a new connection, and last words, which have been
        relayed. After a loss `connected` is false until the next call.
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


class LocalKeeper:
    """The keeper of this host, as an owner sees it.

    Args:
        link: The connection.
        tail: Follows the journals of other owners.
        offers: What the keeper offers to them.
        ahead: Whether the keeper may hold grants that it cannot begin at once.
    """

    def __init__(
        self, link: KeeperLink, tail: HeadTail, offers: OwnOffers, *, ahead: bool = True
    ) -> None:
        self._link = link
        self._was_connected = False
        self._tail = tail
        self._offers = offers
        self._may_be_ahead = ahead
        self._mean: float | None = None
        self._positions: dict[int, int] = {}
        self._own: frozenset[int] = frozenset()
        self._holding: Holding | None = None
        self._running: dict[str, Held] = {}
        self._since_attach: dict[str, Held] = {}
        self._reserved: dict[str, Instant] = {}
        self._suspects: dict[str, Head] = {}
        self._drains = False

    def close(self) -> None:
        self._link.close()
        self._tail.close()

    # What the keeper says

    def exchange(self) -> bool:
        """Hear the keeper.

        Returns:
            Whether the keeper has said what it holds.
        """
        has_told = False
        for message in self._link.exchange():
            if isinstance(message, Holding):
                self._take_in(message)
                has_told = True
            elif isinstance(message, Said) and message.partition not in self._own:
                self._running.pop(message.last, None)
                self._suspects.pop(message.last, None)
        was_connected, self._was_connected = self._was_connected, self._link.connected
        if self._was_connected and not was_connected:
            self.attach()
        return has_told

    def _take_in(self, holding: Holding) -> None:
        self._drains = self._drains and self.is_boot(holding.boot)
        self._holding = holding
        self._running = {**holding.tokens, **self._since_attach}
        self._since_attach = {}
        for number, position in holding.positions.items():
            self._positions[number] = max(position, self._positions.get(number, 0))

    def heard(self, word: w.Alive) -> None:
        """The keeper's own list has come back through the inbox."""
        self._drains = self._drains or (word.draining and self.is_boot(word.boot))

    # Partitions

    def serve(self, positions: Mapping[int, int]) -> None:
        """Serve these partitions from now on: number -> where the owner stands in its journal."""
        self._positions.update(positions)
        self._own = frozenset(positions)
        self.attach()

    def stands(self, positions: Mapping[int, int]) -> None:
        """The owner has come so far in the journals of these partitions."""
        self._positions.update(positions)

    def attach(self) -> None:
        """Have the keeper say what it holds."""
        self._since_attach = {}
        positions = {number: self._positions.get(number, 0) for number in self._own}
        # What is being committed is given later, under an earlier number than the present one.
        uncommitted = [granted.number - 1 for granted in self._reserved.values()]
        self._link.send(Attach(positions, min(uncommitted, default=Instant.now().number)))

    # Attempts

    def is_boot(self, boot: str) -> bool:
        """Whether the keeper that we are connected to has this boot."""
        return self._holding is not None and self._holding.boot == boot

    def holds(self, head: Head) -> bool:
        """Whether the keeper has said that it holds the head's token, or was given it since."""
        return head.token in self._running

    @property
    def free(self) -> int:
        """Number of grants that the keeper can be given now: it has a slot, or soon will."""
        slots = self._slots
        return slots + slots * self._ahead - len(self._running) - len(self._reserved)

    @property
    def _slots(self) -> int:
        """Number of slots, of which none counts while the keeper may begin nothing more."""
        if self._holding is None or self._drains or not self._link.connected:
            return 0
        return self._holding.slots

    @property
    def _ahead(self) -> int:
        """Number of grants that a slot has at hand while it is busy."""
        if self._mean is None or self._mean > _LONG or not self._may_be_ahead:
            return 0
        return min(_MOST_AHEAD, ceil(_AHEAD / max(self._mean, 1e-6)))

    def took(self, word: w.Result | w.Ended | w.Returned) -> None:
        """Take in how long an attempt took; a grant that was given back has waited too long."""
        if isinstance(word, w.Returned):
            self._mean = None
        elif self._mean is None:
            self._mean = word.seconds
        else:
            self._mean += _NEWEST * (word.seconds - self._mean)

    def has_room_for(self, suspect: Head) -> bool:
        """Whether a suspect may begin here: beside some suspects, and beside all other tasks."""
        there = [
            head
            for token, head in self._suspects.items()
            if token in self._running or token in self._reserved
        ]
        return len(there) < min(head.most_suspects(self._slots) for head in (suspect, *there))

    def knows(self, head: Head) -> None:
        """The keeper holds the token of a task of ours; of suspects this counts."""
        if head.is_suspect:
            self._suspects[head.token] = head

    def grant(self, head: Head) -> w.Granted:
        """Reserve a slot of the keeper; the grant counts once it is committed."""
        holding = self._holding
        if holding is None:
            raise RuntimeError("there is no keeper")
        token = token_hex(8)
        now = self._reserved[token] = Instant.now()
        self.knows(replace(head, token=token))
        return w.Granted(
            token=token,
            executor=holding.executor,
            boot=holding.boot,
            grant_number=now.number,
        )

    def start(self, partition: int, head: Head, record: TaskRecord) -> None:
        """Begin an attempt that we have granted."""
        # Its lease counts from before the commit: an owner that stood still since may be none.
        granted = self._reserved.pop(head.token, None) or Instant.now()
        self._give(partition, head, record, granted)

    def _give(self, partition: int, head: Head, record: TaskRecord, granted: Instant) -> None:
        held = Held(partition, head.id, head.age)
        self._running[head.token] = self._since_attach[head.token] = held
        grant = Grant(
            token=head.token,
            task=head.id,
            partition=partition,
            generation=head.generation,
            attempt=head.attempts.counted + 1,
            record=record,
            age=head.age,
            position=self._positions.get(partition, 0),
            granted=granted,
            offer=head.offer,
            number=head.grant_number,
        )
        self._link.send(grant)

    def halt(self, head: Head) -> None:
        """End an attempt, if it runs here."""
        if self._holding is not None and head.executor == self._holding.executor:
            self._link.send(Halt(head.token, force=head.stop is not None and head.stop.force))

    def ask(self, head: Head) -> None:
        """Have an attempt answer the question in its head, if it runs here."""
        if self._holding is not None and head.executor == self._holding.executor:
            self._link.send(Show(head.token))

    def released(self, token: str) -> None:
        """The attempt is over: its slot is free."""
        self._running.pop(token, None)
        self._since_attach.pop(token, None)
        self._suspects.pop(token, None)

    def void(self) -> None:
        """Grants that were not committed reserve nothing."""
        for token in self._reserved:
            self._suspects.pop(token, None)
        self._reserved.clear()

    def agree(self, held: Collection[Head]) -> None:
        """Have the keeper do what the heads of our tasks say, after a new connection.

        A stop may have been lost with the old connection, or with an owner that died. A token that
        no head names any more was given to somebody else.
        """
        heads = {head.token: head for head in held}
        for token, of in list(self._running.items()):
            if of.partition not in self._own:
                continue
            self._is_halted(token, heads.get(token))

    def settle(self, held: Collection[str]) -> None:
        """Free the slots of our tasks' tokens that the keeper lists still, and no head names."""
        over = [t for t, of in self._running.items() if of.partition in self._own and t not in held]
        for token in over:
            del self._running[token]
            self._suspects.pop(token, None)

    # Tasks of other owners

    def offer(self, *, is_idle: bool) -> None:
        """Offer slots to the owners of others, if there is no work of our own."""
        foreign = Counter(of.partition for of in self._foreign.values())
        own = len(self._running) - foreign.total() + len(self._reserved)
        spare = self._slots - own if is_idle else 0
        for offer in self._offers.turn(spare, foreign, self._own):
            self._link.send(offer)

    def withdraw(self, number: int) -> None:
        """Offer nothing to a partition for a while: what was granted there is given back."""
        for offer in self._offers.withdraw(number):
            self._link.send(offer)

    def follow(self, answered: Callable[[FoundHead, Head], None]) -> None:
        """Have the keeper do what the heads say of tasks that others own, and that run here.

        Args:
            answered: Called with a head that grants an attempt to the keeper.
        """
        foreign = self._foreign
        places = {of.partition: self._positions.get(of.partition, 0) for of in foreign.values()}
        self._tail.follow({**self._offers.places, **places})
        held: defaultdict[str, list[tuple[str, Held]]] = defaultdict(list)
        for token, of in foreign.items():
            held[of.task].append((token, of))
        for found in self._tail.changes():
            tokens = held.get(found.task, [])
            if not (tokens or found.partition in self._offers.places):
                continue
            try:
                head = None if found.data is None else decode_head(found.data)
            except msgspec.MsgspecError:
                continue  # its owner says that it cannot be read
            for token, of in tokens:
                self._obey(token, of, head)
            if head is not None and self._is_answer(found.partition, head):
                answered(found, head)
                if head.token in self._running:
                    held[found.task].append((head.token, self._running[head.token]))

    def start_offered(self, found: FoundHead, head: Head, record: TaskRecord) -> None:
        """Begin an attempt that another owner has granted; its lease counts from the offer."""
        self._offers.answered(found.partition)
        self._positions[found.partition] = found.position
        self._give(found.partition, head, record, Instant.now())

    @property
    def _foreign(self) -> dict[str, Held]:
        """The tokens of tasks that others own."""
        return {t: of for t, of in self._running.items() if of.partition not in self._own}

    def _is_answer(self, number: int, head: Head) -> bool:
        """Whether a head grants an attempt that we have not given to the keeper yet."""
        if not head.offer or head.state is not State.DEQUEUED or head.token in self._running:
            return False
        is_ours = self._holding is not None and head.executor == self._holding.executor
        return is_ours and self.is_boot(head.boot) and number in self._offers.places

    def _obey(self, token: str, of: Held, head: Head | None) -> None:
        if head is not None and head.age < of.age:
            return  # of a time before the grant
        if not self._is_halted(token, head) and head is not None and head.ask:
            self._link.send(Show(token))

    def _is_halted(self, token: str, head: Head | None) -> bool:
        """End an attempt if its task was stopped, or given to somebody else; return whether."""
        if head is None or head.token != token:
            self._link.send(Halt(token, force=True))
            return True
        if head.stop is not None:
            self._link.send(Halt(token, force=head.stop.force))
            return True
        return False


class Executors:
    """What is heard of the executors that hold our tasks.

    Args:
        keeper: The keeper of this host.
        relay: Writes probes.
        lost_after: Seconds of silence after which an executor is lost.
        clock: Time on a monotonic clock, in seconds.
    """

    def __init__(
        self,
        keeper: LocalKeeper,
        relay: Relay,
        lost_after: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._keeper = keeper
        self._relay = relay
        self._lost_after = lost_after
        self._clock = clock
        self._offers = OffersOfOthers(clock)
        self._heard: dict[tuple[Partition, str, str], float] = {}
        self._boots: dict[tuple[Partition, str], str] = {}
        self._past: set[str] = set()
        self._loads: dict[str, int] = {}
        self._missed: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._probes: dict[Partition, tuple[str, float]] = {}
        self._known: dict[Partition, float] = {}
        self._attached_at = -_ATTACH_EVERY

    def hear(self, tp: Partition, word: w.Alive | w.Hello, held: Iterable[Head]) -> None:
        """Take in what an executor says of itself, in a partition that holds these tokens."""
        if word.boot in self._past:
            return  # an earlier keeper, relayed late
        known = self._boots.get((tp, word.executor))
        if known is not None and known != word.boot:
            self._past.add(known)
            self._heard.pop((tp, word.executor, known), None)
        # In another partition there may still be a result of the earlier boot before this word.
        self._boots[tp, word.executor] = word.boot
        self._heard[tp, word.executor, word.boot] = self._clock()
        if not self._keeper.is_boot(word.boot):
            self._offers.hear(tp, word)
        if isinstance(word, w.Hello):
            return
        self._loads[word.executor] = word.held
        self._keeper.heard(word)
        for head in held:
            if (head.executor, head.boot) != (word.executor, word.boot):
                continue
            if head.token in word.tokens:
                self._missed.pop(head.token, None)
            elif never_begins(head, word):
                self._missed[head.token] = _MISSES
            elif not self._may_not_have_arrived(head, word):
                self._missed[head.token] = self._missed.get(head.token, 0) + 1

    def _may_not_have_arrived(self, head: Head, word: w.Alive) -> bool:
        """Whether the executor may not have had the grant yet, when it said its list.

        A grant is given once it is committed. Lists that were said before may be read after that,
        as many as a slow commit takes long. In the end the lease of a grant is over, and a keeper
        begins none without.
        """
        if head.offer:
            return may_be_on_its_way(head, word)
        if head.started_ms or word.grant_number >= head.grant_number:
            return False
        now = self._clock()
        return now - self._since.get(head.token, now) <= self._lost_after

    def returned(self, tp: Partition, head: Head) -> None:
        """An executor elsewhere has given a grant back: it may have work of its own by now."""
        self._offers.drop(tp, head.executor)

    def openings(self, tp: Partition, held: Collection[Head]) -> list[Opening]:
        """Slots elsewhere for tasks of a partition; see `OffersOfOthers.openings`."""
        return self._offers.openings(tp, held)

    def hear_probe(self, tp: Partition, word: w.Probe) -> None:
        """A probe has come back: what was said before it has been heard."""
        probe = self._probes.get(tp)
        if probe is not None and probe[0] == word.word:
            del self._probes[tp]
            self._known[tp] = probe[1]

    def forget(self, tp: Partition) -> None:
        """The partition has left: its executors may begin anew before it comes back."""
        self._offers.forget(tp)
        self._boots = {key: boot for key, boot in self._boots.items() if key[0] != tp}
        self._heard = {key: at for key, at in self._heard.items() if key[0] != tp}
        self._probes.pop(tp, None)
        self._known.pop(tp, None)

    def lost(
        self, held: Mapping[Partition, Collection[Head]]
    ) -> Iterator[tuple[Partition, str, w.Word]]:
        """The tasks whose attempts are lost, and the word that says so."""
        every = {head.token: head for heads in held.values() for head in heads}
        now = self._clock()
        self._keeper.settle(every.keys())
        self._since = {token: self._since.get(token, now) for token in every}
        self._missed = {t: n for t, n in self._missed.items() if t in every}
        for tp, heads in held.items():
            for head in heads:
                word = self._loss(tp, head, every.values())
                if word is not None:
                    yield tp, head.id, word
            if any(now - self._last_heard(tp, head) > self._lost_after for head in heads):
                self._probe(tp, now)
        strangers = [h for h in every.values() if self._is_ours(h) and not self._keeper.holds(h)]
        if (strangers or self._missed) and now - self._attached_at >= _ATTACH_EVERY:
            self._attached_at = now
            self._keeper.attach()  # has the keeper list its tokens in every partition

    def _loss(self, tp: Partition, head: Head, every: Collection[Head]) -> w.Word | None:
        """The word for an attempt that is lost; None: it is not."""
        if self._missed.get(head.token, 0) >= _MISSES:
            if not head.started_ms:  # it was never begun: an executor lists what it begins
                return w.Returned(token=head.token)
            return w.Silent(token=head.token)
        known_until = self._known.get(tp, 0.0)
        if (
            not self._is_reborn(tp, head)
            and known_until - self._last_heard(tp, head) <= self._lost_after
        ):
            return None
        mates = sum((o.executor, o.boot) == (head.executor, head.boot) for o in every)
        alone = mates == 1 and self._loads.get(head.executor, 1) <= 1
        return w.ExecutorGone(token=head.token, alone=alone)

    def _is_reborn(self, tp: Partition, head: Head) -> bool:
        """Whether the executor has begun anew since it got the token.

        The keeper that we are connected to may be given tokens before its first word is read: what
        was heard last is of the keeper before.
        """
        if self._is_ours(head):
            return False
        return self._boots.get((tp, head.executor), head.boot) != head.boot

    def _last_heard(self, tp: Partition, head: Head) -> float:
        heard = self._heard.get((tp, head.executor, head.boot), 0.0)
        return max(self._since[head.token], heard)

    def _is_ours(self, head: Head) -> bool:
        return self._keeper.is_boot(head.boot)

    def _probe(self, tp: Partition, now: float) -> None:
        """Write a probe, unless one is on its way."""
        if tp in self._probes and now - self._probes[tp][1] < _PROBE_AGAIN:
            return
        probe = w.Probe(word=token_hex(8))
        self._probes[tp] = probe.word, now
        record = w.encode_word(probe)
        self._relay.write(Said(tp.number, "probe", record.value, record.headers))
