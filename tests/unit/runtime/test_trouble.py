"""Trouble begins, goes on, and ends when the source says that all is well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from kafka_etl.contracts import Position, Source
from kafka_etl.record import Partition
from kafka_etl.runtime.trouble import Trouble


class FakeSource:
    def __init__(self, *, end: int = 5, joined: bool = True, trouble: str | None = None) -> None:
        self.joined = joined
        self.trouble = trouble
        self._end = end

    def positions(self) -> Mapping[Partition, Position]:
        return {Partition("in", 0): Position(5, self._end, 0)}


def look(trouble: Trouble, source: FakeSource, *, paused: bool = False) -> str | None:
    trouble.look(cast("Source", source), paused=paused)
    return trouble.said


def test_another_reason_does_not_make_it_younger() -> None:
    trouble = Trouble()
    trouble._since = "yesterday"
    trouble.note("slow")
    trouble.note("slower")
    assert trouble.said == "slower (since yesterday)"
    trouble.note(None)
    assert trouble.said is None
    trouble.note("slow")
    assert trouble.said is not None
    assert "yesterday" not in trouble.said


def test_what_the_source_says_is_shown_also_when_nothing_is_to_be_done() -> None:
    said = look(Trouble(), FakeSource(trouble="no broker answers"))
    assert said is not None
    assert said.startswith("no broker answers (since ")


@pytest.mark.parametrize(
    ("source", "paused", "ends"),
    [
        (FakeSource(), False, True),
        (FakeSource(end=6), False, False),
        (FakeSource(joined=False), False, False),
        (FakeSource(end=6), True, True),
    ],
)
def test_it_ends_where_no_commit_is_to_come(
    source: FakeSource, *, paused: bool, ends: bool
) -> None:
    trouble = Trouble()
    trouble.note("taking over the transactional id: slow")
    assert (look(trouble, source, paused=paused) is None) is ends
