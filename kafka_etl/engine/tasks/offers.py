"""Offers: slots that a host without work of its own lends to the partitions of other hosts.

::

    host A: its keeper is idle                            host B: owner of p, with tasks that wait
      A's keeper: `alive`, with slots ── inbox p ────────▶ grants to A's keeper
      A's keeper ◀── grant ── A's owner follows ── journal p ◀── heads with executor and token

A keeper numbers its offers, and takes a grant only under its present one. Whatever it says of
itself in a partition names the number of that offer. So the owner of the partition knows of a grant
under an earlier number which the keeper does not list that it will never begin, however late the
word comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import heapify, heapreplace
from secrets import token_hex
from time import monotonic
from typing import Final, NamedTuple

from kafka_etl.record import Partition
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.keeping import Offer
from kafka_etl.tasks.open_note import OpenNote

_IDLE: Final = 2.0
"""Seconds without work of its own after which a keeper works for others."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at what waits elsewhere; each renews the offers."""
_ANSWERED_WITHIN: Final = 5.0
"""Seconds after which an offer that nobody answers goes to another partition."""
_PASSED_FOR: Final = 10.0
"""Seconds for which a partition gets no offer whose owner has not answered one."""
_FORGOTTEN_AFTER: Final = 12.0
"""Seconds of silence after which an offer counts no more: a keeper repeats it each five seconds."""

Waiting = Callable[[], Mapping[int, OpenNote]]
"""Tells number of a partition -> its owner's note, of those where tasks wait."""


def shares(free: int, waiting: Mapping[int, int]) -> Counter[int]:
    """Divide free slots among the partitions where tasks wait: those with most of them first.

    Args:
        free: Number of slots.
        waiting: Number of a partition -> number of its tasks that wait.
    """
    left = [(-count, number) for number, count in waiting.items() if count > 0]
    heapify(left)
    shared: Counter[int] = Counter()
    for _ in range(min(free, sum(waiting.values()))):
        count, number = left[0]
        shared[number] += 1
        heapreplace(left, (count + 1, number))
    return shared


class OwnOffers:
    """What the keeper of this host offers to the owners of others.

    Args:
        waiting: Tells what waits.
        clock: Time on a monotonic clock, in seconds.
    """

    def __init__(self, waiting: Waiting, clock: Callable[[], float] = monotonic) -> None:
        self._waiting = waiting
        self._clock = clock
        self._idle_since: float | None = None
        self._looked_at = 0.0
        self._slots: dict[int, int] = {}
        self._places: dict[int, int] = {}
        self._unanswered: dict[int, float] = {}
        self._passed: dict[int, float] = {}

    @property
    def places(self) -> Mapping[int, int]:
        """Number of a partition that has an offer -> a place in its journal before all answers."""
        return self._places

    def turn(self, spare: int, foreign: Mapping[int, int], own: Collection[int]) -> list[Offer]:
        """Say what is offered from now on, and renew what was offered.

        Args:
            spare: Slots that work of our own leaves, now and for its tasks that wait.
            foreign: Number of a partition -> tokens that the keeper holds of its tasks, of
                partitions that are not our own.
            own: Numbers of our own partitions.
        """
        now = self._clock()
        free = spare - sum(foreign.values())
        if spare <= 0 or free < 0:
            self._idle_since = None
            return self._end(list(self._slots))
        if self._idle_since is None:
            self._idle_since = now
        over = self._end([number for number in self._slots if number in own])
        if now - self._idle_since < _IDLE or now - self._looked_at < _LOOK_EVERY:
            return over
        self._looked_at = now
        return over + self._divide(free, foreign, own, now)

    def answered(self, number: int) -> None:
        """The owner of a partition has granted an attempt."""
        self._unanswered.pop(number, None)

    def withdraw(self, number: int) -> list[Offer]:
        """Offer nothing to a partition for a while."""
        self._passed[number] = self._clock() + _PASSED_FOR
        return self._end([number] if number in self._slots else [])

    def _divide(
        self, free: int, foreign: Mapping[int, int], own: Collection[int], now: float
    ) -> list[Offer]:
        notes: Mapping[int, OpenNote] = self._waiting() if free else {}
        self._passed = {number: until for number, until in self._passed.items() if until > now}
        more = shares(
            free,
            {
                number: note.waiting
                for number, note in notes.items()
                if number not in own and number not in self._passed
            },
        )
        self._unanswered = {number: self._unanswered.get(number, now) for number in more}
        for number, since in self._unanswered.items():
            if now - since >= _ANSWERED_WITHIN:
                self._passed[number] = now + _PASSED_FOR
        offered = {
            number: foreign.get(number, 0) + more[number] for number in {*self._slots, *more}
        }
        for number in more.keys() - self._slots.keys():
            self._places[number] = notes[number].at
        over = self._end([number for number, slots in offered.items() if not slots])
        self._slots = {number: slots for number, slots in offered.items() if slots}
        return over + [Offer(number, slots) for number, slots in self._slots.items()]

    def _end(self, numbers: Iterable[int]) -> list[Offer]:
        ended: list[Offer] = []
        for number in numbers:
            self._slots.pop(number, None)
            self._places.pop(number, None)
            self._unanswered.pop(number, None)
            ended.append(Offer(number, 0))
        return ended


class Opening(NamedTuple):
    """Slots that an executor elsewhere has for the tasks of a partition.

    Attributes:
        offer: Number of the offer.
        slots: How many more tasks may be granted.
    """

    executor: str
    boot: str
    offer: int
    slots: int

    def grant(self) -> w.Granted:
        """A word that gives one of the slots to a task."""
        token = token_hex(8)
        return w.Granted(token=token, executor=self.executor, boot=self.boot, offer=self.offer)


class OffersOfOthers:
    """What executors of other hosts offer to our partitions.

    Args:
        clock: Time on a monotonic clock, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._offers: dict[tuple[Partition, str], tuple[w.Alive, float]] = {}

    def hear(self, tp: Partition, word: w.Alive | w.Hello) -> None:
        """Take in what an executor says of itself."""
        if isinstance(word, w.Alive) and word.slots and not word.draining:
            self._offers[tp, word.executor] = word, self._clock()
        else:
            self.drop(tp, word.executor)

    def drop(self, tp: Partition, executor: str) -> None:
        """Grant nothing until the executor offers something anew: it has given a grant back."""
        self._offers.pop((tp, executor), None)

    def forget(self, tp: Partition) -> None:
        """The partition has left."""
        for key in [key for key in self._offers if key[0] == tp]:
            del self._offers[key]

    def openings(self, tp: Partition, held: Collection[Head]) -> list[Opening]:
        """The slots that are offered to a partition, without those that its tasks have."""
        heard = self._clock() - _FORGOTTEN_AFTER
        found: list[Opening] = []
        for (place, _), (word, at) in self._offers.items():
            if place == tp and at >= heard:
                who = word.executor, word.boot
                used = sum((head.executor, head.boot) == who for head in held)
                found.append(Opening(*who, word.offer, word.slots - used))
        return [opening for opening in found if opening.slots > 0]


def never_begins(head: Head, word: w.Alive) -> bool:
    """Whether a list of its executor proves that an attempt was not begun, and never will be."""
    is_over = 0 < head.offer < word.offer
    return is_over and not head.started_ms and head.token not in word.tokens


def may_be_on_its_way(head: Head, word: w.Alive) -> bool:
    """Whether the executor may not have heard yet of the grant, when it said its list."""
    return head.offer >= max(word.offer, 1) and not head.started_ms
