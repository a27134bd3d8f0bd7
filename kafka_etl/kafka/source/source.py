"""The Kafka source: batches, tracked offsets, and the partitions that come and leave.

Four rules hold everything together, each pinned by a test in tests/integration/test_source.py:

- The tracked offsets (those that the sink has taken) are the truth, and the client's `position()`
  never is. After a failed commit the source seeks back to the tracked offsets; while a commit is
  under way the source reads on behind the last batch. A paused client goes on by itself behind the
  last record that the client delivered, and the source holds or hands out every delivered record:
  partitions that do not move need no seek.
- The client reports the end of a partition (`_PARTITION_EOF`) with an offset past commit markers
  and aborted records. That offset becomes the tracked offset once all records before the offset
  are settled; so lag comes down to 0.
- Callbacks run inside `consume`. A callback notes which partitions came and left; no callback
  commits or raises.
- Without a proof of membership there is no commit: to a broker an empty proof looks like a consumer
  without a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, islice, takewhile
from time import monotonic, sleep
from typing import Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from kafka_etl.contracts import Arrival, Deployment, Position, Pulse, Reconnect
from kafka_etl.errors import KafkaEtlError, KafkaRefused
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.broker_silence import NO_ANSWER, BrokerSilence
from kafka_etl.kafka.client.settings import admin_settings, consumer_settings, make_client
from kafka_etl.kafka.cluster.admin import listed
from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.kafka.source.committed_offsets import CommittedOffsets, partition_at
from kafka_etl.kafka.source.membership import Membership, enter, generation
from kafka_etl.kafka.source.subscribed_topics import SubscribedTopics
from kafka_etl.kafka.source.unowned import UnownedPartitions
from kafka_etl.log import get_logger
from kafka_etl.record import (
    Batch,
    Offsets,
    Partition,
    last_records,
    next_offsets,
    offset_of,
    partition_of,
)

_NO_TOPIC: Final = "^$"
"""A pattern that fits no topic."""
_FIRST_RECORD: Final = 0.1
"""Seconds to wait for the first record of a batch."""
_MARKERS: Final = 0.003
"""Seconds that brokers need to write the markers of a commit.

The brokers refuse a transaction that begins before the markers are written, and the client repeats
its request after 20 ms. So the source gathers records meanwhile.
"""
_SAMPLE: Final = 16
"""One of so many records is measured, to estimate the size of all."""
_END_EVERY: Final = 0.25
"""Least seconds from a commit to a batch without records, which only moves offsets to the end."""
_MOMENT: Final = 0.5
_SOON: Final = 0.005
_SERVES: Final = 10
"""Calls of `serve` before the client is paused: each call may take in one record to hold."""
_WAKING_SEEKS: Final = 32
"""Seeks after a pause, which wake the client to fetch from the leaders of these partitions.

Neighbouring partitions have different leaders, so the seeks reach about as many brokers. The client
fetches from the other brokers within a second.
"""


class KafkaSource:
    """Reads topics as a member of a consumer group; see `kafka_etl.contracts.Source`.

    Args:
        settings: Topics, group, start, membership and the limits of a batch.
        deployment: The cluster, the member's name, and the topics that the pipeline writes.
        pulse: Called between the pieces of long waits.
    """

    def __init__(self, settings: KafkaSourceSettings, deployment: Deployment, pulse: Pulse) -> None:
        self._log = get_logger("source")
        self._limits = settings.batch
        self._own_topics = frozenset(deployment.size_limits)
        self._tracked: dict[Partition, int] = {}
        self._durable: dict[Partition, int] = {}
        self._offsets_in_sink = deployment.offsets_in_sink
        self._waiting: set[Partition] = set()
        self._given: dict[Partition, int] = {}
        self._held: list[Message] = []
        self._usual_size = settings.batch.max_bytes
        self._ends: dict[Partition, int] = {}
        self._stamps: dict[Partition, int] = {}
        self._arrived: dict[Partition, Arrival] = {}
        self._departed: set[Partition] = set()
        self._moved: set[Partition] = set()
        self._callback_error: Exception | None = None
        self._lease: object = None
        self._serves = 0
        self._holding = False
        self._closing = False
        self._last_commit = 0.0
        self._last_batch = 0.0
        group = settings.group or deployment.pipeline
        self._silence = BrokerSilence()
        self._membership = Membership(group)
        self._topics = SubscribedTopics(settings, deployment)
        static = settings.membership == "static"
        config = consumer_settings(deployment, group, static=static)
        self._consumer = make_client(Consumer, config | {"error_cb": self._silence.on_error})
        self._committed = CommittedOffsets(self._consumer, self._silence, pulse)
        self._unowned = UnownedPartitions(admin_settings(deployment), group, settings.topics)
        self._subscription = list(settings.topics)
        self._enter()

    def _enter(self) -> None:
        enter(
            self._consumer,
            self._subscription,
            on_assign=self._on_assign,
            on_revoke=self._on_leave,
            on_lost=self._on_leave,
        )

    # Called by the engine

    def poll(self, limit: int) -> Batch | None:
        self._release()
        self._find_owners()
        until = max(self._last_batch + self._limits.max_wait, self._last_commit + _MARKERS)
        self._fill(limit, max(0.0, until - monotonic()))
        if not self._held:
            self._take_in(self._consume(1, _FIRST_RECORD))
        if len(self._held) == 1:  # the first record shows how many more fit
            self._fill(limit, 0)
        self._refresh_lease()
        if self._held or self._end_is_due():
            return self._cut(limit)
        return None

    def serve(self) -> None:
        self._serves += 1
        if self._serves > _SERVES and not self._holding:
            self._consumer.pause(self._consumer.assignment())
            self._holding = True
        self._take_in(self._consume(1, 0))
        self._refresh_lease()

    @property
    def lease(self) -> object:
        return self._lease

    def arrivals(self) -> Mapping[Partition, Arrival]:
        arrived, self._arrived = self._arrived, {}
        return arrived

    def departures(self) -> frozenset[Partition]:
        departed = frozenset(self._departed)
        self._departed.clear()
        return departed

    def advance(self, progress: Offsets) -> None:
        self._tracked.update({tp: at for tp, at in progress.items() if tp in self._tracked})
        self._last_commit = monotonic()
        self._membership.committed()

    def settle(self, progress: Offsets) -> None:
        self._durable.update({tp: at for tp, at in progress.items() if tp in self._durable})

    def place(self, offsets: Offsets) -> None:
        placed = {tp: at for tp, at in offsets.items() if tp in self._tracked}
        self._held = [m for m in self._held if partition_of(m) not in placed]
        for marks in (self._tracked, self._durable, self._given):
            marks.update(placed)
        self._seek(placed, patient=True)
        waiting = self._waiting & placed.keys()
        self._waiting -= waiting
        if waiting and not self._holding:
            self._consumer.resume([TopicPartition(*tp) for tp in waiting])

    def rewind(self) -> None:
        self._go_back()

    def reload(self) -> None:
        try:
            committed = self._committed.read([TopicPartition(*tp) for tp in self._tracked])
        except KafkaException as raised:
            # While the client waits for a slow member of its group, brokers answer nothing else.
            said = classify.said(classify.error_of(raised))
            raise Reconnect(f"reading committed offsets failed: {said}") from raised
        self._tracked = {tp: arrival.offset for tp, arrival in committed.items()}
        self._durable = dict(self._tracked)
        self._go_back()

    def positions(self) -> Mapping[Partition, Position]:
        positions: dict[Partition, Position] = {}
        for tp, settled in self._durable.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*tp), cached=True)
            end = max(settled, high) if high >= 0 else None  # negative before the first fetch
            positions[tp] = Position(settled, end, self._stamps.get(tp, -1))
        return positions

    @property
    def joined(self) -> bool:
        if not self._consumer.memberid():
            return False
        # A member that was thrown out keeps its member id, but has no generation any more.
        return bool(self._tracked) or generation(self._consumer.consumer_group_metadata()) >= 0

    @property
    def trouble(self) -> str | None:
        if self._silence.lasts:
            return NO_ANSWER
        return self._membership.trouble(holds=bool(self._tracked))

    def finished(self, ends: Offsets) -> bool:
        self._membership.insist()
        late = self._late(ends)
        if late is not None:
            self._topics.require(self._consumer, late.topic)
        return late is None

    def _late(self, ends: Offsets) -> Partition | None:
        """A partition that the group may not have settled up to its end; None: all are settled."""
        for tp, end in ends.items():
            if tp in self._durable and (self._durable[tp] < end or tp in self._waiting):
                return tp
        elsewhere = [TopicPartition(*tp) for tp in ends if tp not in self._durable]
        if not elsewhere:
            return None
        try:
            committed = self._consumer.committed(elsewhere, timeout=_MOMENT)
        except KafkaException:  # brokers answer nothing else to a client that waits to join
            return partition_at(elsewhere[0])
        behind = (partition_at(c) for c in committed if c.offset < ends[partition_at(c)])
        return next(behind, None)

    def close(self) -> None:
        self._closing = True
        with suppress(KafkaException, RuntimeError):
            self._consumer.consume(1, 0)  # runs the callback of new partitions: see `_on_assign`
        try:
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            self._log.warning("closing the consumer failed", error=str(error))

    # Gathering

    def _consume(self, count: int, seconds: float) -> list[Message]:
        """Fetch records, and run callbacks: partitions may come and leave during the call.

        Raises:
            Reconnect: The client cannot go on, or a callback has failed otherwise.
            KafkaEtlError: A callback has failed with this error.
        """
        try:
            messages = self._consumer.consume(count, seconds)
        except KafkaException as raised:
            error = classify.error_of(raised)
            raise Reconnect(
                f"consuming failed: {classify.said(error)}", fenced=classify.fenced(error)
            ) from raised
        if self._callback_error is not None:
            failed, self._callback_error = self._callback_error, None
            if isinstance(failed, KafkaEtlError):
                raise failed
            raise Reconnect(f"taking over partitions failed: {failed}") from failed
        if not messages:
            self._look_around()
        return messages

    def _find_owners(self) -> None:
        """Have the group assign the partitions that no member reads.

        The client joins again when its subscription changes, and the group then starts a rebalance
        because this member has partitions. No partition with an owner moves.
        """
        unowned = self._unowned.look() if self._tracked else None
        if not unowned:
            return
        shown = listed([str(tp) for tp in sorted(unowned)])
        self._log.warning("no member reads some partitions: asking for owners", partitions=shown)
        if self._subscription[-1] == _NO_TOPIC:
            self._subscription.pop()
        else:
            self._subscription.append(_NO_TOPIC)
        self._enter()

    def _look_around(self) -> None:
        """Find out why the client delivers no record."""
        # A worker with partitions is a member; asking the client costs 0.1 ms each time.
        joined = bool(self._tracked) or self.joined
        self._silence.look(self._ask, joined=joined)
        self._membership.look(joined=joined)

    def _ask(self) -> None:
        """Ask the brokers about one topic, because an answer about all topics may take long."""
        self._consumer.list_topics(self._topics.one, _MOMENT)

    def _fill(self, limit: int, seconds: float) -> None:
        """Take in as many records as fit into a batch, judged by the size of earlier records."""
        held = len(self._held)
        if held >= limit:
            return
        size = sum(map(len, self._held))
        usual = max(1, size // held) if held else self._usual_size
        count = min(limit - held, (self._limits.max_bytes - size) // usual)
        if count > 0:
            self._take_in(self._consume(count, seconds))

    def _take_in(self, messages: list[Message]) -> None:
        """Hold the delivered records, and act on the delivered errors and ends of partitions."""
        if any(map(Message.error, messages)):
            for message in messages:
                if (error := message.error()) is not None:
                    self._event(message, error)
            messages = [message for message in messages if message.error() is None]
        self._held = [*self._held, *messages] if self._held else messages
        if self._moved:
            # The held records of a partition that has left are void, even if the partition is back.
            self._held = [m for m in self._held if partition_of(m) not in self._moved]
            self._seek({tp: self._tracked[tp] for tp in self._moved if tp in self._tracked})
            self._moved = set()

    def _cut(self, limit: int) -> Batch | None:
        """Cut a batch from the held records; None: no record is held, and no end is new.

        The batch keeps to the limits, but takes at least one of the held records.
        """
        records = self._held
        size = self._fitting(records if len(records) <= limit else records[:limit])
        self._held = []
        if size < len(records):
            records, self._held = records[:size], records[size:]
        topics = {tp.topic for tp in self._tracked}
        last = last_records(records, topics.pop() if len(topics) == 1 else None)
        progress = {tp: offset_of(message) + 1 for tp, message in last.items()}
        self._stamps.update({tp: message.timestamp()[1] for tp, message in last.items()})
        held = set(map(partition_of, self._held))
        for tp, end in self._ends.items():
            if tp not in held and end > progress.get(tp, self._given[tp]):
                progress[tp] = end
        begins = {tp: self._given[tp] for tp in progress}
        self._given.update(progress)
        self._last_batch = monotonic()
        return Batch(records, progress, begins) if progress else None

    def _fitting(self, records: Sequence[Message]) -> int:
        """Count the records, from the first on, that fit into a batch.

        Of many records only a sample is measured, if the estimate is at most half the limit.
        """
        every = 1 if len(records) < 100 * _SAMPLE else _SAMPLE
        size = sum(map(len, records[::every])) * every
        if records:
            self._usual_size = min(max(1, size // len(records)), self._limits.max_bytes)
        if size * min(every, 2) <= self._limits.max_bytes:
            return len(records)
        sizes = accumulate(map(len, records))
        return max(1, sum(1 for _ in takewhile(self._limits.max_bytes.__ge__, sizes)))

    def _end_is_due(self) -> bool:
        """Whether to cut a batch without records, which moves offsets past the last markers."""
        if monotonic() < self._last_commit + _END_EVERY:
            return False
        return any(end > self._given[tp] for tp, end in self._ends.items())

    def _refresh_lease(self) -> None:
        self._lease = None
        if self._tracked and self._consumer.memberid():
            proof = self._consumer.consumer_group_metadata()
            self._lease = proof if generation(proof) >= 0 else None

    def _event(self, message: Message, error: KafkaError) -> None:
        """Act on an error, or on the end of a partition, that the client delivered as a record."""
        tp = partition_of(message)
        if error.name() == "_PARTITION_EOF":
            if tp in self._tracked:
                self._ends[tp] = offset_of(message)
            return
        if classify.fatal(error) or classify.fenced(error):
            reason = f"the consumer is of no use: {classify.said(error)}"
            raise Reconnect(reason, fenced=classify.fenced(error))
        self._membership.note(error, message.topic())
        stop = classify.final(error, f"reading {tp} at offset {offset_of(message)}")
        if stop is not None:
            raise stop
        self._log.warning("the client reports", partition=str(tp), error=classify.said(error))

    # Offsets

    def _go_back(self) -> None:
        """Read on from the tracked offsets, and forget the held records."""
        self._read_on(self._tracked)
        self._given = dict(self._tracked)
        self._held = []

    def _release(self) -> None:
        """Fetch again after `serve`, behind the records that were handed out or are held.

        The tracked offsets would be too early: a batch whose commit is under way would be read,
        and written, again.
        """
        self._serves = 0
        if self._holding:
            self._read_on(self._delivered())

    def _delivered(self) -> dict[Partition, int]:
        """Partition -> offset behind its last delivered record, from which the client reads on."""
        return self._given | next_offsets(self._held)

    def _read_on(self, offsets: Offsets) -> None:
        """Have the client deliver the records from these offsets on.

        Only partitions that move are sought. A seek waits for one thread of the client, and makes
        another thread look through all partitions, so 2,000 seeks take seconds under load.
        """
        delivered = self._delivered()
        seeks = {tp: offset for tp, offset in offsets.items() if delivered.get(tp) != offset}
        self._serves = 0
        if self._holding:
            self._resume(self._consumer.assignment())
            self._holding = False
            # After a resume alone, the client waits for a timer before it fetches, up to a second.
            # A seek wakes the client, even to the present offset, but not to offset 0.
            seeks |= dict(islice(((tp, at) for tp, at in offsets.items() if at > 0), _WAKING_SEEKS))
        self._seek(seeks)

    def _resume(self, assigned: list[TopicPartition]) -> None:
        """Fetch again, but not the partitions that wait for their offsets from the sink."""
        if self._waiting:
            assigned = [p for p in assigned if partition_at(p) not in self._waiting]
        self._consumer.resume(assigned)

    def _seek(self, offsets: Offsets, *, patient: bool = False) -> None:
        """Seek.

        Args:
            offsets: Partition -> offset to read next.
            patient: Whether a partition may have arrived a moment ago: the client then refuses for
                some milliseconds.
        """
        until = monotonic() + (_MOMENT if patient else 0)
        for tp, offset in offsets.items():
            self._ends.pop(tp, None)  # the client reports the end again after a seek
            while True:
                try:
                    self._consumer.seek(TopicPartition(*tp, offset))
                    break
                except KafkaException as raised:
                    if monotonic() < until:
                        sleep(_SOON)
                        continue
                    said = classify.said(classify.error_of(raised))
                    raise Reconnect(f"seeking in {tp} failed: {said}") from raised

    # Callbacks

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._closing:
            return  # the partitions leave at once, and a client that closes makes no request
        try:
            looping = {p.topic for p in partitions} & self._own_topics
            if looping:
                raise KafkaRefused(
                    f"the source would read what the pipeline writes: {', '.join(sorted(looping))}",
                    "Narrow the regular expression under source.with.topics.",
                )
            arrived = self._committed.read(partitions)
            consumer.incremental_assign(
                [TopicPartition(*tp, arrival.offset) for tp, arrival in arrived.items()]
            )
            if self._holding or self._offsets_in_sink:
                consumer.pause(partitions)
        except Exception as error:  # noqa: BLE001 - an exception would destroy a fetch
            self._callback_error = error
            return
        self._membership.arrived()
        offsets = {tp: arrival.offset for tp, arrival in arrived.items()}
        for marks in (self._tracked, self._durable, self._given):
            marks.update(offsets)
        if self._offsets_in_sink:
            self._waiting |= offsets.keys()
        self._arrived.update(arrived)

    def _on_leave(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        left = set(map(partition_at, partitions))
        self._departed |= left
        self._moved |= left
        states = (self._tracked, self._durable, self._given, self._ends, self._stamps)
        for state in (*states, self._arrived):
            for tp in left:
                state.pop(tp, None)
        paused = self._holding or not self._waiting.isdisjoint(left)
        self._waiting -= left
        try:
            if paused:
                # A partition that leaves while paused would still be paused on its return.
                consumer.resume(partitions)
            consumer.incremental_unassign(partitions)
        except Exception as error:  # noqa: BLE001 - as in `_on_assign`
            self._callback_error = error
