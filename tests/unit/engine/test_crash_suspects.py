"""Which record killed the worker: what is known, from whom, and for how long."""

from __future__ import annotations

import pytest

from kafka_etl.contracts import Arrival, Refusal
from kafka_etl.engine.poison.crash_suspects import CrashSuspects, Evidence, Suspect
from kafka_etl.engine.poison.quarantine import Quarantine
from kafka_etl.invocation import Condition
from kafka_etl.record import Partition
from kafka_etl.testing import StoredRecord

A, B = Partition("in", 0), Partition("in", 1)


def evidence(hand: int | None = None, first: int = 10, following: int = 20) -> Evidence:
    in_hand = None if hand is None else (A, hand)
    return Evidence({A: (first, following)}, in_hand, "killed by SIGSEGV")


def stored(offset: int, partition: Partition = A) -> StoredRecord:
    return StoredRecord(b"", partition=partition.number, offset=offset)


def noted(suspicion: CrashSuspects, offset: int = 10, note: str = "") -> Suspect | None:
    """The note that must be committed when partition A arrives like this."""
    notes = suspicion.consider({A: Arrival(offset, note)})
    if not notes:
        return None
    at, text = notes[A]
    assert at == offset  # the offset stays; only the note is new
    return Suspect.from_note(text)


# Notes


@pytest.mark.parametrize(
    "suspect",
    [
        Suspect(1, 5),
        Suspect(1, 5, 3, 2, "killed", Condition.TIMEOUT),
        Suspect(0, 2**60, 0, 10**6, 'quote " and é', Condition.WORKER_CRASHED),
    ],
)
def test_a_note_comes_back_as_it_was(suspect: Suspect) -> None:
    assert Suspect.from_note(suspect.note()) == suspect


def test_a_long_reason_is_cut() -> None:
    assert len(Suspect(1, 2, reason="x" * 10_000).note()) < 1_000


@pytest.mark.parametrize(
    "note",
    [
        "",
        "hello",
        "5",
        "[]",
        "{}",
        '{"suspect": 5}',
        '{"suspect": [1], "offset": 1, "deaths": 1}',
        '{"suspect": [1, 2], "offset": 1}',
        '{"suspect": [1, 2], "offset": "x", "deaths": 1}',
        '{"suspect": [1, 2], "offset": 1, "deaths": 1, "condition": "?"}',
    ],
)
def test_a_note_of_anybody_elses_is_none(note: str) -> None:
    assert Suspect.from_note(note) is None
    assert not noted(CrashSuspects(None, max_deaths=2), note=note)


# A death, and what follows


def test_without_a_death_nobody_is_suspect() -> None:
    suspicion = CrashSuspects(None, max_deaths=2)
    assert noted(suspicion) is None
    assert not suspicion


def test_a_death_makes_its_range_suspect() -> None:
    suspicion = CrashSuspects(evidence(), max_deaths=2)
    assert noted(suspicion) == Suspect(10, 20, None, 0, "killed by SIGSEGV")
    assert suspicion
    assert suspicion.condemned(stored(10)) is None


@pytest.mark.parametrize("at", [20, 25])
def test_a_range_that_is_settled_is_not_suspect(at: int) -> None:
    suspicion = CrashSuspects(evidence(), max_deaths=2)
    assert noted(suspicion, at) is None
    assert not suspicion


def test_what_was_settled_of_the_range_is_not_suspect() -> None:
    assert noted(CrashSuspects(evidence(), max_deaths=2), 15) == Suspect(
        15, 20, reason="killed by SIGSEGV"
    )


def test_what_was_run_before_it_without_a_death_is_not_suspect() -> None:
    suspicion = CrashSuspects(evidence(), max_deaths=2)
    assert noted(suspicion, 7) == Suspect(10, 20, reason="killed by SIGSEGV")
    assert suspicion.company(stored(9)) > 1


def test_another_death_narrows_the_range() -> None:
    suspicion = CrashSuspects(evidence(first=12, following=14), max_deaths=2, together=2)
    assert noted(suspicion, 10, Suspect(10, 20).note()) == Suspect(
        12, 14, reason="killed by SIGSEGV"
    )


def test_a_count_is_not_lost_to_a_narrower_range() -> None:
    """A daemon that was killed in careful mode leaves ranges, but says nothing of a record."""
    suspicion = CrashSuspects(evidence(first=12, following=13), max_deaths=2)
    assert noted(suspicion, 10, Suspect(10, 20, 12, 1).note()) is None
    assert suspicion.company(stored(12)) == 1


@pytest.mark.parametrize(
    ("suspect", "company"),
    [(Suspect(10, 20), 4), (Suspect(10, 14), 1), (Suspect(10, 20, 15, 1), 1)],
)
def test_a_wide_range_is_run_several_at_a_time(suspect: Suspect, company: int) -> None:
    suspicion = CrashSuspects(None, max_deaths=2, together=4)
    noted(suspicion, 10, suspect.note())
    assert [suspicion.company(stored(at)) for at in (10, suspect.next - 1)] == [company] * 2
    assert suspicion.company(stored(suspect.next)) > 4
    assert suspicion.company(stored(10, B)) > 4


def test_a_death_with_a_record_in_hand_is_counted_against_it() -> None:
    before = Suspect(10, 20).note()
    first = noted(CrashSuspects(evidence(12), max_deaths=2), 10, before)
    assert first == Suspect(10, 20, 12, 1, "killed by SIGSEGV")
    second = noted(CrashSuspects(evidence(12), max_deaths=2), 12, first.note())
    assert second == Suspect(12, 20, 12, 2, "killed by SIGSEGV")


def test_a_death_on_another_record_counts_from_one() -> None:
    before = Suspect(10, 20, 12, 5).note()
    found = noted(CrashSuspects(evidence(14), max_deaths=9), 13, before)
    assert found is not None
    assert (found.offset, found.deaths) == (14, 1)


def test_the_range_of_an_earlier_death_is_not_forgotten() -> None:
    before = Suspect(10, 90).note()
    found = noted(CrashSuspects(evidence(12), max_deaths=2), 10, before)
    assert found is not None
    assert (found.first, found.next) == (10, 90)


def test_a_record_in_hand_that_is_settled_is_not_to_blame() -> None:
    found = noted(CrashSuspects(evidence(12), max_deaths=2), 13)
    assert found == Suspect(13, 20, reason="killed by SIGSEGV")


def test_the_next_owner_goes_by_the_note_alone() -> None:
    note = Suspect(10, 20, 12, 2, "killed").note()
    suspicion = CrashSuspects(None, max_deaths=2)
    assert noted(suspicion, 12, note) is None  # it is committed already
    assert suspicion.condemned(stored(12)) is not None


def test_a_note_that_is_behind_is_over() -> None:
    suspicion = CrashSuspects(None, max_deaths=2)
    assert noted(suspicion, 20, Suspect(10, 20, 12, 2).note()) is None
    assert not suspicion


def test_evidence_counts_once() -> None:
    suspicion = CrashSuspects(evidence(12), max_deaths=5)
    first = noted(suspicion)
    assert first is not None
    suspicion.forget(frozenset({A}))
    assert noted(suspicion, 10, first.note()) is None


# Quarantine


def test_so_many_deaths_condemn_one_record_and_none_beside_it() -> None:
    suspicion = CrashSuspects(None, max_deaths=2)
    noted(suspicion, 10, Suspect(10, 20, 12, 2, "killed").note())
    condemned = Quarantine(suspicion)
    assert condemned
    assert [offset for offset in range(9, 21) if condemned.failure(0, stored(offset))] == [12]
    assert condemned.failure(0, stored(12, B)) is None
    failure = condemned.failure(7, stored(12))
    assert failure is not None
    assert (failure.index, failure.condition) == (7, Condition.WORKER_CRASHED)
    assert failure.error.message == "the worker died 2 times with this record alone in hand: killed"


def test_a_timeout_is_told_as_one() -> None:
    suspicion = CrashSuspects(None, max_deaths=1)
    noted(suspicion, 10, Suspect(10, 20, 12, 1, "stood still", Condition.TIMEOUT).note())
    failure = Quarantine(suspicion).failure(0, stored(12))
    assert failure is not None
    assert failure.condition is Condition.TIMEOUT
    assert "died once" in failure.error.message


def test_where_rows_are_mixed_the_range_is_condemned() -> None:
    suspicion = CrashSuspects(evidence(), max_deaths=1, by_range=True)
    assert noted(suspicion) == Suspect(10, 20, None, 1, "killed by SIGSEGV")
    condemned = Quarantine(suspicion)
    records = [stored(offset) for offset in range(8, 23)]
    guilty = [r.offset() for r in records if condemned.failure(0, r)]
    assert guilty == list(range(10, 20))
    assert condemned.stretch(records, 100) == 2
    assert condemned.stretch(records[2:], 100) == 10
    assert condemned.stretch(records[12:], 2) == 2
    assert condemned.stretch([], 100) > 0


def test_settling_past_the_range_ends_the_suspicion() -> None:
    suspicion = CrashSuspects(evidence(), max_deaths=2)
    noted(suspicion)
    suspicion.committed({A: 19, B: 99})
    assert suspicion
    assert Suspect.from_note(suspicion.notes({A: 19, B: 99})[A]) == Suspect(
        10, 20, reason="killed by SIGSEGV"
    )
    assert suspicion.notes({A: 20}) == {}
    suspicion.committed({A: 20})
    assert not suspicion


def test_a_partition_that_left_takes_its_suspicion_along() -> None:
    condemned = Quarantine(CrashSuspects(evidence(), max_deaths=2))
    noted(condemned.suspects)
    condemned.refuse([stored(12)], Refusal("NO", "no"))
    condemned.forget(frozenset({B}))
    assert condemned
    condemned.forget(frozenset({A}))
    assert not condemned


def test_a_refused_record_fails_without_another_call_until_it_is_settled() -> None:
    condemned = Quarantine(CrashSuspects(None, max_deaths=2))
    assert not condemned
    condemned.refuse([stored(12)], Refusal("INVALID", "no key"))
    condemned.refuse([stored(15)], Refusal("TOO_LARGE", "big", too_large=True))
    first, second = condemned.failure(0, stored(12)), condemned.failure(0, stored(15))
    assert first is not None
    assert second is not None
    assert (first.condition, first.operator) == (Condition.REFUSED, "sink")
    assert (first.error.type, first.error.message) == ("INVALID", "no key")
    assert second.condition is Condition.RECORD_TOO_LARGE
    condemned.committed({A: 12})
    assert condemned.failure(0, stored(12))
    condemned.committed({A: 13})
    assert condemned.failure(0, stored(12)) is None
    condemned.committed({A: 16})
    assert not condemned


def test_evidence_is_noted_once_its_notes_are_committed() -> None:
    suspicion = CrashSuspects(evidence(), max_deaths=3)
    assert not suspicion.evidence_is_noted, "its partition may yet come"
    noted(suspicion)
    assert not suspicion.evidence_is_noted, "nothing is committed"
    suspicion.noted({A: 10})
    assert suspicion.evidence_is_noted
    assert CrashSuspects(None, max_deaths=3).evidence_is_noted


def test_evidence_that_is_settled_already_needs_no_note() -> None:
    suspicion = CrashSuspects(evidence(), max_deaths=3)
    assert noted(suspicion, offset=20) is None
    assert suspicion.evidence_is_noted
