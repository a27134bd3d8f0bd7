"""Membership of a worker in its group, and the reasons why a group refuses or expels a worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException

from kafka_etl.errors import ClientUnsupported, GroupTaken, KafkaRefused
from kafka_etl.kafka.client import classify

_PROOF: Final = b"CGMDv2:"
_WORTH_A_WORD: Final = 10.0
"""Seconds outside the group before the worker reports trouble: a rebalance is shorter."""
_PATIENCE: Final = 30.0
"""Seconds that a run to the end of its topics waits for a group that refuses the worker."""
_TOO_OFTEN: Final = 2


def enter(consumer: Consumer, topics: Sequence[str], **callbacks: Callable[..., None]) -> None:
    """Check the client's proof of membership, and subscribe the consumer to topics.

    Raises:
        KafkaRefused: The client does not take these topics.
        ClientUnsupported: This release of the client writes its proof in an unknown format.
    """
    generation(consumer.consumer_group_metadata())
    try:
        consumer.subscribe(list(topics), **callbacks)
    except KafkaException as raised:
        said = classify.said(classify.error_of(raised))
        raise KafkaRefused(
            f"the Kafka client does not take {', '.join(topics)} as topics to read: {said}",
            "Correct source.with.topics.",
        ) from raised


def generation(proof: Any) -> int:
    """The group generation in the client's opaque proof of membership: four bytes after `CGMDv2:`.

    Raises:
        ClientUnsupported: The proof does not begin with `CGMDv2:`.
    """
    if proof[: len(_PROOF)] != _PROOF:
        raise ClientUnsupported(
            "this release of confluent-kafka writes its proof of membership in a way that is not "
            f"known here: {bytes(proof[:8])!r}"
        )
    return int.from_bytes(proof[len(_PROOF) : len(_PROOF) + 4], "little", signed=True)


class Membership:
    """The knowledge of one worker about its place in the group."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._out_since = monotonic()
        self._refusal = ""
        self._refused_since = 0.0
        self._missing: str | None = None
        self._thrown_out = 0

    def note(self, error: KafkaError, topic: str | None) -> None:
        """Take in an error that the client delivered among the records."""
        if classify.shut_out(error):
            if not self._refusal:
                self._refused_since = monotonic()
            self._refusal = classify.said(error)
        elif classify.too_slow(error):
            self._thrown_out += 1
        elif topic is not None and classify.missing(error):
            pattern = topic.startswith("^")
            self._missing = (
                f"no topic matches {topic}" if pattern else f"no topic is called {topic}"
            )

    def look(self, *, joined: bool) -> None:
        """Take in whether the worker is a member now."""
        if joined:
            self._out_since = monotonic()
            self._refusal = ""

    def arrived(self) -> None:
        """Take in that the group has assigned partitions to the worker."""
        self.look(joined=True)
        self._missing = None

    def committed(self) -> None:
        """Take in that a commit has succeeded."""
        self._thrown_out = 0

    def trouble(self, *, holds: bool) -> str | None:
        """The reason why the worker gets no partitions, or loses its partitions; None: no reason.

        Args:
            holds: Whether the worker has partitions.
        """
        if self._thrown_out >= _TOO_OFTEN:
            return (
                f"thrown out of group {self._group} {self._thrown_out} times without a commit: a "
                "batch takes longer than `max.poll.interval.ms` under `consumer`; raise it, or "
                "lower the `timeout` of the operators or source.with.batch"
            )
        if holds:
            return None
        if self._refusal:
            return self._taken
        if self._missing:
            return self._missing
        if monotonic() - self._out_since > _WORTH_A_WORD:
            return f"not in group {self._group} yet: its members have not agreed who reads what"
        return None

    def insist(self) -> None:
        """Raise if the group has refused this worker for too long.

        Raises:
            GroupTaken: The group has refused this worker for more than 30 s.
        """
        if self._refusal and monotonic() - self._refused_since > _PATIENCE:
            raise GroupTaken(self._taken)

    @property
    def _taken(self) -> str:
        return (
            f"group {self._group} does not let this worker in, for it has members that share out "
            f"partitions in another way ({self._refusal}): stop them, or set source.with.group"
        )
