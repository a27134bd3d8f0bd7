"""How many tasks are open, as owners tell beside the offsets that they commit. No broker."""

from __future__ import annotations

import pytest

from kafka_etl.kafka.tasks.open_tasks import Crowd, Told, crowd
from kafka_etl.tasks.open_note import OpenNote


def told(unread: int, open_: int, most: int = 0) -> Told:
    return Told(unread, OpenNote(7, open_, most=most))


def test_open_tasks_and_words_on_their_way_are_counted_together() -> None:
    assert crowd([told(2, 3, 100), told(0, 1, 100)]) == Crowd(6, 100)


@pytest.mark.parametrize(("open_", "is_full"), [(9, False), (10, True), (11, True)])
def test_from_the_limit_on_there_is_no_room(open_: int, is_full: bool) -> None:
    assert Crowd(open_, 10).is_full is is_full


def test_a_limit_that_nobody_has_told_is_none() -> None:
    assert not crowd([Told(89, None), told(0, 9)]).is_full
    assert not crowd([]).is_full


def test_of_a_limit_that_was_changed_the_largest_counts() -> None:
    assert crowd([told(0, 0, 50), told(0, 0, 1000)]).most == 1000
