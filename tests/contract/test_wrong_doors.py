"""The suites of the doors find the fault of each wrong door, in the test that is meant for it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from unittest import SkipTest

import pytest

from kafka_etl.contracts import (
    TAKEN,
    Again,
    Conflict,
    Limits,
    Move,
    Refused,
    RefusedRows,
    Row,
    Rows,
    Sender,
    Store,
    StoredOffset,
    Taken,
)
from kafka_etl.record import Partition
from kafka_etl.testing import (
    Kept,
    MemoryRollingStore,
    MemorySender,
    MemoryStore,
    MemoryTarget,
    MemoryWriter,
    RollingStoreContract,
    SenderContract,
    StoreContract,
    WriterContract,
)
from tests.contract.test_memory_doors import (
    AcknowledgesOnly,
    ForgetsTheGeneration,
    ForgetsToReturn,
    IgnoresBegin,
    LosesTombstones,
    MemorySenderSystem,
    MemoryStoreSystem,
    MemoryWriterSystem,
    NamesOnlyTheFirst,
    NamesTooMany,
    WritesBeforeItCompares,
)


class AcknowledgesFirst(MemoryWriter):
    """Writes a set when the next one comes."""

    waiting: Rows | None = None

    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        if self.waiting is not None:
            super().write(self.waiting)
        self.waiting = rows
        return TAKEN


class NamesAnotherRow(MemoryWriter):
    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        answer = super().write(rows)
        if isinstance(answer, Mapping):
            return {at + 1: verdict for at, verdict in answer.items()}
        return answer


class SaysRepeatable(MemoryWriter):
    """Knows no ids, and says that sets may be repeated."""

    def write(self, rows: Rows) -> Taken | Mapping[int, Refused | Again]:
        self.repeatable = False
        try:
            return super().write(rows)
        finally:
            self.repeatable = True


class SendsLater(MemorySender):
    async def send(self, row: Row) -> Taken | Refused | Again:
        del row
        return TAKEN


class KeepsTheLastFirst(MemoryStore):
    """Drops older rows of a key before the refusals are out, and forgets their offsets' rows."""

    dropped: set[Any]

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        last = {row.key: row.position for row in rows}
        if not hasattr(self, "dropped"):
            self.dropped = set()
        self.dropped |= {row.id for row in rows if row.position != last[row.key]}
        kept = [row.position for row in rows if row.id not in self.dropped]
        try:
            super().commit(rows.take(kept), moves, letters)
        except RefusedRows as refused:
            raise RefusedRows({kept[at]: v for at, v in refused.rows.items()}) from refused


class AlwaysOverwrites(MemoryStore):
    def place(self, offsets: Mapping[Partition, StoredOffset], *, overwrite: bool) -> None:
        del overwrite
        super().place(offsets, overwrite=True)


KEPT = b"0"


class DeletesNotAll(MemoryStore):
    """Names the deletions that its target refuses."""

    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        refused = [row.position for row in rows if row.value is None and row.key == KEPT]
        if refused:
            self.refuse(rows, refused)
        super().commit(rows, moves, letters)

    def refuse(self, rows: Rows, refused: Sequence[int]) -> None:
        del rows
        raise RefusedRows(dict.fromkeys(refused, Refused("FK", "others refer to it")))


class BlamesTheRest(DeletesNotAll):
    def refuse(self, rows: Rows, refused: Sequence[int]) -> None:
        super().refuse(rows, [at for at in range(len(rows)) if at not in refused])


class DeletesAll(MemoryStore):
    """Its target deletes what it should keep."""


class KeepingSystem(MemoryStoreSystem):
    def __init__(self, make: Callable[[MemoryTarget], Store]) -> None:
        super().__init__(make, upserts=True)

    def undeletable(self) -> bytes:
        self.target.rows.append(Kept(b"{}", KEPT, None, None))
        return KEPT


class DurableAtOnce(MemoryRollingStore):
    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        super().commit(rows, moves, letters)
        super().roll(final=True)


class ClosesItsFiles(MemoryRollingStore):
    """Loses what is open when the connection ends."""

    def close(self) -> None:
        super().close()
        self.discard(list(self.target.offsets))


class KeepsLeavingFilesOpen(MemoryRollingStore):
    def due(self, *, final: bool, leaving: Collection[Partition] = ()) -> bool:
        del leaving
        return super().due(final=final)


class WrongSenderSystem(MemorySenderSystem):
    def __init__(self, make: Callable[[MemoryTarget], Sender]) -> None:
        super().__init__()
        self._make = make

    def sender(self) -> Sender:
        return self._make(self.target)


def faults(suite: type, system: Callable[[], Any]) -> set[str]:
    """Names of the suite's tests that fail, by an assertion or an unexpected conflict."""
    found: set[str] = set()
    for name, test in inspect.getmembers(suite(), inspect.ismethod):
        if name.startswith("test_"):
            try:
                test(system())
            except SkipTest:
                pass
            except (AssertionError, Conflict):
                found.add(name.removeprefix("test_"))
    return found


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (ForgetsToReturn, "what_was_acknowledged_is_there_without_a_later_call"),
        (AcknowledgesOnly, "what_was_acknowledged_is_there_without_a_later_call"),
        (AcknowledgesFirst, "what_was_acknowledged_is_there_without_a_later_call"),
        (NamesAnotherRow, "a_refused_row_is_named_and_the_others_are_there"),
        (LosesTombstones, "a_tombstone_is_neither_lost_nor_an_empty_value"),
    ],
)
def test_a_wrong_writer_is_found_out(wrong: type[MemoryWriter], test: str) -> None:
    assert test in faults(WriterContract, lambda: MemoryWriterSystem(wrong))


def test_a_writer_that_only_says_repeatable_is_found_out() -> None:
    class Unnamed(MemoryWriterSystem):
        def seen_ids(self) -> Any:
            return None

    def system() -> MemoryWriterSystem:
        return Unnamed(lambda target: SaysRepeatable(target, repeatable=True))

    test = "a_repeatable_set_leaves_each_row_once_or_known_by_its_id"
    assert test in faults(WriterContract, system)


def test_a_sender_that_acknowledges_unsent_rows_is_found_out() -> None:
    test = "what_was_acknowledged_is_there_without_a_later_call"
    assert test in faults(SenderContract, lambda: WrongSenderSystem(SendsLater))


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (IgnoresBegin, "a_commit_from_another_begin_is_a_conflict"),
        (IgnoresBegin, "a_commit_repeated_after_a_lost_answer_doubles_nothing"),
        (IgnoresBegin, "the_later_of_two_stores_conflicts"),
        (ForgetsTheGeneration, "a_commit_in_another_generation_is_a_conflict"),
        (WritesBeforeItCompares, "a_commit_repeated_after_a_lost_answer_doubles_nothing"),
        (NamesOnlyTheFirst, "all_refused_rows_are_named_in_one_pass_and_the_rest_then_commits"),
        (NamesTooMany, "among_200_partitions_exactly_those_that_moved_are_named"),
        (AlwaysOverwrites, "place_keeps_what_stands_unless_told_to_overwrite"),
    ],
)
def test_a_wrong_store_is_found_out(wrong: type[MemoryStore], test: str) -> None:
    assert test in faults(StoreContract, lambda: MemoryStoreSystem(wrong))


def test_a_store_that_drops_older_rows_before_refusals_are_out_is_found_out() -> None:
    def make(target: MemoryTarget) -> Store:
        return KeepsTheLastFirst(target, upsert=True)

    test = "an_older_row_of_a_key_returns_when_the_newer_one_is_refused"
    assert test in faults(StoreContract, lambda: MemoryStoreSystem(make, upserts=True))


@pytest.mark.parametrize("wrong", [BlamesTheRest, DeletesAll])
def test_a_store_that_does_not_name_a_refused_deletion_is_found_out(
    wrong: type[MemoryStore],
) -> None:
    test = "a_tombstone_that_is_refused_is_named_and_the_others_then_delete"
    assert faults(StoreContract, lambda: KeepingSystem(upserting(wrong))) == {test}
    assert not faults(StoreContract, lambda: KeepingSystem(upserting(DeletesNotAll)))


def upserting(kind: type[MemoryStore]) -> Callable[[MemoryTarget], Store]:
    return lambda target: kind(target, upsert=True)


ATTRIBUTES = "the_doors_attributes_are_of_their_types"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("order", True, "`order` must be a RowOrder, such as RowOrder.KEY, not True"),
        ("order", "key", "`order` must be a RowOrder, such as RowOrder.KEY, not 'key'"),
        ("repeatable", "yes", "`repeatable` must be True or False, not 'yes'"),
        ("limits", 500, "`limits` must be Limits, not 500"),
        ("limits", Limits(rows=0), "`limits.rows` must be a whole number of at least 1, not 0"),
        ("limits", Limits(bytes=True), "`limits.bytes` must be a whole number of at least 1"),
        ("limits", Limits(row_bytes=-1), "`limits.row_bytes` must be a whole number of at"),
    ],
)
def test_a_wrong_attribute_of_a_writer_is_said(name: str, value: Any, says: str) -> None:
    def make(target: MemoryTarget) -> MemoryWriter:
        writer = MemoryWriter(target)
        setattr(writer, name, value)
        return writer

    with pytest.raises(AssertionError, match=re.escape(f"MemoryWriter: {says}")):
        WriterContract().test_the_doors_attributes_are_of_their_types(MemoryWriterSystem(make))


@pytest.mark.parametrize(
    ("name", "value"), [("concurrency", 0), ("concurrency", 1.5), ("ordered", None)]
)
def test_a_wrong_attribute_of_a_sender_is_found(name: str, value: Any) -> None:
    wrong = type("Wrong", (MemorySender,), {name: value})
    system = WrongSenderSystem(wrong)
    with pytest.raises(AssertionError, match=f"Wrong: `{name}` must be "):
        SenderContract().test_the_doors_attributes_are_of_their_types(system)


@pytest.mark.parametrize(
    ("suite", "right"),
    [(StoreContract, MemoryStore), (RollingStoreContract, MemoryRollingStore)],
)
def test_a_store_without_a_name_is_found(suite: type, right: type) -> None:
    wrong = type("Wrong", (right,), {"kind": ""})
    assert faults(suite, lambda: MemoryStoreSystem(wrong)) == {ATTRIBUTES}


def test_a_door_that_derives_from_none_is_found() -> None:
    class Alike:
        """Has all that a writer has."""

        __init__, connect, close = MemoryWriter.__init__, MemoryWriter.connect, MemoryWriter.close
        write: Any = MemoryWriter.write

    made: Any = Alike
    assert ATTRIBUTES in faults(WriterContract, lambda: MemoryWriterSystem(made))


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (DurableAtOnce, "what_is_open_is_not_there_until_the_roll"),
        (ClosesItsFiles, "what_is_open_stays_open_over_a_new_connect"),
        (KeepsLeavingFilesOpen, "files_of_a_partition_that_leaves_are_due"),
    ],
)
def test_a_wrong_rolling_store_is_found_out(wrong: type[MemoryRollingStore], test: str) -> None:
    assert test in faults(RollingStoreContract, lambda: MemoryStoreSystem(wrong))


def test_no_fault_is_found_with_right_doors() -> None:
    assert not faults(WriterContract, MemoryWriterSystem)
    assert not faults(SenderContract, MemorySenderSystem)
    assert not faults(StoreContract, MemoryStoreSystem)
    assert not faults(StoreContract, lambda: MemoryStoreSystem(upserts=True))
    assert not faults(RollingStoreContract, lambda: MemoryStoreSystem(MemoryRollingStore))
