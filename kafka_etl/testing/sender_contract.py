"""The suite that every `Sender` must pass."""
# ruff: noqa: S101 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Protocol

from kafka_etl.contracts import TAKEN, Row, Rows, Sender
from kafka_etl.testing.row_contract import (
    RowContract,
    RowSystem,
    Verdicts,
    checked,
    numbered,
    same,
)
from kafka_etl.testing.rows import rows


class SenderSystem(RowSystem, Protocol):
    """The suite's access to the sender under test; see `RowSystem` for its further parts."""

    @abstractmethod
    def sender(self) -> Sender:
        """Return a new sender to the target, not yet connected."""
        ...


class SenderContract(RowContract[Sender]):
    """The answer of `send` is true: a row that is `TAKEN` is in the target.

    A small driver sends rows as the framework does: lanes of keys, `concurrency` rows at once.
    """

    def door(self, system: SenderSystem) -> Sender:
        return system.sender()

    def write(self, door: Sender, wanted: Rows) -> Verdicts:
        answers = asyncio.run(_connected_send(door, wanted))
        assert len(answers) == len(wanted)
        return {
            at: checked(at, answer, len(wanted))
            for at, answer in answers.items()
            if answer is not TAKEN
        }

    def test_one_row_after_the_other_arrives_in_order(self, system: SenderSystem) -> None:
        values = [system.value(number) for number in range(10)]
        with self.connected(system) as sender:
            assert not self.write(sender, rows(*values, keys=[b"key"] * 10))
        if sender.ordered:
            assert list(system.written()) == values
        else:
            assert same(system.written(), values)

    def test_many_rows_may_be_on_their_way_at_once(self, system: SenderSystem) -> None:
        wanted = numbered(system, range(50))
        with self.connected(system) as sender:
            assert not self.write(sender, wanted)
            assert same(system.written(), wanted.values)

    def test_a_cancelled_row_may_be_sent_again_by_a_new_connection(
        self, system: SenderSystem
    ) -> None:
        wanted = numbered(system, [1])

        async def cancelled() -> None:
            await sender.connect_async()
            try:
                sending = asyncio.ensure_future(sender.send(next(iter(wanted))))
                await asyncio.sleep(0)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            finally:
                await sender.close_async()

        with self.connected(system) as sender:
            asyncio.run(cancelled())
            sender.close()
            sender.connect()
            assert not self.write(sender, wanted)
            assert set(map(repr, system.written())) == {repr(system.value(1))}


async def _connected_send(sender: Sender, wanted: Rows) -> dict[int, object]:
    """Return the answer for each row, sent within one connection."""
    answers: dict[int, object] = {}
    room = asyncio.Semaphore(sender.concurrency)
    lanes: dict[object, list[Row]] = {}
    for row in wanted:
        alone = row.key is None or not sender.ordered
        lanes.setdefault(row.position if alone else row.key, []).append(row)

    async def send_lane(lane: list[Row]) -> None:
        for row in lane:
            async with room:
                answers[row.position] = await sender.send(row)

    await sender.connect_async()
    try:
        await asyncio.gather(*map(send_lane, lanes.values()))
    finally:
        await sender.close_async()
    return answers
