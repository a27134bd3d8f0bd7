"""The client settings that pipelines may give, tried on the client itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer

from kafka_etl.contracts import Deployment
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.client.allowed_settings import (
    ALLOWED,
    CHOICES,
    MAX_POLL,
    REFUSED,
    SECTIONS,
    Section,
    is_known,
    objection,
    poll_interval,
    value_objection,
)
from kafka_etl.kafka.client.settings import consumer_settings, producer_settings

CASES = [(section, name) for section in SECTIONS for name in sorted(ALLOWED[section])]

PLAUSIBLE: dict[str, str | int | float | bool] = {
    "security.protocol": "plaintext",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.mechanisms": "SCRAM-SHA-512",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.token.endpoint.url": "https://login.example/token",
    "sasl.oauthbearer.extensions": "tenant=a",
    "ssl.endpoint.identification.algorithm": "none",
    "client.dns.lookup": "resolve_canonical_bootstrap_servers_only",
    "broker.address.family": "v4",
    "debug": "broker,cgrp",
    "log_level": 3,
    "bootstrap.servers": "127.0.0.1:1",
    "compression.type": "zstd",
    "compression.codec": "zstd",
    "compression.level": 3,
    "linger.ms": 5,
    "queue.buffering.max.ms": 5,
    "fetch.max.bytes": 64_000_000,
    "receive.message.max.bytes": 128_000_000,
    "fetch.wait.max.ms": 500,
    "max.poll.interval.ms": 600_000,
    "session.timeout.ms": 45_000,
    "transaction.timeout.ms": 60_000,
    "message.max.bytes": 10_000_000,
    "request.timeout.ms": 5_000,
    "socket.timeout.ms": 5_000,
}
NUMBERS = ("ms", "bytes", "kbytes", "messages", "size", "max", "ttl")
SWITCHES = ("enable", "disable", "crcs", "verification")


def plausible(name: str, file: Path) -> str | int | float | bool:
    if name in PLAUSIBLE:
        return PLAUSIBLE[name]
    if name.endswith(".location"):
        return str(file)
    last = name.rpartition(".")[2]
    if last in NUMBERS:
        return 10_000
    if last in SWITCHES:
        return True
    return "text"


def companions(name: str) -> dict[str, Any]:
    """Settings that only make sense together."""
    return {"ssl.keystore.password": "changeit"} if name == "ssl.keystore.location" else {}


def deployment(section: Section, given: dict[str, Any]) -> Deployment:
    """As a worker has it, with one section of the user's own settings."""
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    sections[section] = given
    provenance = Provenance("p", "", "g", "w", "h", 1, "0", "3", {})
    sections["kafka"] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **sections["kafka"]}
    return Deployment(pipeline="p", member="kafka-etl.p.i.0", provenance=provenance, **sections)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "some.pem"
    path.write_text("")
    return path


@pytest.mark.parametrize(("section", "name"), CASES)
def test_the_client_takes_what_pipelines_may_give(section: Section, name: str, file: Path) -> None:
    place = deployment(section, {name: plausible(name, file), **companions(name)})
    if section != "producer":
        Consumer(consumer_settings(place, "g", static=True)).close()
    if section != "consumer":
        Producer(producer_settings(place))


@pytest.mark.parametrize(("section", "name"), CASES)
def test_what_the_client_takes_meets_no_objection(section: Section, name: str, file: Path) -> None:
    assert value_objection(name, plausible(name, file)) is None


NOT_OF_THE_VALUE = ["https.ca.location", "ssl.keystore.location"]
"""Files, which are looked for."""


@pytest.mark.parametrize("name", sorted({name for _, name in CASES} - {*NOT_OF_THE_VALUE}))
def test_a_value_that_the_client_refuses_is_refused_before(name: str) -> None:
    settings = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0, name: "gibberish"}
    try:
        if name in ALLOWED["producer"]:
            Producer(settings)
        else:
            Consumer({"group.id": "g", **settings}).close()
    except KafkaException:
        objection = value_objection(name, "gibberish")
        assert objection is not None
        assert objection.startswith(f"`{name}` should be ")
    else:
        assert value_objection(name, "gibberish") is None or name in CHOICES


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("security.protocol", "SASL_SSSL", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ("security.protocol", "sasl_ssl", None),
        (
            "sasl.mechanism",
            "plain",
            "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI",
        ),
        ("compression.type", "zip", "none, gzip, snappy, lz4 or zstd"),
        ("check.crcs", "maybe", "true or false"),
        ("check.crcs", True, None),
        ("linger.ms", 0.5, None),
        ("linger.ms", "5ms", "a number"),
        ("socket.timeout.ms", "5s", "a whole number"),
        ("socket.timeout.ms", True, "a whole number"),
        ("socket.timeout.ms", "60000", None),
        ("debug", "broker, cgrp", None),
    ],
)
def test_a_value_says_what_it_should_be(name: str, value: str | float, says: str | None) -> None:
    wanted = None if says is None else f"`{name}` should be {says}"
    assert value_objection(name, value) == wanted


def test_the_client_refuses_what_it_does_not_know() -> None:
    """Else the test above would prove nothing."""
    with pytest.raises(Exception, match="No such configuration property"):
        Producer({"bootstrap.servers": "127.0.0.1:1", "linger.mss": 1})


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_refused_says_why(section: Section) -> None:
    for name, reason in REFUSED.items():
        assert objection(section, name) == f"`{name}` cannot be set: {reason}"
        assert reason


def test_what_is_allowed_meets_no_objection() -> None:
    for section, name in CASES:
        assert objection(section, name) is None
        assert name not in REFUSED


@pytest.mark.parametrize(
    ("section", "name", "said"),
    [
        ("kafka", "fetch.min.bytes", "`fetch.min.bytes` belongs under `consumer`"),
        ("producer", "fetch.min.bytes", "`fetch.min.bytes` belongs under `consumer`"),
        ("consumer", "linger.ms", "`linger.ms` belongs under `producer`"),
        ("kafka", "lingr.ms", "`lingr.ms` is not a client setting that pipelines may give"),
    ],
)
def test_the_wrong_section_names_the_right_one(section: Section, name: str, said: str) -> None:
    assert objection(section, name) == said


RUNS_SOMETHING = [
    "sasl.kerberos.kinit.cmd",
    "plugin.library.paths",
    "ssl.engine.location",
    "ssl.providers",
    "enable.sasl.oauthbearer.unsecure.jwt",
]
CALLBACKS = ["error_cb", "stats_cb", "oauth_cb", "logger", "opaque", "default.topic.config"]


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("name", RUNS_SOMETHING + CALLBACKS)
def test_nothing_that_runs_or_loads_code_is_allowed(section: Section, name: str) -> None:
    assert name not in ALLOWED[section]
    assert objection(section, name) is not None


def test_what_exactly_once_needs_cannot_be_given() -> None:
    bare = deployment("kafka", {})
    everything = deployment("kafka", dict.fromkeys(REFUSED, "x"))  # had it slipped through
    suits = {"client.id", "log_level"}
    for made, given in (
        (
            consumer_settings(bare, "g", static=True),
            consumer_settings(everything, "g", static=True),
        ),
        (producer_settings(bare), producer_settings(everything)),
    ):
        needed = made.keys() & REFUSED.keys() - suits
        assert needed
        assert {name: given[name] for name in needed} == {name: made[name] for name in needed}


def test_a_known_name_is_no_spelling_mistake() -> None:
    assert is_known("acks")
    assert is_known("linger.ms")
    assert not is_known("lingr.ms")


@pytest.mark.parametrize(
    ("timeouts", "ms"),
    [
        ([], 300_000),
        ([30.0], 300_000),
        ([300.0], 360_000),
        ([600.0, 600.0], 1_260_000),
        ([86_400.0, 300.0], 86_400_000),
    ],
)
def test_the_client_waits_as_long_as_operators_may_take(timeouts: list[float], ms: int) -> None:
    assert poll_interval(timeouts) == ms
    place = deployment("consumer", {MAX_POLL: poll_interval(timeouts)})
    Consumer(consumer_settings(place, "g", static=True)).close()
