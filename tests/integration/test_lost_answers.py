"""Transactions on a network that loses answers, delivers requests late, or is far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from kafka_etl.contracts import Aborted, Deployment
from kafka_etl.envelope import Provenance
from kafka_etl.kafka.client.settings import producer_settings
from kafka_etl.kafka.transactions.transactions import Transactions
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders
from tests.kit.proxy import (
    ADD_OFFSETS,
    END_TXN,
    INIT_PRODUCER_ID,
    TXN_OFFSET_COMMIT,
    Proxy,
    far_cluster,
)


@dataclass
class Network:
    """A cluster, seen from near and from far."""

    near: Kafka
    proxy: Proxy


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with far_cluster(tmp_path_factory.mktemp("far")) as (cluster, proxy):
        yield Network(Kafka(cluster.bootstrap), proxy)


class Rig:
    """Transactions over the proxy, with one record and one offset each."""

    def __init__(self, network: Network, **settings: Any) -> None:
        kafka = network.near
        self.kafka = kafka
        self.proxy = network.proxy
        self.topic = kafka.topic(1)
        self.group = kafka.name()
        self._consumer = Consumer(
            {**kafka.client, "group.id": self.group, "enable.auto.commit": False}
        )
        self._consumer.subscribe([self.topic])
        deadline = time.monotonic() + 20
        while not self._consumer.assignment() and time.monotonic() < deadline:
            self._consumer.poll(0.05)
        about = Provenance(self.group, "", self.group, self.group, "host", 1, "0", "3", {})
        far = {"bootstrap.servers": f"127.0.0.1:{self.proxy.port}", "log_level": 0}
        place = Deployment(self.group, self.group, far, {}, settings, about)
        self._transactions = Transactions(producer_settings(place), self.topic, lambda _what: None)
        self._transactions.open()
        self.next = 0
        self.opened = self.proxy.counts[INIT_PRODUCER_ID]

    @property
    def renewals(self) -> int:
        return self.proxy.counts[INIT_PRODUCER_ID] - self.opened

    def commit(self) -> None:
        """One transaction with the next number."""
        value = str(self.next)
        self._begin(lambda producer: producer.produce(self.topic, value))()
        self.next += 1

    def abort(self, meanwhile: Any) -> None:
        """One transaction whose record has arrived when something else happens, and that fails."""
        value = str(self.next)

        def write(producer: Producer) -> None:
            producer.produce(self.topic, value)
            assert producer.flush(20) == 0
            meanwhile()
            raise ValueError(value)

        with pytest.raises(Aborted):
            self._begin(write)

    def _begin(self, write: Any) -> Any:
        offsets = [TopicPartition(self.topic, 0, self.next + 1)]
        return self._transactions.begin(write, 1, offsets, self._consumer.consumer_group_metadata())

    def close(self) -> None:
        self._transactions.close()
        self._consumer.close()

    def check(self) -> None:
        """Every number is there, once, and the offset behind the last."""
        found = [int(r.value or b"") for r in self.kafka.read(self.topic)]
        assert found == list(range(self.next))
        assert self.kafka.committed(self.group, self.topic) == {0: self.next}


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("api", [END_TXN, TXN_OFFSET_COMMIT, ADD_OFFSETS])
def test_a_request_that_arrives_in_a_later_transaction_does_nothing(
    network: Network, api: int, cut: bool
) -> None:
    rig = Rig(network, **{"socket.timeout.ms": 1000})
    for _ in range(3):
        rig.commit()
    held = rig.proxy.hold_request(api, cut=cut)
    rig.commit()
    rig.abort(held.release)
    for _ in range(3):
        rig.commit()
    rig.close()
    rig.check()
    assert rig.renewals == 1


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("api", [END_TXN, TXN_OFFSET_COMMIT, ADD_OFFSETS])
def test_a_lost_answer_loses_and_doubles_nothing(network: Network, api: int, cut: bool) -> None:
    rig = Rig(network, **{"socket.timeout.ms": 1000})
    for _ in range(3):
        rig.commit()
    lost = rig.proxy.lose_answer(api, cut=cut)
    rig.commit()
    lost.wait(0)
    rig.abort(lambda: None)
    for _ in range(3):
        rig.commit()
    rig.close()
    rig.check()
    assert rig.renewals == 1


def test_on_a_far_network_no_producer_is_renewed(network: Network) -> None:
    rig = Rig(network)
    rig.proxy.delay = 0.04
    try:
        for _ in range(200):
            rig.commit()
    finally:
        rig.proxy.delay = 0.0
    assert rig.renewals == 0
    rig.close()
    rig.check()


@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_a_pipeline_whose_commits_go_astray_loses_and_doubles_nothing(
    tmp_path: Path, network: Network, delay: float
) -> None:
    proxy = network.proxy
    project = Project(tmp_path, network.near, source={"batch": {"max_records": 50}})
    project.spec["kafka"] = {"bootstrap.servers": f"127.0.0.1:{proxy.port}"}
    project.write()
    project.produce(orders(3000))
    proxy.delay = delay
    try:
        with Daemon(tmp_path, str(project.file), "--until-end") as daemon:
            for _ in range(4):
                held = proxy.hold_request(END_TXN, cut=True)
                held.wait()
                begun = proxy.counts[ADD_OFFSETS]
                daemon.until(lambda _, begun=begun: proxy.counts[ADD_OFFSETS] > begun)
                held.release()
                proxy.lose_answer(END_TXN, cut=True).wait()
            assert daemon.wait() == 0
    finally:
        proxy.delay = 0.0
    assert sorted(o["id"] for o in project.outputs()) == list(range(3000))
    assert project.lag() == 0
