"""Messages to systemd."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_etl.runtime.daemon.notify import notify


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.settimeout(5)
        yield bound


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_hears_what_is_said(
    receiver: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = secrets.token_hex(8)
    path = str(tmp_path / name)
    receiver.bind(path if kind == "path" else f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", path if kind == "path" else f"@{name}")
    notify("READY=1")
    notify("STATUS=läuft")
    assert receiver.recv(100) == b"READY=1"
    assert receiver.recv(100) == "STATUS=läuft".encode()


@pytest.mark.parametrize("address", [None, "", "/nobody/listens", "@nobody", "x" * 500])
def test_without_a_listener_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")
