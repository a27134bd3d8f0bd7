"""What the destinations of tasks get: results and notices of failures, on the cluster and outside.

Destinations on the cluster get their records in the transaction that makes the outcome final. Those
outside get theirs before that, by way of a topic that a deliverer reads (`delivery_sink.py`); the
deliverer's words make the outcome final. The rows of a result stay in the inbox meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from kafka_etl.engine.tasks.book import Book, HeadChange
from kafka_etl.engine.tasks.inputs import Inputs
from kafka_etl.engine.tasks.kept import Kept, Read
from kafka_etl.engine.tasks.letters import letter_of
from kafka_etl.record import Partition, SourceRecord, headers_of, offset_of
from kafka_etl.tasks import words as w
from kafka_etl.tasks.deliveries import HEADER, Delivery, Notice, encode_delivery, encode_notice
from kafka_etl.tasks.head import PENDING, REFUSED, Head
from kafka_etl.tasks.keeping import TaskRecord
from kafka_etl.tasks.log import Entry
from kafka_etl.tasks.policy import Moment
from kafka_etl.tasks.rows import Row, decode_rows
from kafka_etl.tasks.states import FINAL, State

_MOST: Final = 900_000
"""Bytes of a record on its way: of a larger one the input is left out."""
_NO_RESULT: Final = "the inbox has the result no more"


@dataclass(frozen=True, slots=True)
class Letters:
    """A topic of the cluster for tasks that end without success.

    Attributes:
        topic: The topic; empty: the pipeline's own.
        when: The final states of which the topic hears.
    """

    topic: str
    when: Collection[State]


@dataclass(frozen=True, slots=True)
class Outside:
    """A destination outside of the cluster.

    Attributes:
        name: Name of the destination.
        topic: Topic of what is on its way there.
        has_input: Whether the destination gets the input of a task beside the result.
    """

    name: str
    topic: str
    has_input: bool = False


@dataclass(frozen=True, slots=True)
class Destinations:
    """The destinations of a task pipeline.

    Attributes:
        letters: Topics of the cluster for failures.
        outside: Destinations outside of the cluster.
        has_results: Whether any topic of the cluster gets results.
    """

    letters: Sequence[Letters]
    outside: Sequence[Outside] = ()
    has_results: bool = True


def newly_refused(before: Head | None, after: Head) -> list[str]:
    """Names of the destinations that have refused the outcome since."""
    known = () if before is None else before.destinations
    return [d.name for d in after.destinations if d.status == REFUSED and d not in known]


def _rows_of(record: SourceRecord) -> list[Row] | None:
    """The rows of a word `result`; None: the record is another word, or one without an effect."""
    if ("k", b"result") not in headers_of(record):
        return None
    try:
        return decode_rows(record.value() or b"")
    except msgspec.MsgspecError:
        return None


class Deliveries:
    """Adds to a commit what destinations get of it.

    Args:
        places: The destinations.
        inputs: Inputs of tasks.
        read: Reads records of the inbox.
        operator: Name of the operator, for dead letters.
        now_ms: Present time, in milliseconds since the epoch.
    """

    def __init__(
        self,
        places: Destinations,
        inputs: Inputs,
        read: Read,
        operator: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._places = places
        self._outside = {place.name: place for place in places.outside}
        self._by_topic = {place.topic: place.name for place in places.outside}
        self._inputs = inputs
        self._results: Kept[list[Row]] = Kept(read, _rows_of)
        self._operator = operator
        self._now_ms = now_ms

    # Words

    def completed(
        self, tp: Partition, head: Head | None, word: w.Word, record: SourceRecord, rows: list[Row]
    ) -> w.Word | None:
        """The word with what the rows of a result tell; None: it has no effect.

        Args:
            tp: The partition.
            head: The task's head.
            word: The word.
            record: The record of the inbox.
            rows: The rows of a result.
        """
        match word:
            case w.Result():
                self._results.keep(tp, offset_of(record), rows, len(record.value() or b""))
                return self._named(word, rows)
            case w.Delivered() | w.Retry():
                return self._checked(tp, head, word)
            case _:
                return word

    def _named(self, word: w.Result, rows: Sequence[Row]) -> w.Result:
        """The word with the names of the destinations outside that get some of the rows."""
        topics = {row.topic for row in rows} if self._outside else set[str]()
        names = tuple(name for topic, name in self._by_topic.items() if topic in topics)
        return replace(word, outside=names)

    def _checked(self, tp: Partition, head: Head | None, word: w.Word) -> w.Word | None:
        """The word, if the rows that are wanted after it are there.

        Returns:
            The word, or one that says that the rows are gone; None: the word has no effect.
        """
        if head is None or head.result_at < 0:
            return word
        if isinstance(word, w.Retry):
            is_lost = word.deliver and self._results.get(tp, head.result_at) is None
            return None if is_lost else word
        wanted = self._places.has_results and head.outcome is State.SUCCEEDED
        if (
            isinstance(word, w.Delivered)
            and wanted
            and self._results.get(tp, head.result_at) is None
        ):
            return w.Undeliverable(
                destination=word.destination,
                generation=word.generation,
                delivery=word.delivery,
                why=_NO_RESULT,
            )
        return word

    def give_up(self, book: Book, now: int) -> None:
        """Wait no more for destinations that the pipeline has not any more."""
        for head in list(book.delivering()):
            for asked in head.destinations:
                if asked.status == PENDING and asked.name not in self._outside:
                    word = w.Undeliverable(
                        destination=asked.name,
                        generation=head.generation,
                        delivery=head.delivery,
                        why="the pipeline has this destination no more",
                    )
                    book.take(head.id, word, Moment(now))

    # Commits

    def add(self, entry: Entry, tp: Partition, change: HeadChange, *, tells: bool) -> None:
        """Add what a change of a task gives to destinations.

        Args:
            entry: What is to be committed.
            tp: The partition.
            change: The change.
            tells: Whether destinations on the cluster hear of failures.
        """
        after = change.after
        if after is None:
            return
        if change.sends:
            entry.deliveries += ((tp.number, row) for row in self._sent(tp, after))
        elif change.has_success:
            if self._places.has_results:
                entry.rows += (r for r in self._rows(tp, after) if r.topic not in self._by_topic)
        elif tells and change.ends and not (after.stop is not None and after.stop.quiet):
            topics = [one.topic for one in self._places.letters if after.state in one.when]
            if topics:
                letter = letter_of(after, self._input(tp, after), self._operator, self._now_ms())
                entry.letters += ((topic, letter) for topic in topics)

    def merged(self, tp: Partition, change: HeadChange) -> None:
        """The change is durable."""
        if change.after is not None and change.after.state in FINAL:
            self._results.drop(tp, change.after.result_at)

    def leave(self, tp: Partition) -> None:
        """The partition has left."""
        self._results.forget(tp)

    def _sent(self, tp: Partition, head: Head) -> Iterator[Row]:
        """The records for the destinations that have not answered."""
        asked = [d.name for d in head.destinations if d.status == PENDING]
        places = [self._outside[name] for name in asked if name in self._outside]
        if head.outcome is State.SUCCEEDED:
            rows = self._rows(tp, head)
            for place in places:
                own = [row for row in rows if row.topic == place.topic]
                yield from self._carried(tp, head, place, own)
            return
        notice = self._notice(tp, head)
        for place in places:
            row = Row(place.topic, head.id.encode(), notice, [])
            yield from self._carried(tp, head, place, [row])

    def _carried(
        self, tp: Partition, head: Head, place: Outside, rows: Sequence[Row]
    ) -> Iterator[Row]:
        """The rows with the header that says what they are."""
        record = self._input(tp, head)
        if not place.has_input:
            record = replace(record, value=None)
        for number, row in enumerate(rows):
            record = _fitting(record, _MOST - len(row.value or b"") - len(row.key or b""))
            delivery = Delivery(
                task=head.id,
                generation=head.generation,
                number=head.delivery,
                destination=place.name,
                row=number,
                rows=len(rows),
                input=record,
            )
            yield replace(row, headers=[*row.headers, (HEADER, encode_delivery(delivery))])

    def _notice(self, tp: Partition, head: Head) -> bytes:
        record = self._input(tp, head)
        ended = replace(head, state=head.outcome or head.state)
        letter = letter_of(ended, record, self._operator, self._now_ms())
        notice = Notice(head.id, record, letter.failure, letter.at_ms)
        encoded = encode_notice(notice)
        if len(encoded) <= _MOST:
            return encoded
        room = _MOST - (len(encoded) - _size(record))
        return encode_notice(replace(notice, input=_fitting(record, room)))

    def _rows(self, tp: Partition, head: Head) -> list[Row]:
        return self._results.get(tp, head.result_at) or []

    def _input(self, tp: Partition, head: Head) -> TaskRecord:
        """The input; of one that is gone, a record without a value stands in its place."""
        return self._inputs.get(tp, head) or TaskRecord(
            tp.topic, tp.number, head.seq, -1, None, None, []
        )


def _fitting(record: TaskRecord, room: int) -> TaskRecord:
    """The record, without its value, or without its headers as well, where there is no room."""
    if _size(record) > room:
        record = replace(record, value=None)
    return record if _size(record) <= room else replace(record, key=None, headers=[])


def _size(record: TaskRecord) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return headers + len(record.key or b"") + len(record.value or b"")
