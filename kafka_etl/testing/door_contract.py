"""The part of the suites that all doors have in common."""
# ruff: noqa: S101 - a suite of tests says what it expects

from __future__ import annotations

from typing import Any, Generic, TypeVar

from kafka_etl.contracts import Sender, Store, Writer
from kafka_etl.engine.sinks.flaws import flaws_of

DoorT = TypeVar("DoorT", Sender, Writer, Store)


class DoorContract(Generic[DoorT]):
    """What a door says of itself can be true."""

    def door(self, system: Any) -> DoorT:
        """Return a new door, not yet connected."""
        raise NotImplementedError

    def test_the_doors_attributes_are_of_their_types(self, system: Any) -> None:
        door = self.door(system)
        flaws = flaws_of(door)
        assert not flaws, f"{type(door).__name__}: {'; '.join(flaws)}"
