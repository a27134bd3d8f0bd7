"""Fixtures of all tests."""

from __future__ import annotations

import fcntl
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from kafka_etl.broker import Cluster
from tests.kit.apicurio import Apicurio, running
from tests.kit.kafka import Kafka
from tests.kit.postgres import Postgres
from tests.kit.postgres import running as running_postgres

# Tests under `nohup`: an ignored hangup would be inherited by the daemons of the tests.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says more of the machine than of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nodes", type=int, default=1, help="brokers of the Kafka that tests share: 1, or 3"
    )


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Cluster]:
    """A real Kafka, shared by all tests that do not break it."""
    nodes: int = pytestconfig.getoption("--nodes")
    with Cluster.start(tmp_path_factory.mktemp("kafka"), nodes) as running:
        yield running


@pytest.fixture(scope="session")
def kafka(cluster: Cluster) -> Kafka:
    return Kafka(cluster.bootstrap)


@pytest.fixture(scope="session")
def apicurio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    """A real schema registry, shared by all tests."""
    with running(tmp_path_factory.mktemp("apicurio")) as registry:
        yield registry


@pytest.fixture
def usual_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """For tests of a broker on port 9092, which there is once, while others run beside them."""
    with (tmp_path_factory.getbasetemp().parent / "usual-port").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, shared by all tests; one that breaks the server starts it again."""
    with running_postgres() as server:
        yield server
