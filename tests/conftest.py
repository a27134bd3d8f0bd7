"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kafka_etl.broker import Cluster
from tests.kit.kafka import Kafka


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Kafka, shared by all tests that do not break it."""
    with Cluster.start(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture(scope="session")
def kafka(cluster: Cluster) -> Kafka:
    return Kafka(cluster.bootstrap)
