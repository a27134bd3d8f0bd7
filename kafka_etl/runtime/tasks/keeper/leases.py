"""The leases of a keeper: how long attempts may run though nobody has heard of their keeper.

An owner that hears nothing of an executor for `lost_after` gives its tasks to another. So a keeper
that cannot be heard ends its attempts before that: a lease is three quarters as long, and counts
from the moment when the keeper last said something that Kafka has acknowledged. Both sides count
from words, and each on its own clock, so the clocks of hosts are never compared.
"""

from __future__ import annotations

from typing import Final

from kafka_etl.tasks.keeping import Acknowledged, Instant

_SHARE: Final = 0.75


class Leases:
    """One lease for each partition, and one for each grant until the partition's is newer.

    Args:
        lost_after: Seconds of silence after which an owner takes an executor for lost.
    """

    def __init__(self, lost_after: float) -> None:
        self.length: Final = _SHARE * lost_after
        self._number = 0
        self._lists: dict[tuple[int, int], Instant] = {}
        self._heard: dict[int, Instant] = {}

    def say(self, partition: int, now: Instant) -> int:
        """The keeper lists its tokens of a partition: return the number of the list."""
        self._number += 1
        self._lists = {
            key: said for key, said in self._lists.items() if now.boot - said.boot <= self.length
        }
        self._lists[partition, self._number] = now
        return self._number

    def acknowledge(self, done: Acknowledged) -> None:
        """Kafka has a list: the lease of the partition counts from the moment of its saying."""
        said = self._lists.get((done.partition, done.number))
        if said is None:
            return
        self._heard[done.partition] = said
        for key in [k for k in self._lists if k[0] == done.partition and k[1] <= done.number]:
            del self._lists[key]

    def is_over(self, partition: int, granted: Instant, now: Instant) -> bool:
        """Whether an attempt may not run any more.

        A host may have stood still without its first clock having seen that; so the wall clock
        counts also, where it is ahead.

        Args:
            partition: Partition of the attempt's task.
            granted: When the attempt was granted.
            now: The present time.
        """
        since = max(granted, self._heard.get(partition, granted))
        return now.boot - since.boot > self.length or now.wall - since.wall > self.length
