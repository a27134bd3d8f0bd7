"""The Kafka source and the transactions, one layer below whole pipelines."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any, NamedTuple, TypeVar

import pytest
from confluent_kafka import Consumer

from kafka_etl.contracts import Aborted, Deployment
from kafka_etl.envelope import Provenance
from kafka_etl.errors import GroupTaken, OffsetsLost, TopicGone
from kafka_etl.invocation import Outputs, Settlement
from kafka_etl.kafka.settings import KafkaSourceSettings
from kafka_etl.kafka.sink.sink import KafkaSink
from kafka_etl.kafka.source import membership, subscribed_topics
from kafka_etl.kafka.source import source as source_module
from kafka_etl.kafka.source.source import KafkaSource
from kafka_etl.record import Batch, Partition, offset_of, partition_of
from tests.kit.kafka import Kafka, Stored

T = TypeVar("T")


def nobody(_what: str) -> None:
    """A pulse that nobody feels."""


@pytest.fixture
def group(kafka: Kafka) -> str:
    return kafka.name()


@pytest.fixture
def place(kafka: Kafka, group: str) -> Deployment:
    about = Provenance(group, "", group, group, "host", 1, "0", "3", {})
    return Deployment(group, group, kafka.client, {}, {}, about)


@pytest.fixture
def sink(kafka: Kafka, place: Deployment) -> Iterator[KafkaSink]:
    sink = KafkaSink(kafka.topic(1), place)
    sink.open()
    yield sink
    sink.close()


@pytest.fixture
def open_source(place: Deployment) -> Iterator[Callable[..., KafkaSource]]:
    opened: list[KafkaSource] = []

    def open_it(
        topic: str, consumer: Mapping[str, int] | None = None, **settings: object
    ) -> KafkaSource:
        checked = KafkaSourceSettings.model_validate({"topics": [topic], **settings})
        opened.append(KafkaSource(checked, replace(place, consumer=consumer or {}), nobody))
        return opened[-1]

    yield open_it
    for source in opened:
        source.close()


def poll(source: KafkaSource, limit: int = 10_000, seconds: float = 20) -> Batch:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        batch = source.poll(limit)
        if batch is not None:
            return batch
    raise TimeoutError


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline


def commit(source: KafkaSource, sink: KafkaSink, batch: Batch) -> None:
    sink.begin(Settlement(Outputs(), (), batch.progress, source.lease))()
    source.advance(batch.progress)
    source.settle(batch.progress)


def test_without_membership_nothing_is_committed(sink: KafkaSink) -> None:
    with pytest.raises(Aborted, match="not a member"):
        sink.begin(Settlement(Outputs(), (), {Partition("t", 0): 5}, lease=None))()


def test_a_source_that_has_not_joined_has_no_proof_of_membership(
    kafka: Kafka, open_source: Callable[..., KafkaSource]
) -> None:
    source = open_source(kafka.topic(1))
    source.serve()
    assert source.lease is None


def test_a_record_over_max_bytes_travels_alone(
    kafka: Kafka, open_source: Callable[..., KafkaSource]
) -> None:
    topic = kafka.topic(1)
    kafka.produce(topic, [b"a" * 10, b"b" * 10, b"c" * 5000, b"d" * 10])
    source = open_source(topic, batch={"max_bytes": 100})
    sizes = [[len(r.value() or b"") for r in poll(source).records] for _ in range(3)]
    assert sizes == [[10, 10], [5000], [10]]


def test_what_is_held_of_large_records_is_bounded_by_max_bytes(
    kafka: Kafka, open_source: Callable[..., KafkaSource]
) -> None:
    topic = kafka.topic(1)
    kafka.produce(topic, [bytes(100_000)] * 200)
    source = open_source(topic, batch={"max_bytes": 1_000_000, "max_wait": "5s"})
    progress = poll(source).progress
    source.advance(progress)
    source.settle(progress)
    tracemalloc.start()
    batch = poll(source)  # time enough to take in all the others
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(batch.records) <= 10
    assert held < 3_000_000


def test_what_was_not_settled_is_read_again_after_rewind(
    kafka: Kafka, open_source: Callable[..., KafkaSource], sink: KafkaSink
) -> None:
    topic = kafka.topic(1)
    kafka.produce(topic, [str(n) for n in range(100)])
    source = open_source(topic)
    commit(source, sink, poll(source, 30))
    lost = [r.value() for r in poll(source, 20).records]
    source.rewind()
    assert [r.value() for r in poll(source, 20).records] == lost


def test_serving_fetches_nothing_and_loses_nothing(
    kafka: Kafka, open_source: Callable[..., KafkaSource], sink: KafkaSink
) -> None:
    topic = kafka.topic(3)
    kafka.produce(topic, [{"value": str(n), "partition": n % 3} for n in range(3000)])
    source = open_source(topic)
    found: list[bytes | None] = []
    while len(found) < 3000:
        batch = poll(source, 100)
        found += [r.value() for r in batch.records]
        source.serve()
        commit(source, sink, batch)
    assert sorted(int(v or b"") for v in found) == list(range(3000))


class Ledger:
    """Checks what a source delivers, in the end, against what its topic holds.

    The ledger keeps, per partition, every record and every offset that reading went back to.
    """

    def __init__(self, source: KafkaSource, sink: KafkaSink, topic: str) -> None:
        self._source, self._sink = source, sink
        self._partitions = [Partition(topic, n) for n in range(PARTITIONS)]
        self._settled = dict.fromkeys(self._partitions, 0)
        self._read: dict[Partition, list[Record | BackTo]] = {tp: [] for tp in self._partitions}
        self._unsettled: list[Batch] = []

    def poll(self, limit: int) -> None:
        if (batch := self._source.poll(limit)) is not None:
            self._unsettled.append(batch)
            for record in batch.records:
                place = partition_of(record)
                self._read[place].append(Record(offset_of(record), record.value()))

    def serve(self, times: int) -> None:
        for _ in range(times):
            self._source.serve()

    def settle_oldest(self) -> None:
        if self._unsettled:
            batch = self._unsettled.pop(0)
            commit(self._source, self._sink, batch)
            self._settled.update(batch.progress)

    def go_back(self, how: Callable[[], None]) -> None:
        how()
        self._unsettled = []
        for tp, offset in self._settled.items():
            self._read[tp].append(BackTo(offset))

    def settled_all(self, ends: Mapping[int, int]) -> bool:
        return all(self._settled[tp] >= ends[tp.number] for tp in self._partitions)

    def check(self, stored: list[Stored]) -> tuple[int, int]:
        """Each partition was read in order, each record once; returns how many, and how often."""
        records = reads = 0
        for tp in self._partitions:
            log = [Record(r.offset, r.value) for r in stored if r.partition == tp.number]
            at = 0
            for read in self._read[tp]:
                if isinstance(read, BackTo):
                    at = sum(record.offset < read.offset for record in log)
                    continue
                assert read == log[at], f"{tp}: {read.offset} in place of {log[at].offset}"
                at += 1
                reads += 1
            assert at == len(log)
            records += len(log)
        return records, reads


class Record(NamedTuple):
    offset: int
    value: bytes | None


class BackTo(NamedTuple):
    offset: int


PARTITIONS = 5


@pytest.mark.parametrize("waking_seeks", [0, 2, 32])
def test_whatever_is_done_to_a_source_each_record_comes_once_and_in_order(
    kafka: Kafka,
    open_source: Callable[..., KafkaSource],
    sink: KafkaSink,
    monkeypatch: pytest.MonkeyPatch,
    waking_seeks: int,
) -> None:
    """Without any seek, too, the client goes on behind what it delivered before it was paused.

    Transactions are written meanwhile, some are aborted, and some records are larger than a fetch.
    """
    monkeypatch.setattr(source_module, "_WAKING_SEEKS", waking_seeks)
    chance = random.Random(waking_seeks)
    topic = kafka.topic(PARTITIONS)
    transactions = [
        (
            [
                {
                    "value": f"{n}-{m} ".encode() + bytes(chance.choice([1, 1, 1, 4_000, 60_000])),
                    "partition": chance.randrange(PARTITIONS),
                }
                for m in range(chance.randrange(1, 30))
            ],
            chance.random() < 0.8,
        )
        for n in range(100)
    ]
    kafka.produce(topic, [{"value": "first", "partition": n} for n in range(PARTITIONS)])
    small = {"fetch.message.max.bytes": 20_000, "queued.max.messages.kbytes": 100}
    source = open_source(topic, small, batch={"max_wait": "10ms"})
    ledger = Ledger(source, sink, topic)
    acts: list[tuple[int, Callable[[], None]]] = [
        (20, lambda: ledger.poll(chance.choice([1, 5, 50]))),
        (6, lambda: ledger.serve(chance.choice([1, 3, 12]))),
        (10, ledger.settle_oldest),
        (2, lambda: ledger.go_back(source.rewind)),
        (1, lambda: ledger.go_back(source.reload)),
    ]
    weights = [weight for weight, _ in acts]
    with ThreadPoolExecutor(1) as aside:
        written = aside.submit(kafka.produce_transactions, topic, transactions)
        until = time.monotonic() + 8
        while time.monotonic() < until or not written.done():
            chance.choices(acts, weights)[0][1]()
        written.result()
    ledger.go_back(source.rewind)
    ends = kafka.ends(topic)
    until = time.monotonic() + 30
    while not ledger.settled_all(ends):
        assert time.monotonic() < until
        ledger.poll(1000)
        ledger.settle_oldest()
    records, reads = ledger.check(kafka.read(topic))
    assert reads > records > 500


def test_closing_does_not_wait_for_partitions_that_have_just_come(
    kafka: Kafka, open_source: Callable[..., KafkaSource]
) -> None:
    """A closing client answers no question, so the callback must not ask where the group stands."""
    source = open_source(kafka.topic(1))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not source.joined:
        time.sleep(0.05)
    time.sleep(0.5)  # the assignment has come, and waits for the next call to be taken in
    started = time.monotonic()
    source.close()
    assert time.monotonic() - started < 4


def test_what_was_not_fetched_yet_is_not_taken_for_read(
    kafka: Kafka, open_source: Callable[..., KafkaSource]
) -> None:
    topic = kafka.topic(1)
    kafka.produce(topic, ["a", "b", "c"])
    source = open_source(topic)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not source.arrivals():
        source.serve()
    position = source.positions()[Partition(topic, 0)]
    assert (position.next, position.lag) in [(0, None), (0, 3)]


def test_progress_reaches_past_the_last_marker(
    kafka: Kafka, open_source: Callable[..., KafkaSource], sink: KafkaSink
) -> None:
    topic = kafka.topic(1)
    kafka.produce_transactions(topic, [(["a", "b"], True), (["never"], False), (["c"], True)])
    source = open_source(topic)
    values: list[bytes | None] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not source.finished({Partition(topic, 0): 7}):
        batch = source.poll(100)
        if batch is not None:
            values += [r.value() for r in batch.records]
            commit(source, sink, batch)
    assert values == [b"a", b"b", b"c"]
    assert kafka.ends(topic) == {0: 7}


def test_a_note_comes_back_to_the_next_owner(
    kafka: Kafka, open_source: Callable[..., KafkaSource], sink: KafkaSink
) -> None:
    topic = kafka.topic(1)
    kafka.produce(topic, ["a", "b", "c"])
    tp = Partition(topic, 0)
    source = open_source(topic)
    poll(source)
    sink.begin(Settlement(Outputs(), (), {tp: 1}, source.lease, {tp: "careful"}))()
    source.close()
    successor = open_source(topic)
    assert [r.value() for r in poll(successor).records] == [b"b", b"c"]
    assert successor.arrivals()[tp].note == "careful"


def test_offsets_lost_to_retention_stop_the_source(
    kafka: Kafka, open_source: Callable[..., KafkaSource], sink: KafkaSink
) -> None:
    topic = kafka.topic(1)
    kafka.produce(topic, [str(n) for n in range(10)])
    source = open_source(topic)
    commit(source, sink, poll(source, 2))
    source.close()
    kafka.delete_records(topic, 0, before=5)
    with pytest.raises(OffsetsLost, match=topic):
        poll(open_source(topic))


def test_members_of_another_kind_are_a_trouble_and_end_a_run_that_is_to_end(
    kafka: Kafka,
    open_source: Callable[..., KafkaSource],
    group: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "_PATIENCE", 2.0)
    topic = kafka.topic(1)
    kafka.produce(topic, ["a"])
    apart = {"enable.auto.commit": False, "auto.offset.reset": "earliest"}
    stranger = Consumer({**kafka.client, **apart, "group.id": group})
    stranger.subscribe([topic])
    try:
        wait_until(lambda: stranger.poll(0.1) is not None)
        source = open_source(topic)

        def let_in_or_told() -> bool:
            stranger.poll(0)
            source.serve()
            return source.trouble is not None

        wait_until(let_in_or_told)
        assert source.trouble is not None
        assert "source.with.group" in source.trouble
        assert not source.joined
        with pytest.raises(GroupTaken, match=f"group {group} does not let this worker in"):
            wait_until(lambda: let_in_or_told() and source.finished({Partition(topic, 0): 1}))
    finally:
        stranger.close()
    wait_until(lambda: source.poll(10) is not None)
    assert source.trouble is None


def test_a_deleted_topic_ends_a_run_that_is_to_read_it_to_its_end(
    kafka: Kafka, open_source: Callable[..., KafkaSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribed_topics, "_ASK_EVERY", 0.1)
    monkeypatch.setattr(subscribed_topics, "_GONE_FOR", 1.0)
    topic = kafka.topic(1)
    kafka.produce(topic, ["a"])
    source = open_source(topic)
    poll(source)
    kafka.delete_topic(topic)
    with pytest.raises(TopicGone, match=topic):
        wait_until(lambda: source.poll(1) is None and source.finished({Partition(topic, 0): 5}))


def test_a_pattern_that_nothing_matches_is_a_trouble_until_a_topic_comes(
    kafka: Kafka, open_source: Callable[..., KafkaSource]
) -> None:
    prefix = kafka.name()
    source = open_source(f"^{prefix}-.*", {"topic.metadata.refresh.interval.ms": 500})
    wait_until(lambda: source.poll(1) is None and source.trouble is not None)
    assert source.trouble == f"no topic matches ^{prefix}-.*"
    kafka.produce(kafka.topic(1, f"{prefix}-a"), ["x"])
    assert [record.value() for record in poll(source).records] == [b"x"]
    assert source.trouble is None


def test_a_worker_of_two_thousand_partitions_is_never_silent_for_long(
    kafka: Kafka, open_source: Callable[..., KafkaSource], sink: KafkaSink
) -> None:
    """Starting, reading, going back, waiting and reporting: none of the calls takes seconds."""
    count = 2000
    topic = kafka.topic(count)
    kafka.produce(topic, [{"value": str(n), "partition": n} for n in range(count)])
    calls: list[float] = []

    def timed(call: Callable[..., Any], *arguments: int) -> Any:
        started = time.monotonic()
        result = call(*arguments)
        calls.append(time.monotonic() - started)
        return result

    source = open_source(topic)
    read = set[bytes | None]()
    went_back = False
    deadline = time.monotonic() + 40
    while len(read) < count and time.monotonic() < deadline:
        batch = timed(source.poll, 500)
        timed(source.positions)
        if batch is None:
            continue
        if not went_back:
            went_back = True
            timed(source.serve)
            timed(source.rewind)
            continue
        commit(source, sink, batch)
        read.update(record.value() for record in batch.records)
    kafka.delete_topic(topic)
    assert read == {str(n).encode() for n in range(count)}
    assert len(source.positions()) == count
    assert max(calls) < 5


class Member:
    """A source in use by a thread of its own, which notes what each call takes."""

    def __init__(self, open_source: Callable[[], KafkaSource], sink: KafkaSink | None) -> None:
        self.held: set[Partition] = set()
        self.left: list[Partition] = []
        self.longest = 0.0
        self._open, self._sink = open_source, sink
        self._over = Event()
        self._executor = ThreadPoolExecutor(1)
        self._running = self._executor.submit(self._run)

    def end(self) -> None:
        self._over.set()
        self._executor.shutdown()
        self._running.result()

    def alive(self) -> bool:
        return not self._running.done()

    def _run(self) -> None:
        source = self._open()
        while not self._over.is_set():
            batch = self._timed(source.poll, 500)
            self._timed(source.positions)
            self._timed(source.serve)
            departed = source.departures()
            self.left += departed
            self.held = (self.held - departed) | source.arrivals().keys()
            if batch is not None and self._sink is not None and not departed:
                try:
                    commit(source, self._sink, batch)
                except Aborted:  # by brokers, in the middle of a rebalance
                    self._timed(source.rewind)
        self._timed(source.close)

    def _timed(self, call: Callable[..., T], *arguments: int) -> T:
        started = time.monotonic()
        result = call(*arguments)
        self.longest = max(self.longest, time.monotonic() - started)
        return result


def test_two_thousand_partitions_change_hands_without_a_stall(
    kafka: Kafka,
    open_source: Callable[..., KafkaSource],
    sink: KafkaSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second member joins and leaves: nobody is thrown out, and only what must move moves."""
    count = 2000
    callbacks: list[float] = []

    def timed(callback: Callable[..., None]) -> Callable[..., None]:
        def timed_callback(*arguments: object) -> None:
            started = time.monotonic()
            callback(*arguments)
            callbacks.append(time.monotonic() - started)

        return timed_callback

    monkeypatch.setattr(KafkaSource, "_on_assign", timed(KafkaSource._on_assign))
    monkeypatch.setattr(KafkaSource, "_on_leave", timed(KafkaSource._on_leave))
    topic = kafka.topic(count)
    kafka.produce(topic, [{"value": str(n), "partition": n} for n in range(count)])
    everything = {Partition(topic, n) for n in range(count)}
    one = Member(lambda: open_source(topic, membership="dynamic"), sink)
    other: Member | None = None
    try:
        wait_until(lambda: not one.alive() or one.held == everything)
        other = joining = Member(lambda: open_source(topic, membership="dynamic"), None)
        wait_until(
            lambda: (
                not (one.alive() and joining.alive())
                or (one.held | joining.held == everything and len(joining.held) == count // 2)
            )
        )
        moved = set(other.held)
        other.end()
        wait_until(lambda: not one.alive() or one.held == everything)
    finally:
        for member in (one, other):
            if member is not None:
                member.end()
        kafka.delete_topic(topic)
    assert one.held == everything
    assert sorted(one.left) == sorted(moved)
    assert max(callbacks) < 1
    assert max(one.longest, other.longest) < 10  # the session timeout
