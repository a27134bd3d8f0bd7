"""How many tasks are open, as owners tell beside the offsets that they commit. No broker."""

from __future__ import annotations

import pytest

from kafka_etl.kafka.admin import Committed
from kafka_etl.kafka.open_tasks import Crowd, OpenNote, crowd, encode_note
from kafka_etl.record import Partition

A, B = Partition("x.inbox", 0), Partition("x.inbox", 1)


def told(offset: int, open_: int, most: int = 0) -> Committed:
    return Committed(offset, encode_note(OpenNote(7, open_, most)))


def test_open_tasks_and_words_on_their_way_are_counted_together() -> None:
    found = crowd({A: told(10, 3, 100), B: told(5, 1, 100)}, {A: 12, B: 5})
    assert found == Crowd(6, 100)


@pytest.mark.parametrize(("open_", "is_full"), [(9, False), (10, True), (11, True)])
def test_from_the_limit_on_there_is_no_room(open_: int, is_full: bool) -> None:
    assert Crowd(open_, 10).is_full is is_full


def test_a_limit_that_nobody_has_told_is_none() -> None:
    assert not crowd({A: Committed(10, "store=x"), B: told(5, 9)}, {A: 99, B: 5}).is_full
    assert not crowd({}, {A: 99}).is_full


def test_of_a_limit_that_was_changed_the_largest_counts() -> None:
    assert crowd({A: told(1, 0, 50), B: told(1, 0, 1000)}, {A: 1, B: 1}).most == 1000
