"""A registry that is away, slow, unwilling, or does not know: no record is to blame."""

from __future__ import annotations

import base64
import socket
import traceback
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from kafka_etl.contracts import CodecContext, Unavailable
from kafka_etl.errors import (
    ConfigError,
    ExtraMissing,
    RegistryRefused,
    SchemaMissing,
    SchemaRefused,
)
from kafka_etl.schema_registry import client as schema_registry
from kafka_etl.schema_registry.client import Schema, SchemaRegistry, registry_for
from tests.kit.registry import StandIn, register, stand_in


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def held() -> Iterator[StandIn]:
    with stand_in() as registry:
        yield registry


@pytest.fixture
def registry(held: StandIn, clock: Clock) -> SchemaRegistry:
    return SchemaRegistry({"url": held.url}, clock)


def asked_times(registry: SchemaRegistry, count: int, schema_id: int = 7) -> list[str]:
    reasons: list[str] = []
    for _ in range(count):
        with pytest.raises(Unavailable) as caught:
            registry.schema(schema_id)
        reasons.append(caught.value.reason)
    return reasons


def test_ten_thousand_records_ask_once_a_second(
    registry: SchemaRegistry, held: StandIn, clock: Clock
) -> None:
    reasons = asked_times(registry, 10_000)
    assert set(reasons) == {f"schema 7 is not in the schema registry {held.url}"}
    assert held.asked == ["/schemas/ids/7"]
    clock.now += 1
    asked_times(registry, 1)
    assert len(held.asked) == 2


def test_one_unknown_id_does_not_hide_the_others(registry: SchemaRegistry, held: StandIn) -> None:
    register(held.url, "s", "int")
    asked_times(registry, 1)
    assert registry.schema(1) == Schema("AVRO", "int")


def test_an_id_that_stays_unknown_ends_the_patience(registry: SchemaRegistry, clock: Clock) -> None:
    asked_times(registry, 1)
    for _ in range(2):
        clock.now += 14
        asked_times(registry, 1)
    clock.now += 2
    with pytest.raises(SchemaMissing, match="schema 7 is not in the schema registry") as caught:
        registry.schema(7)
    assert "registry.url" in caught.value.next_step


def test_patience_begins_anew_after_a_long_silence(registry: SchemaRegistry, clock: Clock) -> None:
    asked_times(registry, 1)
    clock.now += 1000
    asked_times(registry, 1)


def test_an_id_that_is_registered_late_is_found(
    registry: SchemaRegistry, held: StandIn, clock: Clock
) -> None:
    asked_times(registry, 1, schema_id=1)
    register(held.url, "s", "int")
    asked_times(registry, 1, schema_id=1)
    clock.now += 1
    assert registry.schema(1).text == "int"


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_registry_in_trouble_is_waited_for_without_an_end(
    registry: SchemaRegistry, held: StandIn, clock: Clock, status: int
) -> None:
    register(held.url, "s", "int")
    held.status, held.asked = status, []
    for _ in range(100):
        (reason,) = asked_times(registry, 1)
        assert f"{held.url} is in trouble when asked for schema 7: as the test" in reason
        assert f"HTTP status code {status}" in reason
        asked_times(registry, 1, schema_id=8)  # not asked: it is the registry that has trouble
        clock.now += 10
    assert len(held.asked) == 100
    held.status = None
    assert registry.schema(1).text == "int"


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_are_refused_for_good_after_a_while(
    registry: SchemaRegistry, held: StandIn, clock: Clock, status: int
) -> None:
    held.status = status
    asked_times(registry, 1)
    clock.now += 29
    asked_times(registry, 1)
    clock.now += 1
    with pytest.raises(RegistryRefused, match="as the test wants it") as caught:
        registry.schema(7)
    assert "credentials" in caught.value.next_step


def test_trouble_before_a_refusal_does_not_count(
    registry: SchemaRegistry, held: StandIn, clock: Clock
) -> None:
    held.status = 503
    asked_times(registry, 1)
    clock.now += 60
    held.status = 401
    asked_times(registry, 1)


@pytest.mark.parametrize("status", [400, 409, 422])
def test_a_schema_that_is_refused_is_said_at_once(
    registry: SchemaRegistry, held: StandIn, status: int
) -> None:
    held.status = status
    with pytest.raises(SchemaRefused, match="as the test wants it"):
        registry.schema_id("s", Schema("AVRO", "int"), register=True)


ASK: list[Callable[[SchemaRegistry], object]] = [
    lambda registry: registry.schema(7),
    lambda registry: registry.latest("s"),
    lambda registry: registry.schema_id("s", Schema("AVRO", "int"), register=False),
]


@pytest.mark.parametrize("status", [400, 405, 422])
@pytest.mark.parametrize("ask", ASK)
def test_a_question_that_is_refused_may_be_answered_later(
    registry: SchemaRegistry,
    held: StandIn,
    clock: Clock,
    status: int,
    ask: Callable[[SchemaRegistry], object],
) -> None:
    held.status = status
    with pytest.raises(Unavailable, match="gives an error when asked for"):
        ask(registry)
    clock.now += 30
    with pytest.raises(RegistryRefused, match=f"HTTP status code {status}") as caught:
        ask(registry)
    assert "registry.url" in caught.value.next_step
    held.status = None
    register(held.url, "s", "int")
    clock.now += 1
    registry.schema(1)


def test_a_registry_that_is_not_there(clock: Clock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        registry = SchemaRegistry({"url": f"http://127.0.0.1:{taken.getsockname()[1]}"}, clock)
        assert "no answer from schema registry http://127.0.0.1" in asked_times(registry, 1)[0]


def test_one_that_takes_too_long(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        # As text it comes from a variable.
        registry = SchemaRegistry({"url": url, "timeout": "0.1"}, clock)
        assert "timed out" in asked_times(registry, 3)[-1]


def test_it_is_named_without_its_password(held: StandIn, clock: Clock) -> None:
    url = held.url.replace("//", "//me:secret@")
    registry = SchemaRegistry({"url": url}, clock)
    assert "secret" not in asked_times(registry, 1)[0]
    assert held.authorizations == ["Basic " + base64.b64encode(b"me:secret").decode()]


def test_settings_reach_the_client(held: StandIn) -> None:
    registry = SchemaRegistry({"url": held.url, "basic.auth.user.info": "me:secret"})
    asked_times(registry, 1)
    assert held.authorizations == ["Basic " + base64.b64encode(b"me:secret").decode()]


@pytest.mark.parametrize(
    "setting", [{"ssl.ca.location": "/no/such/file"}, {"proxy": "http://proxy:x"}]
)
def test_settings_that_do_not_work_are_an_error_of_the_file(
    held: StandIn, setting: dict[str, str]
) -> None:
    registry = SchemaRegistry({"url": held.url, **setting})
    with pytest.raises(ConfigError, match="does not take its settings"):
        registry.schema(1)


BEARER = {
    "bearer.auth.credentials.source": "STATIC_TOKEN",
    "bearer.auth.logical.cluster": "lsrc-1",
    "bearer.auth.token": "S3cret",
}


@pytest.mark.parametrize(
    "setting",
    [
        {**BEARER, "bearer.auth.token": "S3cret\n"},
        {**BEARER, "bearer.auth.token": "S3crét"},
        {**BEARER, "bearer.auth.identity.pool.id": "S3cret\n"},
        {"proxy": "http://u:S3cret"},
    ],
)
def test_what_cannot_be_sent_is_not_said_either(held: StandIn, setting: dict[str, str]) -> None:
    registry = SchemaRegistry({"url": held.url, **setting})
    with pytest.raises(ConfigError, match="what `registry` holds") as caught:
        registry.schema(1)
    assert "S3cr" not in "".join(traceback.format_exception(caught.value))
    assert held.asked == []


def test_tries_are_counted_with_whole_numbers(held: StandIn) -> None:
    registry = SchemaRegistry({"url": held.url, "max.retries": "1.0", "timeout": "2.5"})
    assert registry._settings["max.retries"] == 1
    assert isinstance(registry._settings["max.retries"], int)
    assert registry._settings["timeout"] == 2.5


def test_the_latest_schema_of_a_subject(registry: SchemaRegistry, held: StandIn) -> None:
    with pytest.raises(Unavailable, match="subject s is not"):
        registry.latest("s")
    register(held.url, "other", "int")
    assert registry.latest("other") == (1, Schema("AVRO", "int"))


def test_a_schema_by_the_id_it_has_everywhere(registry: SchemaRegistry, held: StandIn) -> None:
    register(held.url, "s", "int")
    assert registry.schema(UUID(held.guid(1))).text == "int"


def test_codecs_of_a_process_share_what_they_know(held: StandIn) -> None:
    place = CodecContext("source", "value", registry={"url": held.url})
    assert registry_for(place, "avro") is registry_for(place, "protobuf")


def test_no_registry_is_an_error_of_the_file() -> None:
    with pytest.raises(ConfigError, match="codec avro needs a schema registry"):
        registry_for(CodecContext("source", "value"), "avro")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_registry, "_NEEDED", ("httpx2", "no_such_module"))
    place = CodecContext("source", "value", registry={"url": "http://127.0.0.1:9"})
    with pytest.raises(ExtraMissing, match="need no_such_module") as caught:
        registry_for(place, "avro")
    assert "kafka-etl[schema]" in caught.value.next_step
