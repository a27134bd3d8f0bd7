"""Partitions that no member of a group reads, although the group is at rest.

A static member that is killed while giving partitions up, and is back within its session, is handed
its other partitions without a rebalance. Those that the member gave up have no owner until somebody
joins or leaves the group, and no broker and no client reports anything. Groups without static
members have been seen in that state, too, after members were killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Thread
from time import monotonic
from typing import Any, Final

from kafka_etl.errors import KafkaEtlError
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.log import get_logger
from kafka_etl.record import Partition

_FIRST_LOOK: Final = 3.0
"""Seconds from the first partitions to the first look: a usual rebalance has ended by then."""
_LOOK_EVERY: Final = 60.0


class UnownedPartitions:
    """The looks of one member at the partitions of its group, on a thread that each look starts.

    Args:
        client: Settings of an admin client.
        group: The consumer group.
        topics: Names of topics, and regular expressions that begin with `^`.
    """

    def __init__(self, client: Mapping[str, Any], group: str, topics: Sequence[str]) -> None:
        self._client = client
        self._group = group
        self._topics = {topic for topic in topics if not topic.startswith("^")}
        self._look_at: float | None = None
        self._found: frozenset[Partition] = frozenset()

    def look(self) -> frozenset[Partition]:
        """Return the unowned partitions that the last look found, once for each look.

        The call is for a member with partitions, and does not wait: looks are 60 s apart. A look
        that fails finds nothing.
        """
        now = monotonic()
        if self._look_at is None:
            self._look_at = now + _FIRST_LOOK
        elif now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            Thread(target=self._look, name="unowned partitions", daemon=True).start()
        found, self._found = self._found, frozenset()
        return found

    def _look(self) -> None:
        try:
            self._found = self._unowned(Admin(self._client))
        except KafkaEtlError as error:
            get_logger("source").warning("looking at the group failed", error=str(error))

    def _unowned(self, admin: Admin) -> frozenset[Partition]:
        owned = admin.owned(self._group)
        if owned is None:
            return frozenset()
        counts = admin.topics(self._topics | {tp.topic for tp in owned}, "READ")
        return frozenset(
            Partition(topic, number) for topic, count in counts.items() for number in range(count)
        ).difference(owned)
