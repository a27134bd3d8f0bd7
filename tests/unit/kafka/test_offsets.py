"""Where a group is set to go on: decided without a cluster."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kafka_etl.cli.topics.stored_offsets import Keeper, as_kept
from kafka_etl.contracts import StoredOffset
from kafka_etl.engine.sinks.stored import StoreIdentity
from kafka_etl.errors import OffsetsUnclear
from kafka_etl.kafka.cluster.admin import Committed
from kafka_etl.kafka.cluster.offsets import Standing, Target, parse_target, planned
from kafka_etl.record import Partition
from kafka_etl.testing import MemoryStore, MemoryTarget

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
HOUR = 3_600_000
MS = int(NOW.timestamp() * 1000)
TP = Partition("orders", 0)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("earliest", Target("earliest")),
        ("latest", Target("latest")),
        ("0", Target("offset", 0)),
        ("17", Target("offset", 17)),
        ("+5", Target("by", 5)),
        ("-5", Target("by", -5)),
        ("-1h", Target("time", MS - HOUR)),
        ("-90m", Target("time", MS - HOUR * 3 // 2)),
        ("2026-05-17T11:00:00Z", Target("time", MS - HOUR)),
        ("2026-05-17T11:00:00", Target("time", MS - HOUR)),
        ("2026-05-17T13:00:00+02:00", Target("time", MS - HOUR)),
    ],
)
def test_places(text: str, target: Target) -> None:
    assert parse_target(text, NOW) == target


@pytest.mark.parametrize("text", ["", "begin", "-", "+", "-1x", "1.5", "+1h", "2026-13-01", "-9e9"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(OffsetsUnclear):
        parse_target(text, NOW)


def standing(committed: int | None, begin: int = 10, end: int = 100, note: str = "") -> Standing:
    return Standing(TP, None if committed is None else Committed(committed, note), begin, end)


@pytest.mark.parametrize(
    ("target", "new"),
    [
        (Target("earliest"), 10),
        (Target("latest"), 100),
        (Target("offset", 60), 60),
        (Target("offset", 3), 10),
        (Target("offset", 300), 100),
        (Target("by", 7), 57),
        (Target("by", -7), 43),
        (Target("by", -70), 10),
        (Target("time", 1), 77),
    ],
)
def test_what_is_set_is_within_the_partition(target: Target, new: int) -> None:
    (change,) = planned([standing(50)], target, {TP: 77})
    assert (change.old, change.new) == (50, new)


def test_after_the_last_record_of_a_time_is_the_end() -> None:
    (change,) = planned([standing(50)], Target("time", 1), {TP: -1})
    assert change.new == 100


def test_without_a_committed_offset_there_is_nothing_to_count_from() -> None:
    with pytest.raises(OffsetsUnclear, match="nothing to count from"):
        planned([standing(None)], Target("by", 1), {})
    (change,) = planned([standing(None)], Target("earliest"), {})
    assert change.effect == "nothing was committed before"


def test_the_effect_is_told() -> None:
    effects = [planned([standing(50)], Target("offset", to), {})[0].effect for to in (30, 50, 1000)]
    assert effects == [
        "up to 20 records are read again",
        "as it is",
        "up to 50 records are skipped",
    ]


@pytest.mark.parametrize(
    ("found", "lag", "note"),
    [
        (standing(50), 50, ""),
        (standing(None), None, "nothing committed"),
        (standing(4), 90, "6 offsets were deleted before they were read"),
        (standing(101), 0, "beyond the end: was the topic made anew?"),
        (standing(50, note='{"suspect": 1}'), 50, '{"suspect": 1}'),
    ],
)
def test_what_is_remarkable(found: Standing, lag: int | None, note: str) -> None:
    assert (found.lag, found.note) == (lag, note)


def test_a_store_that_has_not_begun_shows_the_groups_offset() -> None:
    target = MemoryTarget()
    store = MemoryStore(target)
    store.connect()
    keeper = Keeper(store, StoreIdentity("memory", "g", "g", {}))

    def shown(note: str) -> tuple[int | None, str]:
        (kept,) = as_kept(keeper, [standing(50, note=note)])
        return kept.committed and kept.committed.offset, kept.note

    assert shown("") == (50, "of the group: the store begins here")
    assert shown("store=memory/g") == (None, "nothing committed")
    target.offsets[TP] = StoredOffset(70, 2, "", "g")
    assert shown("store=memory/g") == (70, "store=memory/g, generation 2")
