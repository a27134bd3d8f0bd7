"""The suite that every `Writer` must pass."""
# ruff: noqa: S101 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from unittest import SkipTest

from kafka_etl.contracts import TAKEN, Again, Limits, Refused, RowOrder, Rows, Writer
from kafka_etl.testing.row_contract import (
    RowContract,
    RowSystem,
    Verdicts,
    checked,
    numbered,
    same,
)
from kafka_etl.testing.rows import rows


class WriterSystem(RowSystem, Protocol):
    """The suite's access to the writer under test; see `RowSystem` for its further parts."""

    @abstractmethod
    def writer(self) -> Writer:
        """Return a new writer to the target, not yet connected."""
        ...


class WriterContract(RowContract[Writer]):
    """The answer of `write` is true: what it does not name is in the target."""

    def door(self, system: WriterSystem) -> Writer:
        return system.writer()

    def write(self, door: Writer, wanted: Rows) -> Verdicts:
        if len(wanted) == 0:
            return self._answer(door, wanted)
        verdicts: dict[int, Refused | Again] = {}
        for positions in _sets(wanted, door.limits):
            answer = self._answer(door, wanted.take(positions))
            verdicts |= {positions[at]: verdict for at, verdict in answer.items()}
        return verdicts

    def _answer(self, door: Writer, wanted: Rows) -> Verdicts:
        answer: object = door.write(wanted)
        if answer is TAKEN:
            return {}
        assert isinstance(answer, Mapping), f"`write` must return TAKEN or verdicts, not {answer!r}"
        entries: Mapping[Any, Any] = answer
        return {at: checked(at, verdict, len(wanted)) for at, verdict in entries.items()}

    def test_a_key_may_be_twice_in_a_set_that_is_applied_in_order(
        self, system: WriterSystem
    ) -> None:
        values = [system.value(number) for number in range(6)]
        with self.connected(system) as writer:
            if writer.order is not RowOrder.SET:
                raise SkipTest("the writer does not keep the order of a set")
            assert not self.write(writer, rows(*values, keys=[b"a", b"b"] * 3))
        assert list(system.written()) == values

    def test_a_repeatable_set_leaves_each_row_once_or_known_by_its_id(
        self, system: WriterSystem
    ) -> None:
        wanted = numbered(system, range(5))
        with self.connected(system) as writer:
            if not writer.repeatable:
                raise SkipTest("the writer does not say that its sets may be repeated")
            assert not self.write(writer, wanted)
            writer.close()
            writer.connect()
            assert not self.write(writer, wanted)
        seen = system.seen_ids()
        if seen is not None:
            assert set(seen) == set(wanted.ids)
        if seen is None or len(seen) == len(wanted):
            assert same(system.written(), wanted.values)

    def test_a_refused_row_does_not_spoil_a_repetition(self, system: WriterSystem) -> None:
        """The framework may write the other rows of a repeatable set once more."""
        values = [system.value(0), system.refused, system.value(2)]
        wanted = rows(*values, keys=[b"a", b"b", b"c"])
        with self.connected(system) as writer:
            if not writer.repeatable or system.refused is None:
                raise SkipTest("nothing is refused, or nothing may be repeated")
            for _ in range(2):
                assert set(self.write(writer, wanted)) == {1}
        seen = system.seen_ids()
        if seen is None:
            assert same(system.written(), [values[0], values[2]])
        else:
            assert set(seen) == {wanted.ids[0], wanted.ids[2]}


def _sets(wanted: Rows, limits: Limits) -> Iterator[list[int]]:
    """Cut rows into sets as the framework does."""
    positions: list[int] = []
    size = 0
    for row in wanted:
        more = len(row.value) if isinstance(row.value, bytes) else 0
        if positions and (len(positions) >= limits.rows or size + more > limits.bytes):
            yield positions
            positions, size = [], 0
        positions.append(row.position)
        size += more
    yield positions
