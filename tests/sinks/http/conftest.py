"""A server for each test, and the sink's doors in front of it."""

from __future__ import annotations

import pytest

from kafka_etl import testing
from kafka_etl.engine.sinks.lanes import Lanes
from kafka_etl_connectors.http import SINK
from kafka_etl_connectors.http.doors import HttpSender
from tests.kit.http_target import target


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server():
    with target() as running:
        yield running


@pytest.fixture
def deployment(tmp_path):
    return testing.deployment(folder=tmp_path)


@pytest.fixture
def sink(server, deployment):
    """The sink for these settings, connected as the engine connects one."""
    opened = []

    def make(**settings):
        model = SINK.settings.model_validate({"url": server.url, **settings})
        door = SINK.build(model, deployment)
        writer = Lanes(door) if isinstance(door, HttpSender) else door
        opened.append(writer)
        writer.connect()
        return writer

    yield make
    for writer in opened:
        writer.close()
