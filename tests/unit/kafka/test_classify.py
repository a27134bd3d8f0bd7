"""What is said of the client's errors: what happened, once, and what to do that helps."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from kafka_etl.errors import KafkaEtlError, NotAuthorized, OffsetsLost, UnreadableBatch
from kafka_etl.kafka.client import classify


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            (
                "Fatal error: Broker: Static consumer fenced by other consumer with same "
                "group.instance.id: Fatal consumer error: Broker: Static consumer fenced by other "
                "consumer with same group.instance.id"
            ),
            "Broker: Static consumer fenced by other consumer with same group.instance.id",
        ),
        (
            (
                "ProduceRequest for out [0] with 1 message(s) failed: Broker: Broker failed to "
                "validate record (broker 1 PID{Id:0,Epoch:0}, base seq 3): current transaction "
                "must be aborted"
            ),
            "ProduceRequest for out [0] failed: Broker: Broker failed to validate record",
        ),
        (
            (
                "x:9092/bootstrap: Failed to resolve 'x:9092': Name or service not known (after "
                "2ms in state CONNECT, 3 identical error(s) suppressed)"
            ),
            "x:9092/bootstrap: Failed to resolve 'x:9092': Name or service not known",
        ),
        (
            (
                "only 1 broker(s) are registered or some brokers have all their log directories "
                "cordoned."
            ),
            "only 1 broker(s) are registered.",
        ),
        ("Failed to fetch: Local: Timed out", "Failed to fetch: Local: Timed out"),
    ],
)
def test_the_client_is_quoted_without_its_own_counts(given: str, said: str) -> None:
    error = KafkaError(KafkaError._FATAL, given)
    assert classify.plain(error) == said
    assert classify.said(error) == f"_FATAL: {said}"


@pytest.mark.parametrize(
    ("code", "kind", "helps", "never"),
    [
        (KafkaError._AUTHENTICATION, NotAuthorized, "`sasl.*`", "right"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, NotAuthorized, "`sasl.*`", "right"),
        (KafkaError._SSL, NotAuthorized, "`ssl.*`", "right"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, NotAuthorized, "READ on the topics", "login"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, NotAuthorized, "READ on its consumer group", "log"),
        (
            KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            NotAuthorized,
            "WRITE on its transactional ids",
            "login",
        ),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, NotAuthorized, "the missing right", "login"),
        (KafkaError._AUTO_OFFSET_RESET, OffsetsLost, "kafka-etl offsets reset FILE", "login"),
        (KafkaError._BAD_COMPRESSION, UnreadableBatch, "kafka-etl offsets reset FILE", "login"),
    ],
)
def test_what_to_do_is_what_helps(
    code: int, kind: type[KafkaEtlError], helps: str, never: str
) -> None:
    error = classify.final(KafkaError(code, "no"), "reading orders[3]")
    assert type(error) is kind
    assert error.what == f"reading orders[3] failed: {KafkaError(code).name()}: no"
    assert helps in error.next_step
    assert never not in error.next_step


def test_a_record_that_is_refused_as_invalid_may_lack_a_key() -> None:
    refusal = classify.refusal(KafkaError(KafkaError.INVALID_RECORD, "no"))
    assert refusal is not None
    assert refusal.message == "no; a compacted topic takes no record without a key"


@pytest.mark.parametrize(
    ("code", "is_busy"),
    [
        (KafkaError.NOT_LEADER_FOR_PARTITION, True),
        (KafkaError.FENCED_LEADER_EPOCH, True),
        (KafkaError.UNKNOWN_LEADER_EPOCH, True),
        (KafkaError.OFFSET_NOT_AVAILABLE, True),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
        (KafkaError.INVALID_CONFIG, False),
    ],
)
def test_a_change_of_leaders_passes(code: int, is_busy: bool) -> None:
    """As seen: a broker that came back during preflight answered FENCED_LEADER_EPOCH."""
    assert classify.busy(KafkaError(code)) == is_busy
