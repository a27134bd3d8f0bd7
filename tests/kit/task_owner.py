"""An owner of tasks in a thread of the test: takes words by the table, writes the journal."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from msgspec.structs import replace

from kafka_etl.tasks import journal
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Head, encode_head
from kafka_etl.tasks.journal import Mark, ProgressNote
from kafka_etl.tasks.open_note import OpenNote, encode_note
from kafka_etl.tasks.placing import owners_of, partition_of
from kafka_etl.tasks.policy import Moment, Policy
from kafka_etl.tasks.table import apply
from tests.kit.kafka import Kafka

PARTITIONS = 4
FIRST = "k1"


class TaskTopics:
    """Inbox and journal of a pipeline of its own."""

    def __init__(self, kafka: Kafka, **inbox: str) -> None:
        self.kafka = kafka
        self.name = kafka.name()
        self.inbox = kafka.topic(PARTITIONS, f"{self.name}.inbox", **inbox)
        self.journal = kafka.topic(
            PARTITIONS, f"{self.name}.journal", **{"cleanup.policy": "compact"}
        )

    def write_heads(self, heads: list[Head]) -> None:
        self.kafka.produce(
            self.journal,
            [
                {
                    "key": journal.head_key(head.id),
                    "value": encode_head(head),
                    "partition": partition_of(head.id, PARTITIONS),
                }
                for head in heads
            ],
        )

    def have_told(self, open_: int, most: int) -> None:
        """Commit an offset as an owner does, with the number of open tasks and their limit."""
        group = Consumer({**self.kafka.client, "group.id": owners_of(self.name)})
        note = encode_note(OpenNote(1, open_, most=most))
        group.commit(offsets=[TopicPartition(self.inbox, 0, 0, note)], asynchronous=False)
        group.close()

    def words(self) -> list[tuple[str, w.Word, bytes | None]]:
        """All words of the inbox: the task's id, the word, the value beside it."""
        return [
            ((record.key or b"").decode(), w.decode_word(record.headers), record.value)
            for record in self.kafka.read(self.inbox)
        ]


class Owner:
    """Owns all partitions, while the `with` block lasts.

    Attributes:
        heads: The present heads by id.
    """

    def __init__(self, topics: TaskTopics, policy: Policy | None = None) -> None:
        self.heads: dict[str, Head] = {}
        self._topics = topics
        self._policy = policy or Policy()
        self._n = 0
        self._lock = threading.RLock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._producer = Producer({**topics.kafka.client, "linger.ms": 0})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join()
        self._producer.flush(10)

    def say(self, task: str, word: w.Word) -> Head:
        """Take a word that an executor, or the owner itself, has said."""
        with self._lock:
            self._take(task, word, Moment(round(time.time() * 1000)))
            self._producer.flush(10)
            return self.heads[task]

    def run(self, task: str, token: str = FIRST, executor: str = "host-1") -> None:
        """Have a task that waits begin to run."""
        self.say(task, w.Granted(token=token, executor=executor, boot="b1"))
        self.say(task, w.Started(token=token))

    def progress(self, task: str, note: ProgressNote) -> None:
        self._write(
            journal.progress_key(task),
            journal.encode_progress(note),
            partition_of(task, PARTITIONS),
        )
        self._producer.flush(10)

    def until(self, task: str) -> Head:
        """Wait until there is a task of this id."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with self._lock:
                if task in self.heads:
                    return self.heads[task]
            time.sleep(0.01)
        raise TimeoutError(task)

    def _run(self) -> None:
        consumer = Consumer(
            {**self._topics.kafka.client, "group.id": "owner", "auto.offset.reset": "earliest"}
        )
        consumer.assign([TopicPartition(self._topics.inbox, n, 0) for n in range(PARTITIONS)])
        while not self._is_over.is_set():
            record = consumer.poll(0.05)
            if record is not None and record.error() is None:
                self._read(record)
        consumer.close()

    def _read(self, record: Message) -> None:
        word = w.decode_word(list(record.headers() or []))
        if isinstance(word, w.Submit):
            word = replace(word, accepted_ms=record.timestamp()[1])
        offset, number = record.offset() or 0, record.partition() or 0
        with self._lock:
            self._take((record.key() or b"").decode(), word, Moment(record.timestamp()[1], offset))
            self._n += 1
            mark = Mark(offset + 1, self._n, "test", round(time.time() * 1000))
            self._write(journal.mark_key(), journal.encode_mark(mark), number)
            self._producer.poll(0)

    def _take(self, task: str, word: w.Word, at: Moment) -> None:
        change = apply(task, self.heads.get(task), word, at, self._policy)
        if change is None:
            return
        if change.head is None:
            del self.heads[task]
            self._write(journal.head_key(task), None, partition_of(task, PARTITIONS))
            return
        self.heads[task] = change.head
        self._write(
            journal.head_key(task), encode_head(change.head), partition_of(task, PARTITIONS)
        )

    def _write(self, key: bytes, value: bytes | None, partition: int) -> None:
        self._producer.produce(self._topics.journal, value, key, partition)
