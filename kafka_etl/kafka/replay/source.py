"""The source of a replay: the records of claimed dead letters, as they were before they failed.

The claims are in the status topic, and each commit writes the statuses of its records in the same
transaction as outputs and offsets (`ReplayAccounts`): a replay that was killed goes on with the
claims that are left. No consumer joins the group, because a replay has one worker: the id of the
worker's transactions ends any other worker of the same replay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from kafka_etl.contracts import Arrival, Deployment, Position, Preflight, Pulse, Reconnect
from kafka_etl.dead_letters import StoredLetter
from kafka_etl.dead_letters.cuts import cut_parts, restored
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.replayed import ReplayedRecord
from kafka_etl.dead_letters.statuses import Claim, LetterPlace, status_topic
from kafka_etl.errors import BrokersUnreachable
from kafka_etl.kafka.client import classify
from kafka_etl.kafka.client.broker_silence import BrokerSilence
from kafka_etl.kafka.client.settings import admin_settings, consumer_settings, make_client
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.cluster.topics import ranges_of, read_ranges, record_at
from kafka_etl.kafka.preflight import largest_record
from kafka_etl.kafka.replay.accounts import RELEASED, ReplayAccounts, partition_of_claim
from kafka_etl.kafka.settings import ReplaySettings
from kafka_etl.kafka.source.committed_offsets import CommittedOffsets
from kafka_etl.log import get_logger
from kafka_etl.record import (
    Batch,
    Headers,
    Offsets,
    Partition,
    headers_of,
)

_FIRST: Final = 100
"""Letters of the first batch, whose size tells how many fit into the next."""
_NAP: Final = 0.05
_GONE: Final = "the letter is gone, or is none"


class ReplaySource:
    """Reads the claimed letters of one action; see `kafka_etl.contracts.Source`.

    Args:
        settings: The dead-letter topic and the action.
        deployment: The cluster; its `accounts` are a `ReplayAccounts`.
        pulse: Called between the pieces of long waits.
    """

    def __init__(self, settings: ReplaySettings, deployment: Deployment, pulse: Pulse) -> None:
        self._settings = settings
        self._accounts = _accounts(deployment)
        self._log = get_logger("source")
        self._reader = {**deployment.kafka, **deployment.consumer}
        # The consumer joins nothing: it has the offsets of the group, and the proof for commits.
        client = consumer_settings(deployment, settings.group, static=False)
        self._consumer = make_client(Consumer, client)
        self._committed = CommittedOffsets(self._consumer, BrokerSilence(), pulse)
        self._usual_size = 0
        self._next = 0
        self._not_before = 0.0
        self._taken: dict[Partition, int] = {}
        self._given: dict[Partition, int] = {}
        self._durable: dict[Partition, int] = {}
        self._arrived: dict[Partition, Arrival] = {}
        self._load()

    def _load(self) -> None:
        """Take over the claims that are left, and where the group stands."""
        try:
            self._accounts.read()
        except BrokersUnreachable as away:
            raise Reconnect(away.what) from away
        begins = self._accounts.begins()
        wanted = [TopicPartition(*tp) for tp in begins]
        try:
            found = self._committed.committed(wanted) if wanted else {}
        except KafkaException as raised:
            said = classify.said(classify.error_of(raised))
            raise Reconnect(f"reading committed offsets failed: {said}") from raised
        # Statuses move with the offsets: claims that are left stand at or behind the group's.
        self._taken = begins
        self._given, self._durable = dict(begins), dict(begins)
        self._arrived = {tp: Arrival(at, _note(found, tp)) for tp, at in begins.items()}
        self._next = 0

    # Called by the engine

    def poll(self, limit: int) -> Batch | None:
        if self._settings.release and not self._arrived:
            return self._release()
        if self._arrived or self._next == len(self._accounts.order) or self._waits():
            sleep(_NAP)
            return None
        claims = self._due(self._fitting(limit))
        if not claims:
            return None
        found = self._records(claims)
        records: list[ReplayedRecord] = []
        progress: dict[Partition, int] = {}
        for claim in claims:
            progress[partition_of_claim(claim)] = claim.record.offset + 1
            record = found.get(claim.letter, _GONE)
            if isinstance(record, ReplayedRecord):
                records.append(record)
            else:
                self._accounts.leave_open(claim.record)
                self._log.warning("left open", letter=str(claim.letter), reason=record)
        if records:
            self._usual_size = max(1, sum(map(len, records)) // len(records))
        begins = {tp: self._given[tp] for tp in progress}
        self._given.update(progress)
        if self._settings.rate is not None:
            self._not_before = monotonic() + len(records) / self._settings.rate
        return Batch(records, progress, begins)

    def serve(self) -> None:
        """There is no membership to keep alive."""

    @property
    def lease(self) -> object:
        return self._consumer.consumer_group_metadata()

    def arrivals(self) -> Mapping[Partition, Arrival]:
        arrived, self._arrived = self._arrived, {}
        return arrived

    def departures(self) -> frozenset[Partition]:
        return frozenset()

    def advance(self, progress: Offsets) -> None:
        self._taken.update(_known(progress, self._taken))

    def settle(self, progress: Offsets) -> None:
        self._durable.update(_known(progress, self._durable))

    def place(self, offsets: Offsets) -> None:
        for marks in (self._taken, self._durable):
            marks.update(_known(offsets, marks))
        self.rewind()

    def rewind(self) -> None:
        self._given = dict(self._taken)
        self._next = 0

    def reload(self) -> None:
        self._load()
        self._arrived = {}

    def positions(self) -> Mapping[Partition, Position]:
        ends = self._accounts.ends()
        return {tp: Position(at, max(at, ends[tp]), -1) for tp, at in self._durable.items()}

    @property
    def joined(self) -> bool:
        return True

    @property
    def trouble(self) -> str | None:
        return None

    def finished(self, ends: Offsets) -> bool:
        del ends
        return self._accounts.is_done

    def close(self) -> None:
        with suppress(KafkaException, RuntimeError):
            self._consumer.close()

    # Gathering

    def _release(self) -> Batch | None:
        """A batch without records, whose offsets open all claims again from here on."""
        begins = {tp: at for tp, at in self._given.items() if at < RELEASED}
        if not begins:
            sleep(_NAP)
            return None
        progress = {tp: at + RELEASED for tp, at in begins.items()}
        self._given.update(progress)
        return Batch((), progress, begins)

    def _waits(self) -> bool:
        """Whether the rate leaves no room for a record yet."""
        return monotonic() < self._not_before

    def _fitting(self, limit: int) -> int:
        """The number of letters to read at once: a batch, a second's worth of the rate at most."""
        if not self._usual_size:
            limit = min(limit, _FIRST)
        else:
            limit = min(limit, self._settings.batch.max_bytes // self._usual_size)
        if self._settings.rate is not None:
            limit = min(limit, int(self._settings.rate))
        return max(1, limit)

    def _due(self, count: int) -> list[Claim]:
        """The next claims that the sink has not taken; claims before a rewind come again."""
        order, due = self._accounts.order, list[Claim]()
        while self._next < len(order) and len(due) < count:
            claim = order[self._next]
            self._next += 1
            if claim.record.offset >= self._given[partition_of_claim(claim)]:
                due.append(claim)
        return due

    def _records(self, claims: Sequence[Claim]) -> dict[LetterPlace, ReplayedRecord | str]:
        """The records of these claims, or why one of them cannot be replayed.

        Raises:
            Reconnect: No broker answers.
        """
        wanted = {claim.letter: claim for claim in claims}
        found: dict[LetterPlace, ReplayedRecord | str] = {}
        try:
            for record in read_ranges(self._reader, ranges_of(self._settings.topic, wanted)):
                claim = wanted.get(LetterPlace.of(record))
                letter = None if claim is None else decode_letter(record)
                if claim is not None and letter is not None:
                    found[claim.letter] = self._record(claim, letter, headers_of(record))
        except BrokersUnreachable as away:
            raise Reconnect(away.what) from away
        return found

    def _record(self, claim: Claim, letter: StoredLetter, headers: Headers) -> ReplayedRecord | str:
        """The record of a claim, or why it cannot be replayed."""
        whole = letter if claim.value is not None else self._whole(claim, letter)
        if whole is None:
            return "parts of the record were too large for the letter, and the source lacks them"
        kept = headers if self._settings.keep_failures else None
        record = ReplayedRecord(whole, claim.record, claim.value, kept)
        if record.failures >= self._settings.max_failures:
            return f"the record has failed {record.failures} times: raise --max-failures"
        return record

    def _whole(self, claim: Claim, letter: StoredLetter) -> StoredLetter | None:
        """The letter, with the parts that were cut from it; None: its source has them no more."""
        if not cut_parts(letter):
            return letter
        source = letter.source
        if claim.record != source:  # it was not there any more when the letter was claimed
            return None
        partition = Partition(source.topic, source.partition)
        record = record_at(self._reader, partition, source.offset)
        return None if record is None else restored(letter, record)


def check_replay(settings: ReplaySettings, deployment: Deployment) -> Preflight:
    """Preflight of a replay: the claims, the offsets of their records, the largest record.

    Raises:
        KafkaEtlError: A topic or a right is missing, or no broker answers.
    """
    admin = Admin(admin_settings(deployment))
    admin.reach()
    admin.topics([status_topic(settings.topic)], "WRITE")
    partitions = admin.topics([settings.topic], "READ")
    accounts = _accounts(deployment)
    accounts.read()
    sources = admin.topics({tp.topic for tp in accounts.begins()}, "READ")
    limits = admin.settings_of([settings.topic]).values()
    ends = accounts.ends()
    return Preflight(
        partitions={**partitions, **sources},
        ends=ends,
        begins=accounts.begins(),
        cluster=admin.cluster,
        topic_ids={topic: admin.topic_ids.get(topic, "") for topic in sources},
        largest_record=max(map(largest_record, limits)),
    )


def _accounts(deployment: Deployment) -> ReplayAccounts:
    accounts = deployment.accounts
    if not isinstance(accounts, ReplayAccounts):
        raise TypeError("a replay has accounts of its own kind")
    return accounts


def _known(offsets: Offsets, marks: Mapping[Partition, int]) -> dict[Partition, int]:
    return {tp: at for tp, at in offsets.items() if tp in marks}


def _note(found: Mapping[Partition, Arrival], tp: Partition) -> str:
    return found[tp].note if tp in found else ""
