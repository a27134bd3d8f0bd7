"""What a keeper offers to the owners of partitions on other hosts.

An owner of this host decides what is offered; the keeper numbers the offers, and takes no grant but
under a present one. So what a list of tokens says with the number of the offer stays true: a grant
under an earlier number that is not listed is never begun.
"""

from __future__ import annotations

from itertools import count
from typing import Final, NamedTuple

from kafka_etl.tasks.keeping import Grant, Instant, Offer

_LASTS: Final = 5.0
"""Seconds that an offer lasts unless it is renewed: its owner stands still, or has died."""


class _Open(NamedTuple):
    """A present offer.

    Attributes:
        by: The owner of this host that makes the offer.
        slots: Slots that the other owner may fill.
        since: When it was made.
        until: When it ends, on the monotonic clock.
    """

    number: int
    by: object
    slots: int
    since: Instant
    until: float


class Offers:
    """The present offers, one for a partition at most, and those whose end is still to be told."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._next = next(self._numbers)
        self._open: dict[int, _Open] = {}
        self._ended: dict[int, int] = {}

    def hear(self, by: object, offer: Offer, at: Instant, now: float) -> bool:
        """Make, renew or end an offer; return whether its partition is to be told."""
        known = self._open.get(offer.partition)
        if offer.slots == 0:
            return self.end(offer.partition)
        if known is not None and known.by is by:
            renewed = known._replace(slots=offer.slots, until=now + _LASTS)
        else:
            renewed = _Open(self._next, by, offer.slots, at, now + _LASTS)
            self._next = next(self._numbers)
        self._open[offer.partition] = renewed
        return known is None or known[:3] != renewed[:3]

    def end(self, partition: int) -> bool:
        """End an offer; return whether there was one."""
        if self._open.pop(partition, None) is None:
            return False
        self._ended[partition] = 0
        return True

    def end_all(self) -> None:
        """End all offers: the keeper takes no work any more."""
        for partition in list(self._open):
            self.end(partition)

    def overdue(self, now: float) -> list[int]:
        """End the offers that nobody has renewed, and return their partitions."""
        return [p for p, offer in list(self._open.items()) if now >= offer.until and self.end(p)]

    @property
    def ends(self) -> list[float]:
        """When the offers end, unless they are renewed."""
        return [offer.until for offer in self._open.values()]

    def of(self, partition: int) -> tuple[int, int]:
        """Number and slots of a partition's offer; without one the next number, and 0."""
        offer = self._open.get(partition)
        return (self._next, 0) if offer is None else (offer.number, offer.slots)

    def since(self, by: object, grant: Grant) -> Instant | None:
        """When the offer was made that a grant answers; None: the offer is over."""
        offer = self._open.get(grant.partition)
        if offer is None or (offer.number, offer.by) != (grant.offer, by):
            return None
        return offer.since

    @property
    def partitions(self) -> set[int]:
        """The partitions whose owners are to hear of us, tokens or not."""
        return self._open.keys() | self._ended.keys()

    def said(self, partition: int, number: int) -> None:
        """A list with this number says how it stands with the offer to a partition."""
        if self._ended.get(partition) == 0:
            self._ended[partition] = number

    def acknowledge(self, partition: int, number: int) -> None:
        """Kafka has a list: the end of an offer that the list says is told."""
        if 0 < self._ended.get(partition, 0) <= number:
            del self._ended[partition]
