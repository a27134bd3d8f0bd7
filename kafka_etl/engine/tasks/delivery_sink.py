"""Deliverers: sinks that write outcomes of tasks to destinations outside of the cluster.

The sink of any stream pipeline does the writing, with its retries, refusals and dead letters. Here
is what tasks add to it: rows come without the header of ours, notices of failures come as dead
letters of a size that the target takes, and records are noted for the words about them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from kafka_etl.contracts import Refused, RowsRefused
from kafka_etl.engine.sinks.followed import FollowedSink
from kafka_etl.engine.sinks.stored import StoredSink
from kafka_etl.envelope import Encoded
from kafka_etl.invocation import DeadLetter, Outputs, Settlement, Tenure
from kafka_etl.record import Offsets, Partition, SourceRecord, headers_of, offset_of, partition_of
from kafka_etl.tasks.deliveries import (
    Delivery,
    Receipts,
    decode_notice,
    delivery_of,
    without_header,
)
from kafka_etl.tasks.input_record import InputRecord

EncodeLetter = Callable[[DeadLetter], Encoded]
Read = Callable[[Partition, int, int], Iterable[SourceRecord]]
"""Reads the records on their way in a partition, from one offset up to another."""


class InputOfTask(InputRecord, frozen=True):
    """The input of a task, as the source of the rows that a destination gets."""

    delivery: Delivery


class Deliverer:
    """Makes settlements of deliveries into what a sink writes.

    Args:
        pipeline: Name of the task pipeline.
        receipts: Notes what is on its way.
        encode: Encodes notices of failures; None: the records are rows of results.
    """

    def __init__(self, pipeline: str, receipts: Receipts, encode: EncodeLetter | None) -> None:
        self._pipeline = pipeline
        self._receipts = receipts
        self._encode = encode

    def identify(self, record: SourceRecord) -> str:
        """`PIPELINE/ID/GENERATION`: the same in every delivery of a task, whatever attempt it was.

        The number of the row follows where a task has several.
        """
        try:
            of = record.delivery if isinstance(record, InputOfTask) else _delivery_of(record)
        except ValueError:
            return f"{partition_of(record)}/{offset_of(record)}"
        row = f"/{of.row}" if of.rows > 1 else ""
        return f"{self._pipeline}/{of.task}/{of.generation}{row}"

    def note(self, records: Iterable[SourceRecord]) -> None:
        """These records are on their way."""
        for record in records:
            self._receipts.note(record)

    def prepared(self, settlement: Settlement) -> Settlement:
        """The settlement as the sink is to write it.

        Raises:
            RowsRefused: A record is no notice.
        """
        self.note(settlement.records)
        outputs = settlement.outputs
        if self._encode is not None:
            outputs = _letters(outputs, self._encode)
        elif outputs.headers is not None:
            headers = [None if each is None else without_header(each) for each in outputs.headers]
            outputs = replace(outputs, headers=headers)
        return replace(settlement, outputs=outputs)


class FollowedDelivery:
    """A deliverer to a target that acknowledges rows; see `kafka_etl.contracts.Sink`.

    Args:
        sink: The sink, which is told the task's input as the source of a row.
        deliverer: Makes settlements into what the sink writes.
    """

    def __init__(self, sink: FollowedSink, deliverer: Deliverer) -> None:
        self._sink = sink
        self._deliverer = deliverer

    def open(self) -> None:
        """See `FollowedSink.open`."""
        self._sink.open()

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`; everything is done on the commit thread."""

        def commit() -> None:
            prepared = self._deliverer.prepared(settlement)
            inputs = [_input_of(record) for record in settlement.records]
            self._sink.begin(replace(prepared, records=inputs))()

        return commit

    def interrupt(self) -> None:
        """See `FollowedSink.interrupt`."""
        self._sink.interrupt()

    def close(self) -> None:
        """See `FollowedSink.close`."""
        self._sink.close()


class StoredDelivery:
    """A deliverer to a store; see `kafka_etl.contracts.OffsetKeeper`.

    Args:
        sink: The sink.
        deliverer: Makes settlements into what the sink writes.
        read: Reads records on their way once more.
    """

    def __init__(self, sink: StoredSink, deliverer: Deliverer, read: Read) -> None:
        self._sink = sink
        self._deliverer = deliverer
        self._read = read
        self.rolls = sink.rolls

    def open(self) -> None:
        """See `StoredSink.open`."""
        self._sink.open()

    def standing(self, arrivals: Offsets) -> Offsets:
        """See `kafka_etl.contracts.OffsetKeeper`.

        The last owner may have died between the commit of the store and the copy of its offsets,
        which the words are written with: they are said now.
        """
        stands = self._sink.standing(arrivals)
        for tp, at in stands.items():
            if (copied := arrivals.get(tp, at)) < at:
                self._deliverer.note(self._read(tp, copied, at))
        return stands

    def begin(self, settlement: Settlement) -> Callable[[], None]:
        """See `kafka_etl.contracts.Sink`; everything is done on the commit thread."""

        def commit() -> None:
            self._sink.begin(self._deliverer.prepared(settlement))()

        return commit

    def tick(
        self,
        tenure: Callable[[], Tenure],
        *,
        final: bool,
        paused: bool = False,
        leaving: Collection[Partition] = (),
    ) -> Offsets:
        """See `kafka_etl.contracts.OffsetKeeper`."""
        return self._sink.tick(tenure, final=final, paused=paused, leaving=leaving)

    def interrupt(self) -> None:
        """See `StoredSink.interrupt`."""
        self._sink.interrupt()

    def close(self) -> None:
        """See `StoredSink.close`."""
        self._sink.close()


def _delivery_of(record: SourceRecord) -> Delivery:
    return delivery_of(headers_of(record))


def _input_of(record: SourceRecord) -> SourceRecord:
    """The task's input; a record that is none of ours stands for itself."""
    try:
        delivery = _delivery_of(record)
    except ValueError:
        return record
    return InputOfTask(delivery.input, delivery)


def _letters(notices: Outputs, encode: EncodeLetter) -> Outputs:
    """Dead letters in place of the notices.

    Raises:
        RowsRefused: A value is no notice.
    """
    encoded: list[Encoded] = []
    bad: dict[int, Refused] = {}
    values: Sequence[bytes | None] = notices.values
    for at, value in enumerate(values):
        try:
            encoded.append(encode(decode_notice(value or b"").letter))
        except ValueError as error:
            bad[at] = Refused("NoNotice", str(error))
    if bad:
        raise RowsRefused(bad)
    return replace(
        notices,
        values=[letter.value for letter in encoded],
        keys=[letter.key for letter in encoded],
        headers=[letter.headers for letter in encoded],
        size=sum(len(letter.value or b"") for letter in encoded),
    )
