"""Who offers slots to whom, and for how long: both sides of an offer."""

from __future__ import annotations

import pytest

from kafka_etl.engine.tasks.offers import OffersOfOthers, Opening, OwnOffers, shares
from kafka_etl.record import Partition
from kafka_etl.runtime.tasks.keeper.offers import Offers
from kafka_etl.tasks import words as w
from kafka_etl.tasks.head import Head
from kafka_etl.tasks.keeping import Grant, Instant, Offer, TaskRecord
from kafka_etl.tasks.open_note import OpenNote, decode_note, encode_note
from kafka_etl.tasks.states import State

P0 = Partition("inbox", 0)


@pytest.mark.parametrize(
    ("free", "waiting", "expected"),
    [
        (4, {1: 6, 2: 2}, {1: 4}),
        (6, {1: 6, 2: 2}, {1: 5, 2: 1}),
        (4, {1: 1, 2: 1, 3: 5}, {3: 4}),
        (9, {1: 1, 2: 2}, {1: 1, 2: 2}),
        (0, {1: 1}, {}),
        (3, {}, {}),
        (3, {1: 0}, {}),
    ],
)
def test_slots_go_where_most_tasks_wait(
    free: int, waiting: dict[int, int], expected: dict[int, int]
) -> None:
    assert dict(shares(free, waiting)) == expected


class Host:
    """A host whose work of its own leaves two slots."""

    def __init__(self, waiting: dict[int, int]) -> None:
        self.now = 1_000.0
        self.waiting = waiting
        self.offers = OwnOffers(
            lambda: {p: OpenNote(1, n, n, at=10 * p) for p, n in self.waiting.items()},
            lambda: self.now,
        )

    def after(
        self, seconds: float, spare: int = 2, own: tuple[int, ...] = (), **foreign: int
    ) -> list[Offer]:
        self.now += seconds
        return self.offers.turn(spare, {int(p[1:]): n for p, n in foreign.items()}, own)


def test_a_host_offers_after_two_seconds_without_work_and_renews() -> None:
    host = Host({1: 3})
    assert host.after(0) == host.after(1.9) == []
    assert host.after(0.1) == [Offer(1, 2)]
    assert host.offers.places == {1: 10}
    assert host.after(0.5) == []
    assert host.after(0.5) == [Offer(1, 2)]


def test_work_of_its_own_ends_the_offers_and_the_wait_begins_anew() -> None:
    host = Host({1: 3})
    host.after(0)
    host.after(2)
    assert host.after(0.1, spare=0) == [Offer(1, 0)]
    assert host.after(0.1) == host.after(1.9) == []
    assert host.after(0.1) == [Offer(1, 2)]


def test_slots_that_were_filled_stay_offered_while_there_is_no_work_here() -> None:
    host = Host({1: 3})
    host.after(0)
    host.after(2)
    host.offers.answered(1)
    assert host.after(1, p1=2) == [Offer(1, 2)]
    assert host.after(1, p1=1) == [Offer(1, 2)]
    host.waiting = {}
    assert host.after(1, p1=1) == [Offer(1, 1)]
    assert host.after(1) == [Offer(1, 0)]


def test_attempts_of_tasks_that_moved_away_take_slots() -> None:
    host = Host({1: 3})
    host.after(0, p2=1)
    assert host.after(2, p2=1) == [Offer(1, 1)]
    assert host.after(1, spare=1, p2=2) == [Offer(1, 0)]


def test_a_partition_whose_owner_does_not_answer_is_passed_for_a_while() -> None:
    host = Host({1: 5, 2: 1})
    host.after(0)
    for _ in range(5):
        assert host.after(2 if _ == 0 else 1) == [Offer(1, 2)]
    host.after(1)
    assert host.after(1) == [Offer(1, 0), Offer(2, 1)]
    for _ in range(9):
        host.offers.answered(2)
        host.after(1)
    assert Offer(1, 2) in host.after(1)


def test_a_partition_that_arrives_gets_no_offer() -> None:
    host = Host({1: 3, 2: 1})
    host.after(0)
    host.after(2)
    assert host.after(0.1, own=(1,)) == [Offer(1, 0)]
    assert host.after(1, own=(1,)) == [Offer(2, 1)]


def test_an_offer_counts_without_what_the_executor_holds_and_not_for_ever() -> None:
    now = 100.0
    offers = OffersOfOthers(lambda: now)
    offers.hear(P0, w.Alive(executor="b", boot="b1", offer=3, slots=2))
    head = Head(id="t", state=State.RUNNING, token="k", executor="b", boot="b1")
    assert offers.openings(P0, []) == [Opening("b", "b1", 3, 2)]
    assert offers.openings(P0, [head]) == [Opening("b", "b1", 3, 1)]
    assert offers.openings(P0, [head, head]) == []
    assert offers.openings(Partition("inbox", 1), []) == []
    now += 12.1
    assert offers.openings(P0, []) == []


@pytest.mark.parametrize(
    "word",
    [
        w.Alive(executor="b", boot="b1", offer=4),
        w.Alive(executor="b", boot="b1", offer=3, slots=2, draining=True),
        w.Hello(executor="b", boot="b2"),
    ],
)
def test_an_offer_ends_with_a_word_that_has_none(word: w.Alive | w.Hello) -> None:
    offers = OffersOfOthers(lambda: 1.0)
    offers.hear(P0, w.Alive(executor="b", boot="b1", offer=3, slots=2))
    offers.hear(P0, word)
    assert offers.openings(P0, []) == []


# The keeper's side

NOW = Instant(5.0, 50.0)
A, B = object(), object()


def grant(offer: int, partition: int = 1) -> Grant:
    record = TaskRecord("in", 0, 0, 0, None, None, [])
    return Grant("k", "t", partition, 1, 1, record, (1, 2), 0, Instant(9.0, 90.0), offer)


def test_a_keeper_takes_grants_under_its_present_offer_alone() -> None:
    offers = Offers()
    assert offers.of(1) == (1, 0)
    assert offers.hear(A, Offer(1, 2), NOW, 0.0)
    assert (offers.of(1), offers.of(2)) == ((1, 2), (2, 0))
    assert offers.since(A, grant(1)) == NOW
    assert offers.since(A, grant(2)) is None
    assert offers.since(B, grant(1)) is None
    assert offers.since(A, grant(1, partition=2)) is None


def test_an_offer_is_told_when_it_changes_and_keeps_its_number_while_it_is_renewed() -> None:
    offers = Offers()
    offers.hear(A, Offer(1, 2), NOW, 0.0)
    assert not offers.hear(A, Offer(1, 2), Instant(6.0, 60.0), 4.0)
    assert offers.hear(A, Offer(1, 1), Instant(7.0, 70.0), 4.0)
    assert offers.of(1) == (1, 1)
    assert offers.since(A, grant(1)) == NOW
    assert offers.overdue(8.9) == []
    assert offers.overdue(9.0) == [1]
    assert offers.since(A, grant(1)) is None


@pytest.mark.parametrize("ends", ["withdrawn", "overdue", "draining", "of another owner"])
def test_an_offer_that_has_ended_never_comes_back_under_its_number(ends: str) -> None:
    offers = Offers()
    offers.hear(A, Offer(1, 2), NOW, 0.0)
    match ends:
        case "withdrawn":
            assert offers.hear(A, Offer(1, 0), NOW, 1.0)
            assert not offers.hear(A, Offer(1, 0), NOW, 1.0)
        case "overdue":
            offers.overdue(5.0)
        case "draining":
            offers.end_all()
        case _:
            assert offers.hear(B, Offer(1, 2), NOW, 1.0)
    number, _ = offers.of(1)
    assert number == 2
    offers.hear(A, Offer(1, 2), NOW, 6.0)
    assert offers.since(A, grant(1)) is None


def test_an_end_is_told_until_kafka_has_a_list_that_says_it() -> None:
    offers = Offers()
    offers.hear(A, Offer(1, 2), NOW, 0.0)
    offers.said(1, 7)
    offers.hear(A, Offer(1, 0), NOW, 1.0)
    offers.acknowledge(1, 7)
    assert offers.partitions == {1}
    offers.said(1, 8)
    offers.said(1, 9)
    offers.acknowledge(1, 7)
    assert offers.partitions == {1}
    offers.acknowledge(1, 9)
    assert offers.partitions == set()


def test_a_note_is_read_as_it_was_written() -> None:
    note = OpenNote(3, 9, 4, 77)
    assert decode_note(encode_note(note)) == note
    assert decode_note('{"n":3,"open":9}') == OpenNote(3, 9)
    assert decode_note("") is decode_note(None) is decode_note("{}") is None
