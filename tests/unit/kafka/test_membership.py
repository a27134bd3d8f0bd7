"""What a worker knows of its place in the group, from what its client tells. No broker."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError

from kafka_etl.errors import ClientUnsupported, GroupTaken, KafkaRefused
from kafka_etl.kafka.source import membership
from kafka_etl.kafka.source.membership import Membership, enter, generation

FOREIGN = KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL)
TOO_SLOW = KafkaError(KafkaError._MAX_POLL_EXCEEDED)
GONE = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(membership, "monotonic", clock)
    return clock


def test_a_group_of_others_is_a_trouble_that_names_the_way_out(clock: Clock) -> None:
    member = Membership("g")
    assert member.trouble(holds=False) is None
    member.note(FOREIGN, None)
    said = member.trouble(holds=False) or ""
    assert "group g does not let this worker in" in said
    assert "INCONSISTENT_GROUP_PROTOCOL" in said
    assert "source.with.group" in said
    member.look(joined=True)
    assert member.trouble(holds=False) is None


def test_who_is_to_end_does_not_wait_for_ever_to_be_let_in(clock: Clock) -> None:
    member = Membership("g")
    member.insist()
    member.note(FOREIGN, None)
    clock.now = 29.0
    member.note(FOREIGN, None)
    member.insist()
    clock.now = 31.0
    with pytest.raises(GroupTaken, match="group g does not let this worker in"):
        member.insist()
    member.look(joined=True)
    member.insist()


def test_a_member_that_is_not_in_is_shown_as_such(clock: Clock) -> None:
    member = Membership("g")
    clock.now = 9.0
    assert member.trouble(holds=False) is None
    clock.now = 11.0
    assert member.trouble(holds=False) == (
        "not in group g yet: its members have not agreed who reads what"
    )
    assert member.trouble(holds=True) is None
    member.look(joined=True)
    assert member.trouble(holds=False) is None


def test_being_thrown_out_twice_without_a_commit_is_a_trouble(clock: Clock) -> None:
    member = Membership("g")
    member.note(TOO_SLOW, None)
    assert member.trouble(holds=True) is None
    member.committed()
    member.note(TOO_SLOW, None)
    assert member.trouble(holds=True) is None
    member.note(TOO_SLOW, None)
    said = member.trouble(holds=True) or ""
    assert "thrown out of group g 2 times" in said
    assert "max.poll.interval.ms" in said
    assert "timeout" in said
    member.committed()
    assert member.trouble(holds=True) is None


def test_a_topic_that_is_gone_is_a_trouble_of_who_has_nothing_else(clock: Clock) -> None:
    member = Membership("g")
    member.note(GONE, "orders")
    assert member.trouble(holds=True) is None
    assert member.trouble(holds=False) == "no topic is called orders"
    member.arrived()
    assert member.trouble(holds=False) is None


def test_the_generation_is_read_from_a_proof_of_the_known_form() -> None:
    assert generation(b"CGMDv2:\x05\x00\x00\x00g\x00m\x00\x00") == 5
    assert generation(b"CGMDv2:\xff\xff\xff\xffg\x00\x00") == -1


@pytest.mark.parametrize("proof", [b"CGMDv3:\x05\x00\x00\x00g\x00m\x00\x00", b"", b"CGMD"])
def test_a_proof_of_another_form_stops_the_pipeline(proof: bytes) -> None:
    with pytest.raises(ClientUnsupported, match="proof of membership"):
        generation(proof)


def test_topics_that_the_client_does_not_take_are_named() -> None:
    consumer = Consumer({"group.id": "g", "log_level": 0})
    with pytest.raises(KafkaRefused, match=r"does not take \^\(\?!a\) as topics to read"):
        enter(consumer, ["^(?!a)"])
    consumer.close()


def test_the_form_of_the_proof_is_seen_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "_PROOF", b"CGMDv9:")
    consumer = Consumer({"group.id": "g", "log_level": 0})
    with pytest.raises(ClientUnsupported, match="CGMDv2"):
        enter(consumer, ["a"])
    consumer.close()
