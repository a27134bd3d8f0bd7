"""The stand-in service for each test, and the sink in front of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kafka_etl import testing
from kafka_etl_connectors.mns import SINK
from tests.kit.mns import KEY_ID, SECRET, service


@pytest.fixture
def mns():
    with service() as running:
        yield running


@pytest.fixture
def settings(mns):
    def make(**more):
        target = {} if "topic" in more else {"queue": "orders"}
        basics = {"endpoint": mns.url, "access_key_id": KEY_ID, "access_key_secret": SECRET}
        return SINK.settings.model_validate({**basics, **target, **more})

    return make


@pytest.fixture
def deployment():
    made = testing.deployment()
    known = replace(made.provenance, pipeline="shop", versions={"to_eur": "9f"})
    return replace(made, provenance=known)


@pytest.fixture
def sink(settings, deployment):
    opened = []

    def make(**more):
        writer = SINK.build(settings(**more), deployment)
        opened.append(writer)
        writer.connect()
        return writer

    yield make
    for writer in opened:
        writer.close()
