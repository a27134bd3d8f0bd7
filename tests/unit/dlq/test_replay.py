"""The parts of a replay that need no Kafka: statuses, selections, accounts, its document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.config.document import Document
from kafka_etl.config.model import PipelineSpec
from kafka_etl.dead_letters import Place
from kafka_etl.dead_letters.raw import decode_raw, stored
from kafka_etl.dead_letters.replayed import ReplayedRecord
from kafka_etl.dead_letters.statuses import (
    ActionState,
    BulkAction,
    Claim,
    LetterPlace,
    LetterStatus,
    Status,
    Statuses,
    action_record,
    claims_of,
    key_of,
    status_record,
    status_topic,
)
from kafka_etl.dlq import plans
from kafka_etl.dlq.replay import BACK, ReplayOrder, replay_document
from kafka_etl.dlq.selection import Found, LeftOut, Selection, select
from kafka_etl.envelope import encode_raw
from kafka_etl.errors import SelectionRefused
from kafka_etl.invocation import DeadLetter
from kafka_etl.kafka.replay.accounts import RELEASED, ReplayAccounts
from kafka_etl.kafka.settings import ReplaySettings
from kafka_etl.record import Partition
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import ABOUT, letter

DLQ = "orders.dlq"
IN = Partition("orders", 3)


def written(*records: tuple[bytes, bytes | None]) -> Statuses:
    statuses = Statuses()
    statuses.take_in(StoredRecord(value, key) for key, value in records)
    return statuses


def status(kind: LetterStatus, action: str = "a", **more: Any) -> Status:
    return Status(kind, 1, action, **more)


def place(number: int) -> LetterPlace:
    return LetterPlace(0, number)


# Statuses


def test_the_last_status_counts_and_a_tombstone_opens_again() -> None:
    claimed = status(LetterStatus.REPLAYING)
    statuses = written(
        status_record(place(1), claimed),
        status_record(place(2), claimed),
        status_record(place(1), status(LetterStatus.REPLAYED)),
        (key_of(place(2)), None),
    )
    assert statuses.of(place(1)) is LetterStatus.REPLAYED
    assert statuses.of(place(2)) is LetterStatus.OPEN
    assert statuses.of(place(3)) is LetterStatus.OPEN


def test_foreign_records_change_nothing() -> None:
    junk = [b"", b"\xff", b"1/", b"/1", b"1/x", b"action/", b"1/1", b"0/" + b"9" * 5_000]
    values: list[bytes | None] = [None, b"", b"{}", b"null", b"\xff", b'{"status": "odd"}', b"[1]"]
    statuses = written(*((key, value) for key in junk for value in values))
    assert (statuses.letters, statuses.actions) == ({}, {})


def test_claims_are_of_their_action_and_know_the_record() -> None:
    source = ("orders", 3, 7)
    statuses = written(
        status_record(place(1), status(LetterStatus.REPLAYING, source=source)),
        status_record(place(2), status(LetterStatus.REPLAYING, value=b"new")),
        status_record(place(3), status(LetterStatus.REPLAYING, "other")),
        status_record(place(4), status(LetterStatus.REPLAYED)),
    )
    assert claims_of(statuses, "a", DLQ) == [
        Claim(place(1), Place(*source), None),
        Claim(place(2), Place(DLQ, 0, 2), b"new"),
    ]


def test_an_action_comes_back_as_it_was_written() -> None:
    action = BulkAction(
        "a", "replay", ActionState.RUNNING, 1, "me@here", "why", "where x", 2, "plan"
    )
    assert written(action_record(action)).actions == {"a": action}


def test_the_status_topic_of_the_longest_name_is_a_name() -> None:
    assert status_topic(DLQ) == "orders.dlq.status"
    assert len(status_topic("x" * 249)) == 249


# Selections


def found(number: int) -> Found:
    return Found(place(number), Place("orders", 3, number), "f", "E: no")


def test_letters_that_somebody_has_dealt_with_are_left_alone() -> None:
    statuses = written(
        status_record(place(1), status(LetterStatus.REPLAYED)),
        status_record(place(2), status(LetterStatus.DROPPED)),
        status_record(place(3), status(LetterStatus.REPLAYING)),
    )
    letters = [found(number) for number in (4, 3, 2, 1, 0)]
    chosen = select("all", letters, statuses, again=False)
    assert [one.at.offset for one in chosen.letters] == [0, 4]
    assert chosen.left_out == {LeftOut.REPLAYED: 1, LeftOut.DROPPED: 1, LeftOut.CLAIMED: 1}
    again = select("all", letters, statuses, again=True)
    assert [one.at.offset for one in again.letters] == [0, 1, 2, 4]


def test_a_plan_is_of_these_letters_words_and_details() -> None:
    first = Selection("all", [found(1), found(2)], {})
    others = [
        Selection("all", [found(1)], {}).plan("replay"),
        Selection("some", first.letters, {}).plan("replay"),
        first.plan("drop"),
        first.plan("replay", "more"),
    ]
    assert first.plan("replay") == Selection("all", [found(1), found(2)], {}).plan("replay")
    assert len({first.plan("replay"), *others}) == 5


def test_a_plan_is_kept_for_its_topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path))
    chosen = Selection("all", [found(1)], {LeftOut.DROPPED: 2})
    plan = chosen.plan("replay")
    plans.save(plan, DLQ, chosen)
    assert plans.load(plan, DLQ).plan("replay") == plan
    with pytest.raises(SelectionRefused, match=r"for letters of orders\.dlq"):
        plans.load(plan, "other")
    for unknown in ("0" * 12, "../../etc", ""):
        with pytest.raises(SelectionRefused, match="knows no plan"):
            plans.load(unknown, DLQ)


# Accounts

CLAIMS = st.lists(
    st.builds(
        lambda at, partition, offset: Claim(
            LetterPlace(at % 3, at), Place("orders", partition, offset), None
        ),
        st.integers(0, 40),
        st.integers(0, 2),
        st.integers(0, 15),
    ),
    unique_by=lambda claim: claim.letter,
    max_size=30,
)


def accounts(*claims: Claim) -> ReplayAccounts:
    made = ReplayAccounts(ReplaySettings(topic=DLQ, action="a", group="g"), {})
    made.load(claims)
    return made


def names(due: Any) -> list[str]:
    return [key.decode() for key, _ in due]


@given(CLAIMS)
def test_each_record_comes_once_in_the_order_of_its_partition(claims: list[Claim]) -> None:
    made = accounts(*claims)
    by_record = {(claim.record.partition, claim.record.offset) for claim in claims}
    given_out = [(claim.record.partition, claim.record.offset) for claim in made.order]
    assert sorted(given_out) == sorted(by_record)
    for partition in range(3):
        offsets = [offset for number, offset in given_out if number == partition]
        assert offsets == sorted(offsets)


@given(CLAIMS, st.integers(1, 7))
def test_each_letter_gets_its_status_once(claims: list[Claim], step: int) -> None:
    made = accounts(*claims)
    told: list[str] = []
    for at in range(0, len(made.order), step):
        part = made.order[at : at + step]
        progress = {
            Partition("orders", claim.record.partition): claim.record.offset + 1 for claim in part
        }
        aborted = names(made.due(progress))
        assert names(made.due(progress)) == aborted  # nothing was written yet
        told += aborted
        made.written(progress)
    assert sorted(told) == sorted(str(claim.letter) for claim in claims)
    assert made.is_done


def test_all_letters_of_a_record_that_cannot_be_replayed_are_open_again() -> None:
    record = Place("orders", 3, 5)
    made = accounts(Claim(place(1), record, None), Claim(place(2), record, None))
    assert not made.is_done
    assert (made.begins(), made.ends()) == ({IN: 5}, {IN: 6})
    made.leave_open(record)
    assert made.owes
    assert made.due({}) == [(b"0/1", None), (b"0/2", None)]
    assert made.due({IN: 6}) == [(b"0/1", None), (b"0/2", None)]
    made.written({})
    assert not made.owes
    assert not made.is_done
    assert made.due({IN: 6}) == []
    made.written({IN: 6})
    assert made.is_done


def test_a_release_opens_the_claims_from_its_offset_on() -> None:
    made = accounts(
        *(Claim(place(n), Place("orders", 3, 5 + n), None) for n in range(4)),
    )
    made.written({IN: 6})
    due = made.due({IN: 7 + RELEASED})
    assert [(key, value is None) for key, value in due] == [
        (b"0/1", False),  # a store has the record, but its status was not written yet
        (b"0/2", True),
        (b"0/3", True),
    ]
    made.written({IN: 7 + RELEASED})
    assert made.is_done


# The record


def test_a_further_failure_carries_the_history_on() -> None:
    first = stored(letter(b"v", b"k", [("own", b"1")]), ABOUT)
    record = ReplayedRecord(first, first.source)
    assert (record.key(), record.value(), record.headers()) == (b"k", b"v", [("own", b"1")])
    assert (record.topic(), record.partition(), record.offset()) == ("orders", 3, 42)
    again = DeadLetter(record, letter().failure, "id", 5)
    second = in_topic(encode_raw(again, ABOUT, 100_000))
    read = decode_raw(second)
    assert read is not None
    assert read.headers == [("own", b"1")]
    assert [entry["operator"] for entry in read.context["history"]] == ["to_eur"]
    assert ReplayedRecord(read, read.source).failures == 2


def test_kept_headers_tell_the_history_themselves() -> None:
    raw = encode_raw(letter(b"v", b"k", [("own", b"1")]), ABOUT, 100_000)
    first = stored(letter(b"v", b"k", [("own", b"1")]), ABOUT)
    record = ReplayedRecord(first, first.source, b"new", raw.headers)
    assert (record.value(), record.headers(), record.earlier) == (b"new", raw.headers, [])


# The document

SPEC: dict[str, Any] = {
    "name": "shop",
    "guarantee": "exactly_once",
    "workers": 4,
    "source": {"use": "kafka", "with": {"topics": ["orders"], "value": "json", "group": "g"}},
    "operators": ["ops:pick"],
    "sink": {"use": "postgres", "with": {"table": "t", "offsets": {"table": "marks", "name": "n"}}},
    "dead_letter": {"topic": DLQ},
}


def made_of(**more: Any) -> dict[str, Any]:
    document = Document(Path("p.yaml"), SPEC, {}, {}, [])
    order = ReplayOrder(DLQ, "a1", sources=("orders",), **more)
    return dict(replay_document(document, PipelineSpec.model_validate(SPEC), order).data)


def test_through_the_pipeline_with_offsets_of_its_own() -> None:
    data = made_of(transform=("ops:fix",), rate=5)
    assert data["source"] == {
        "use": "dead_letters",
        "with": {
            "topic": DLQ,
            "run": "",
            "release": False,
            "action": "a1",
            "group": "g.replay.a1",
            "keep_failures": False,
            "max_failures": 10,
            "value": "json",
            "rate": 5,
        },
    }
    assert data["operators"] == [{"use": "ops:fix"}, "ops:pick"]
    assert data["sink"] == {
        "use": "postgres",
        "with": {"table": "t", "offsets": {"table": "marks", "name": "n.replay.a1"}},
    }
    assert not {"guarantee", "workers"} & data.keys()
    assert SPEC["sink"]["with"]["offsets"] == {"table": "marks", "name": "n"}


def test_back_to_the_topics_of_the_records_as_they_were() -> None:
    data = made_of(to=BACK)
    assert data["operators"] == []
    assert data["source"]["with"]["keep_failures"]
    assert "value" not in data["source"]["with"]
    assert data["sink"]["with"]["topic"] == "orders"
    assert data["sink"]["with"]["set"] == {"partition": "partition"}


def test_to_a_topic_changed_and_without_the_history() -> None:
    data = made_of(to="other", transform=("ops:fix",), reset=True)
    assert data["operators"] == [{"use": "ops:fix"}]
    assert not data["source"]["with"]["keep_failures"]
    assert data["source"]["with"]["value"] == "json"
    assert data["sink"]["with"]["topic"] == "other"
