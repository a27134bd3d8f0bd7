"""Orders by the socket in the state folder."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import typer

from kafka_etl.cli.daemon import control
from kafka_etl.cli.daemon.address import candidate
from kafka_etl.errors import DaemonUnreachable
from kafka_etl.runtime.daemon.control_socket import listen_in, path_in
from kafka_etl.runtime.daemon.daemon import Verb
from kafka_etl.runtime.daemon.http import HttpServer
from tests.unit.runtime.orders import FakeOrders


@pytest.mark.parametrize("name", ["short", "/".join(["long" * 20] * 3)])
def test_a_daemon_takes_orders_in_its_folder(tmp_path: Path, name: str) -> None:
    """Whatever its HTTP address is: in a container that is one for everybody."""
    folder = tmp_path / name
    folder.mkdir(parents=True)
    orders = FakeOrders()
    with listen_in(folder) as listener:
        assert listener is not None
        assert path_in(folder).stat().st_mode & 0o777 == 0o600
        with HttpServer(listener, orders):
            control.resume("orders", state_dir=folder)
            control.status(state_dir=folder)
    assert orders.ordered == [("orders", Verb.RESUME)]
    assert not path_in(folder).exists()


def test_a_socket_that_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path_in(tmp_path)))
    with listen_in(tmp_path) as listener:
        assert listener is not None


def test_a_second_daemon_leaves_the_first_its_socket(tmp_path: Path) -> None:
    with listen_in(tmp_path) as first:
        with listen_in(tmp_path) as second:
            assert first is not None
            assert second is None
        assert path_in(tmp_path).exists()


def test_the_address_asked_for_comes_first_then_the_folder_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = tmp_path / "kafka-etl"
    folder.mkdir()
    assert candidate(None, None)[0] == "127.0.0.1:8321"
    with listen_in(folder):
        assert candidate(None, None)[0] == str(path_in(folder))
        assert candidate("127.0.0.1:9", folder)[0] == "127.0.0.1:9"
    other = tmp_path / "other"
    assert candidate(None, other)[0] == str(path_in(other)), (
        "never another daemon than the one meant"
    )
    with pytest.raises(DaemonUnreachable, match=r"other/control\.sock"):
        control.status(state_dir=other)
    with pytest.raises(typer.BadParameter):
        candidate("nowhere", None)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.0 200 OK\r\n\r\n<html>", b"HTTP/1.0 200 OK\r\n\r\n{}", b"220 mail\r\n"]
)
def test_a_stranger_on_the_port_is_said_to_be_one(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        stranger = threading.Thread(target=serve)
        stranger.start()
        with pytest.raises(DaemonUnreachable) as raised:
            control.status(http=f"{host}:{port}")
        stranger.join()
    assert raised.value.what == f"something else than a daemon answers at {host}:{port}"
