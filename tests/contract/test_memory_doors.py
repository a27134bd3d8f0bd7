"""The doors in memory pass the suites, and wrong doors do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from unittest import SkipTest

import pytest

from kafka_etl.contracts import (
    TAKEN,
    Conflict,
    Move,
    Refused,
    RefusedRows,
    RowOrder,
    Rows,
    Sender,
    Store,
    Writer,
)
from kafka_etl.record import Partition
from kafka_etl.testing import (
    MemoryRollingStore,
    MemorySender,
    MemoryStore,
    MemoryTarget,
    MemoryWriter,
    RollingStoreContract,
    SenderContract,
    SenderSystem,
    StoreContract,
    StoreSystem,
    WriterContract,
    WriterSystem,
)

BAD = b'{"bad":true}'


def refusing(value: Any) -> Refused | None:
    return Refused("400", "bad") if value == BAD or (value and b"bad" in value) else None


class _Target:
    def __init__(self) -> None:
        self.target = MemoryTarget()
        self.target.verdict = refusing

    refused: Any = BAD

    def written(self) -> Sequence[Any]:
        return [row.value for row in self.target.rows]

    def seen_ids(self) -> Sequence[str | None]:
        return [row.id for row in self.target.rows]


class MemoryWriterSystem(_Target, WriterSystem):
    def __init__(self, make: Callable[[MemoryTarget], Writer] | None = None) -> None:
        super().__init__()
        self._make = make or (
            lambda target: MemoryWriter(target, order=RowOrder.SET, repeatable=True)
        )

    def writer(self) -> Writer:
        return self._make(self.target)


class MemorySenderSystem(_Target, SenderSystem):
    def sender(self) -> Sender:
        return MemorySender(self.target)


class MemoryStoreSystem(StoreSystem):
    letters = True
    breaks = True

    def __init__(
        self, make: Callable[[MemoryTarget], Store] | None = None, *, upserts: bool = False
    ) -> None:
        self.target = MemoryTarget()
        self.target.verdict = refusing
        self.upserts = self.deletes = upserts
        self._make = make or (lambda target: MemoryStore(target, upsert=upserts))

    def store(self) -> Store:
        return self._make(self.target)

    def rows_in_target(self) -> Sequence[Any]:
        return [row.value for row in self.target.rows]

    def letters_in_target(self) -> Sequence[bytes]:
        return self.target.letters

    def refused(self, key: int) -> bytes:
        return b'{"bad":%d}' % key

    def break_target(self) -> None:
        self.target.fails = lambda _value: RuntimeError("the table is gone")

    def mend_target(self) -> None:
        self.target.fails = lambda _value: None


class TestMemoryWriter(WriterContract):
    @pytest.fixture
    def system(self) -> MemoryWriterSystem:
        return MemoryWriterSystem()


class TestMemorySender(SenderContract):
    @pytest.fixture
    def system(self) -> MemorySenderSystem:
        return MemorySenderSystem()


class TestMemoryStore(StoreContract):
    @pytest.fixture(params=["insert", "upsert"])
    def system(self, request: pytest.FixtureRequest) -> MemoryStoreSystem:
        return MemoryStoreSystem(upserts=request.param == "upsert")


class TestMemoryRollingStore(RollingStoreContract):
    @pytest.fixture
    def system(self) -> MemoryStoreSystem:
        return MemoryStoreSystem(MemoryRollingStore)


# The suites themselves: a wrong door fails at least one test.


class ForgetsToReturn(MemoryWriter):
    def write(self, rows: Rows) -> Any:
        super().write(rows)


class AcknowledgesOnly(MemoryWriter):
    def write(self, rows: Rows) -> Any:
        self._connection.need()
        return TAKEN


class LosesTombstones(MemoryWriter):
    def write(self, rows: Rows) -> Any:
        return super().write(rows.take([at for at, v in enumerate(rows.values) if v is not None]))


class NamesOnlyTheFirst(MemoryStore):
    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        try:
            super().commit(rows, moves, letters)
        except RefusedRows as refused:
            first = min(refused.rows)
            raise RefusedRows({first: refused.rows[first]}) from None


class IgnoresBegin(MemoryStore):
    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        standing = self.target.offsets
        fitting = {
            tp: Move(standing[tp].next, move.next, standing[tp].generation)
            for tp, move in moves.items()
            if tp in standing
        }
        super().commit(rows, fitting, letters)


class NamesTooMany(MemoryStore):
    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        try:
            super().commit(rows, moves, letters)
        except Conflict:
            raise Conflict(moves.keys()) from None


class WritesBeforeItCompares(MemoryStore):
    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        super().commit(rows, {}, ())
        super().commit(rows.take([]), moves, letters)


class ForgetsTheGeneration(MemoryStore):
    def commit(self, rows: Rows, moves: Mapping[Partition, Move], letters: Sequence[bytes]) -> None:
        known = self.target.offsets
        moves = {
            tp: Move(m.begin, m.next, known[tp].generation) if tp in known else m
            for tp, m in moves.items()
        }
        super().commit(rows, moves, letters)


def failures(suite: Any, system: Callable[[], Any]) -> list[str]:
    """Names of the suite's tests that a system fails."""
    found: list[str] = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite(), name)(system())
            except SkipTest:
                continue
            except Exception:  # noqa: BLE001 - failed, in whatever way
                found.append(name)
    return found


@pytest.mark.parametrize("wrong", [ForgetsToReturn, AcknowledgesOnly, LosesTombstones])
def test_a_wrong_writer_fails_its_suite(wrong: type[MemoryWriter]) -> None:
    assert failures(WriterContract, lambda: MemoryWriterSystem(wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        NamesOnlyTheFirst,
        IgnoresBegin,
        NamesTooMany,
        WritesBeforeItCompares,
        ForgetsTheGeneration,
    ],
)
def test_a_wrong_store_fails_its_suite(wrong: type[MemoryStore]) -> None:
    assert failures(StoreContract, lambda: MemoryStoreSystem(wrong))
