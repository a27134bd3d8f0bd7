"""A client and a listener that do not speak the same protocol."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from kafka_etl.errors import BrokersUnreachable
from kafka_etl.kafka.client.listener import mismatch, speaks_tls
from kafka_etl.kafka.cluster import admin as module
from tests.kit.listener import plain_listener, tls_listener


def nobody_there() -> int:
    """A port that is taken, and that nobody listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port


def test_a_listener_is_asked_whether_it_speaks_tls(tmp_path: Path) -> None:
    with plain_listener() as plain, tls_listener(tmp_path) as tls:
        assert speaks_tls("127.0.0.1", plain) is False
        assert speaks_tls("127.0.0.1", tls) is True
    assert speaks_tls("127.0.0.1", nobody_there()) is None


@pytest.mark.parametrize("protocol", ["SSL", "sasl_ssl", "PLAINTEXT", "SASL_PLAINTEXT", None])
def test_a_difference_is_said_in_both_directions(tmp_path: Path, protocol: str | None) -> None:
    given = {} if protocol is None else {"security.protocol": protocol}
    name = (protocol or "PLAINTEXT").upper()
    wants_tls = name.endswith("SSL")
    with plain_listener() as plain, tls_listener(tmp_path) as tls:
        to_plain = mismatch({**given, "bootstrap.servers": f"127.0.0.1:{plain}"})
        to_tls = mismatch({**given, "bootstrap.servers": f"PLAINTEXT://127.0.0.1:{tls}"})
    said_of_plain = f"does not speak TLS, but `security.protocol` is {name}"
    assert to_plain.endswith(said_of_plain) if wants_tls else to_plain == ""
    assert (
        to_tls == ""
        if wants_tls
        else to_tls.endswith(f"speaks TLS, but `security.protocol` is {name}")
    )


@pytest.mark.parametrize("servers", ["127.0.0.1:{}", "127.0.0.1:99999", "[::1]:{}", "", ":,x y"])
def test_where_nobody_answers_nothing_is_said(servers: str) -> None:
    assert mismatch({"bootstrap.servers": servers.format(nobody_there())}) == ""


def disconnected(_error_cb: Callable[[KafkaError], None]) -> None:
    """A client that was slow to notice says nothing of its own."""


def disconnected_in_the_handshake(error_cb: Callable[[KafkaError], None]) -> None:
    error_cb(KafkaError(KafkaError._TRANSPORT, "ssl://x/bootstrap: a PLAINTEXT listener?"))


def disconnected_early(error_cb: Callable[[KafkaError], None]) -> None:
    error_cb(KafkaError(KafkaError._TRANSPORT, "ssl://x/bootstrap: Disconnected"))


def failed_in_the_handshake(error_cb: Callable[[KafkaError], None]) -> None:
    error_cb(KafkaError(KafkaError._SSL, "ssl://x/bootstrap: wrong version number"))


@pytest.mark.parametrize(
    "client_says",
    [disconnected, disconnected_early, disconnected_in_the_handshake, failed_in_the_handshake],
)
def test_the_same_is_said_whatever_the_client_noticed_first(
    monkeypatch: pytest.MonkeyPatch, client_says: Callable[[Callable[[KafkaError], None]], None]
) -> None:
    class Client:
        def __init__(self, error_cb: Callable[[KafkaError], None]) -> None:
            self._error_cb = error_cb

        def describe_cluster(self, request_timeout: float) -> None:
            client_says(self._error_cb)
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

        def poll(self, _timeout: float) -> None:
            pass

    def make(_kind: object, settings: dict[str, Callable[[KafkaError], None]]) -> Client:
        return Client(settings["error_cb"])

    monkeypatch.setattr(module, "make_client", make)
    monkeypatch.setattr(module, "_REQUEST", 0.0)
    monkeypatch.setattr(module, "_REACHED_WITHIN", 0.0)
    with plain_listener() as port:
        address = f"127.0.0.1:{port}"
        asking = module.Admin({"bootstrap.servers": address, "security.protocol": "SSL"})
        with pytest.raises(BrokersUnreachable) as raised:
            asking.reach()
    assert raised.value.what == (
        f"asking {address} for its topics failed: no broker answered (_TRANSPORT); the listener at "
        f"{address} does not speak TLS, but `security.protocol` is SSL"
    )
    assert "Correct `security.protocol`" in raised.value.next_step
