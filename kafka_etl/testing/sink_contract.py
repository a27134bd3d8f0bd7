"""The suite that every sink must pass."""
# ruff: noqa: S101, PLR2004 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from kafka_etl.contracts import Aborted, Refusal, Sink
from kafka_etl.invocation import (
    Condition,
    DeadLetter,
    ErrorInfo,
    Failure,
    Outputs,
    Settlement,
)
from kafka_etl.record import Headers, Partition, SourceRecord, partition_of
from kafka_etl.trial.stored_record import StoredRecord


class SinkSystem(Protocol):
    """The suite's access to the sink under test.

    The system owns a target that no other test writes to, and a group with a member that has one
    source partition.
    """

    @property
    def partition(self) -> Partition:
        """The source partition that the group's member has."""
        ...

    @property
    def refused(self) -> bytes | None:
        """A value that the target refuses; None: the target accepts any value."""
        ...

    def sink(self) -> Sink:
        """Return a new sink, not yet open; each sink has the same identity (transactional id)."""
        ...

    def lease(self) -> object:
        """Return a valid proof of the member's membership (`Source.lease`)."""
        ...

    def void_lease(self) -> object:
        """Return a proof of membership that was valid once and no longer is."""
        ...

    def outputs(self) -> Sequence[SourceRecord]:
        """Return the outputs that a reader of the target sees, in order."""
        ...

    def dead_letters(self) -> Sequence[tuple[bytes | None, bytes | None]]:
        """Return key and value of each dead letter that a reader sees, in order."""
        ...

    def offset(self) -> int:
        """Return the offset that the group has committed for the partition; 0: none."""
        ...

    def note(self) -> str:
        """Return the note that the group has committed with the offset; empty: none."""
        ...


class SinkContract:
    """A settlement becomes durable as one act: outputs, dead letters, offsets and notes."""

    def commit(self, sink: Sink, wanted: Settlement) -> None:
        """Commit a settlement as the engine does: begun here, ended in another thread."""
        end = sink.begin(wanted)
        with ThreadPoolExecutor(1) as thread:
            thread.submit(end).result()

    def aborted(self, sink: Sink, unwanted: Settlement) -> Aborted:
        """Return the exception with which the sink aborts a settlement."""
        try:
            self.commit(sink, unwanted)
        except Aborted as abort:
            return abort
        raise AssertionError("the commit should have been aborted")

    def test_a_settlement_becomes_durable_as_a_whole(self, system: SinkSystem) -> None:
        sink = opened(system)
        record = StoredRecord(
            b"bad", b"key", topic=system.partition.topic, partition=system.partition.number
        )
        self.commit(sink, settlement(system, b"one", b"two", at=3, letter=record, note="a note"))
        sink.close()
        assert [r.value() for r in system.outputs()] == [b"one", b"two"]
        assert list(system.dead_letters()) == [(b"key", b"bad")]
        assert (system.offset(), system.note()) == (3, "a note")

    def test_outputs_arrive_unchanged_and_in_order(self, system: SinkSystem) -> None:
        headers: list[Headers | None] = [[("a", b"1"), ("a", None), ("b", b"\xff")], None, []]
        sink = opened(system)
        self.commit(
            sink,
            Settlement(
                Outputs(
                    values=[b"value", None, b""],
                    keys=[b"same", b"same", b"same"],
                    headers=headers,
                    timestamps=[1_700_000_000_000, 0, 1_700_000_000_001],
                ),
                (),
                {system.partition: 3},
                system.lease(),
            ),
        )
        sink.close()
        found = system.outputs()
        assert [r.value() for r in found] == [b"value", None, b""]
        assert [r.key() for r in found] == [b"same"] * 3
        assert [r.headers() or [] for r in found] == [h or [] for h in headers]
        assert found[0].timestamp()[1] == 1_700_000_000_000

    def test_progress_alone_is_worth_a_commit(self, system: SinkSystem) -> None:
        sink = opened(system)
        self.commit(sink, settlement(system, at=5))
        sink.close()
        assert (list(system.outputs()), system.offset()) == ([], 5)

    def test_a_note_stands_until_the_next_commit(self, system: SinkSystem) -> None:
        sink = opened(system)
        self.commit(sink, settlement(system, at=1, note="a note"))
        assert system.note() == "a note"
        self.commit(sink, settlement(system, at=2))
        assert system.note() == ""
        sink.close()

    def test_one_commit_after_the_other(self, system: SinkSystem) -> None:
        sink = opened(system)
        for number in range(5):
            self.commit(sink, settlement(system, b"%d" % number, at=number + 1))
        sink.close()
        assert [r.value() for r in system.outputs()] == [b"0", b"1", b"2", b"3", b"4"]
        assert system.offset() == 5

    def test_without_proof_of_membership_nothing_is_done(self, system: SinkSystem) -> None:
        sink = opened(system)
        self.aborted(sink, settlement(system, b"one", at=1, lease=None))
        sink.close()
        assert (list(system.outputs()), system.offset()) == ([], 0)

    def test_with_an_old_proof_nothing_is_done(self, system: SinkSystem) -> None:
        """Another member may have the partition by now; such an abort is routine, no warning."""
        old = system.void_lease()
        sink = opened(system)
        assert self.aborted(sink, settlement(system, b"one", at=1, lease=old)).routine
        self.commit(sink, settlement(system, b"two", at=1))
        sink.close()
        assert [r.value() for r in system.outputs()] == [b"two"]

    def test_a_refused_record_takes_everything_with_it(self, system: SinkSystem) -> None:
        if system.refused is None:
            return
        sink = opened(system)
        refusal = self.aborted(sink, settlement(system, b"one", system.refused, at=2)).refusal
        assert isinstance(refusal, Refusal)
        assert refusal.message
        assert (list(system.outputs()), system.offset()) == ([], 0)
        self.commit(sink, settlement(system, b"one", at=1))
        sink.close()
        assert [r.value() for r in system.outputs()] == [b"one"]

    def test_a_sink_of_the_same_identity_goes_on(self, system: SinkSystem) -> None:
        """After a crash or a lost answer, a new sink repeats no output that is durable already."""
        first = opened(system)
        self.commit(first, settlement(system, b"one", at=1))
        second = opened(system)
        self.commit(second, settlement(system, b"two", at=2))
        first.close()
        second.close()
        assert [r.value() for r in system.outputs()] == [b"one", b"two"]

    def test_opening_again_is_harmless(self, system: SinkSystem) -> None:
        sink = opened(system)
        sink.open()
        self.commit(sink, settlement(system, b"one", at=1))
        sink.close()
        assert [r.value() for r in system.outputs()] == [b"one"]

    def test_closing_twice_or_unopened_is_harmless(self, system: SinkSystem) -> None:
        sink = system.sink()
        sink.close()
        sink.close()


_CURRENT = object()


def opened(system: SinkSystem) -> Sink:
    """Return a new sink, open."""
    sink = system.sink()
    sink.open()
    return sink


def settlement(
    system: SinkSystem,
    *values: bytes,
    at: int,
    letter: SourceRecord | None = None,
    note: str = "",
    lease: object = _CURRENT,
) -> Settlement:
    """Return a settlement of outputs with these values, which moves the group to an offset.

    Args:
        system: System under test.
        values: Values of the outputs.
        at: Next offset of the source partition.
        letter: Record for a dead letter; None: no dead letter.
        note: Note for the source partition; empty: no note.
        lease: Proof of membership; by default a valid one.
    """
    tp = system.partition
    return Settlement(
        outputs=Outputs(values=list(values), keys=[b"key"] * len(values)),
        dead_letters=() if letter is None else (dead_letter(letter),),
        progress={tp: at},
        lease=system.lease() if lease is _CURRENT else lease,
        notes={tp: note} if note else {},
    )


def dead_letter(record: SourceRecord) -> DeadLetter:
    """Return a dead letter for a record that an operator `check` refused."""
    error = ErrorInfo("ValueError", "the record is bad")
    failure = Failure(0, Condition.OPERATOR_ERROR, error, operator="check")
    return DeadLetter(record, failure, f"{partition_of(record)}@0+1", at_ms=1_700_000_000_000)
