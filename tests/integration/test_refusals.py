"""Records a broker refuses, and clusters that refuse the pipeline."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from kafka_etl.broker import Cluster
from kafka_etl.kafka.cluster.acls import Grant, ask_grant
from tests.kit.daemon import COMMAND, Daemon, command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.listener import tls_listener
from tests.kit.pipeline import Project, orders


def test_a_null_key_in_a_compacted_topic_costs_one_record_in_a_thousand(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka, partitions=1)
    project.sink = kafka.topic(1, cleanup_policy="compact")
    project.spec["sink"]["with"]["topic"] = project.sink
    project.write()
    records = orders(1000)
    project.produce([*records[:700], {"value": '{"id": "no key"}'}, *records[700:]])
    done = run_to_end(tmp_path, str(project.file), seconds=120)
    assert done.process.returncode == 0, done.said()[-3000:]
    assert [o["id"] for o in project.outputs()] == list(range(1000))
    (letter,) = project.dead_letters()
    assert letter.value == b'{"id": "no key"}'
    assert letter.header("kafka_etl.condition") == "Refused"
    assert letter.header("kafka_etl.error.type") == "INVALID_RECORD"


def test_a_value_too_large_for_its_topic_is_refused_before_anything_is_sent(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(
        tmp_path,
        kafka,
        partitions=1,
        code="def grow(v: dict) -> dict:\n    return {'id': v['id'], 'x': 'x' * v['size']}\n",
        operators=["ops:grow"],
    )
    sizes = [10, 10_000_000, 900_000, 10]
    project.produce(("k", json.dumps({"id": i, "size": size})) for i, size in enumerate(sizes))
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert [o["id"] for o in project.outputs()] == [0, 2, 3]
    (letter,) = project.dead_letters()
    assert json.loads(letter.value or b"") == {"id": 1, "size": 10_000_000}
    assert letter.header("kafka_etl.condition") == "RecordTooLarge"


def test_a_dead_letter_too_large_for_its_topic_says_where_the_payload_is(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka, partitions=1)
    big = kafka.topic(1, max_message_bytes="20000000")
    project.source = big
    project.spec["source"]["with"]["topics"] = [big]
    project.write()
    kafka.topic(1, project.letters)
    value = b'{"id": 1' + b" " * 10_000_000  # not closed: undecodable
    project.produce([("k", value)], **{"message.max.bytes": 20_000_000})
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert f"topic {project.letters} takes records of 1,048,588 bytes" in done.said()
    assert "the source's topics of 20,000,000" in done.said()
    # No operator decodes it, so the value itself is too large for the sink.
    (letter,) = project.dead_letters()
    reference = json.loads(letter.value or b"")["reference"]
    assert (reference["topic"], reference["offset"]) == (big, 0)
    assert reference["bytes"] == len(value)
    context = json.loads(letter.header("kafka_etl.context"))
    assert [cut["what"] for cut in context["truncated"]] == ["value"]


def test_a_topic_of_dead_letters_is_created_to_take_what_the_source_takes(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka, partitions=1)
    project.source = kafka.topic(1, max_message_bytes="5000000")
    project.spec["source"]["with"]["topics"] = project.source
    project.write()
    value = b'{"id": 1' + b" " * 2_000_000  # not closed: undecodable
    project.produce([("k", value)], **{"message.max.bytes": 5_000_000})
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-3000:]
    assert "takes records of" not in done.said()
    (letter,) = project.dead_letters()
    assert letter.value == value


def test_a_start_that_is_not_used_is_said(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, partitions=1, source={"start": "latest"})
    project.produce(orders(10))
    first = run_to_end(tmp_path, str(project.file))
    assert f"group {project.name} begins in {project.source} at latest" in first.said()
    second = run_to_end(tmp_path, str(project.file), "--set", "source.with.start=earliest")
    assert f"group {project.name} has offsets in {project.source}" in second.said()
    assert "`start: earliest` is for topics that are new to a group" in second.said()
    assert project.outputs() == []


def test_a_dead_letter_that_is_refused_pauses_the_pipeline(tmp_path: Path, kafka: Kafka) -> None:
    letters = kafka.topic(1, cleanup_policy="compact")
    project = Project(tmp_path, kafka, partitions=1, dead_letter={"topic": letters})
    project.spec["operators"] = [{"use": "filter", "with": {"where": "value.id != 5"}}]
    project.write()
    project.produce([*orders(5), {"value": "{"}, *orders(5)])
    with Daemon(tmp_path, str(project.file)) as daemon:
        status = daemon.until(lambda p: p["state"] == "paused")
        assert status["error"]["code"] == "E402"
        assert "a compacted topic takes no record without a key" in status["error"]["what"]
        assert "PID" not in status["error"]["what"]
        assert kafka.committed(project.name, project.source) == {0: 5}
        daemon.stop()


def test_unknown_topics_are_named_before_anything_runs(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka)
    near = f"{project.source}-s"
    done = run_to_end(tmp_path, str(project.file), "--set", f"source.with.topics=[{near}]")
    assert done.process.returncode == 1
    assert f'"code":"E302","error":"source topic {near} does not exist' in done.said()
    assert f"Did you mean {project.source}? " in done.said()
    assert f"kafka-etl send {near} FILE --create --partitions N" in done.said()
    missing = kafka.name()
    done = run_to_end(tmp_path, str(project.file), "--set", f"source.with.topics=[{missing}]")
    assert done.process.returncode == 1
    assert f'"code":"E302","error":"source topic {missing} does not exist' in done.said()
    assert "source.with.topics" in done.said()
    done = run_to_end(tmp_path, str(project.file), "--set", f"sink.with.topic={missing}")
    assert done.process.returncode == 1
    assert f"topic {missing}, which the pipeline writes, does not exist" in done.said()
    assert "create" in done.said()


def test_topics_are_created_on_request(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka)
    wanted, route = kafka.name(), kafka.name()
    project.spec["sink"]["with"] |= {
        "topic": wanted,
        "routes": [route],
        "create": {"partitions": 3, "config": {"retention.ms": 3_600_000}},
    }
    project.write()
    project.produce(orders(10))
    run_to_end(tmp_path, str(project.file))
    assert len(kafka.ends(wanted)) == len(kafka.ends(route)) == 3
    assert len(kafka.ends(project.letters)) == 4  # as many as the source has
    assert len(kafka.read(wanted)) == 10


def test_a_full_disk_in_the_state_folder_is_said_and_loses_nothing(
    tmp_path: Path, kafka: Kafka
) -> None:
    project = Project(tmp_path, kafka)
    project.produce(orders(100))
    arguments = ["run", str(project.file), "--until-end", "--state-dir", str(tmp_path / "state")]
    full = subprocess.run(
        ["bash", "-c", 'ulimit -f 64; exec "$@"', "-", *COMMAND, *arguments],  # 64 KiB a file
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert full.returncode == 1
    assert '"code":"E502"' in full.stderr
    assert "cannot be written: File too large" in full.stderr
    assert '"next":"Free some space' in full.stderr
    assert kafka.read(project.sink) == []
    assert run_to_end(tmp_path, str(project.file)).process.returncode == 0
    assert len(project.outputs()) == 100


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("bootstrap.servers=127.0.0.1:1", "asking 127.0.0.1:1 for its topics"),
        ("bootstrap.servers=no-such-host.invalid:9092", "asking no-such-host.invalid:9092 for its"),
        ("security.protocol=SSL", "does not speak TLS, but `security.protocol` is SSL"),
    ],
)
def test_no_broker_is_said_at_once(tmp_path: Path, kafka: Kafka, setting: str, said: str) -> None:
    project = Project(tmp_path, kafka)
    started = time.monotonic()
    done = run_to_end(tmp_path, str(project.file), "--set", f"kafka.{setting}")
    assert done.process.returncode == 1
    shown = done.said().partition('"code":"E301"')[2]
    assert said in shown
    assert "in state" not in shown
    assert time.monotonic() - started < 25


def test_a_listener_that_speaks_tls_is_said_at_once(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka)
    with tls_listener(tmp_path) as port:
        address = f"127.0.0.1:{port}"
        setting = f"kafka.bootstrap.servers={address}"
        done = run_to_end(tmp_path, str(project.file), "--set", setting)
    assert done.process.returncode == 1
    shown = done.said().partition('"code":"E301"')[2]
    assert f"{address} speaks TLS, but `security.protocol` is PLAINTEXT" in shown
    assert "Correct `security.protocol`" in shown


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with users, where nobody but `admin` may do anything without a right."""
    folder = tmp_path_factory.mktemp("guarded")
    with Cluster.start(folder, sasl_users={"etl": "secret"}, acls=True) as cluster:
        yield cluster


def allow(kafka: Kafka, kind: ResourceType, name: str, *operations: AclOperation) -> None:
    for operation in operations:
        rule = AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            "User:etl",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for future in kafka.admin.create_acls([rule]).values():
            future.result(10)


def test_a_topic_by_pattern_that_may_not_be_written_pauses_until_it_may(
    tmp_path: Path, guarded: Cluster
) -> None:
    kafka = Kafka(guarded.bootstrap, guarded.client_settings("admin"))
    project = Project(tmp_path, kafka, dead_letters=False)
    eu = kafka.topic(1, f"{project.sink}-eu")
    project.spec["kafka"] = guarded.client_settings("etl")
    project.spec["sink"]["with"] |= {
        "routes": [f"^{project.sink}-[a-z]+$"],
        "set": {"topic": f"'{eu}' if value.id == 1 else null"},
    }
    project.write()
    project.produce(orders(3))
    allow(kafka, ResourceType.TOPIC, project.source, AclOperation.READ)
    allow(kafka, ResourceType.TOPIC, project.sink, AclOperation.WRITE)
    allow(kafka, ResourceType.GROUP, project.name, AclOperation.READ)
    with Daemon(tmp_path, str(project.file), "--instance", "one") as daemon:
        member = f"kafka-etl.{project.name}.one.0"
        allow(kafka, ResourceType.TRANSACTIONAL_ID, member, AclOperation.WRITE)
        status = daemon.until(lambda p: p["state"] == "paused", 30)
        assert status["error"]["code"] == "E407"
        assert f"the right WRITE on topic {eu}" in status["error"]["what"]
        assert kafka.read(eu) == []
        allow(kafka, ResourceType.TOPIC, eu, AclOperation.WRITE)
        daemon.post(f"/pipelines/{project.name}/resume")
        daemon.until(lambda _: len(kafka.read(eu)) == 1, 30)
        assert len(kafka.read(project.sink)) == 2
        daemon.stop()


def test_what_acls_tell_of_a_transactional_id(guarded: Cluster, kafka: Kafka) -> None:
    admin = Kafka(guarded.bootstrap, guarded.client_settings("admin"))
    user = Kafka(guarded.bootstrap, guarded.client_settings("etl")).client

    def is_told(grant: Grant) -> bool:
        deadline = time.monotonic() + 10  # a broker hears of a new ACL a moment later
        while (found := ask_grant(user, "kafka-etl.told.one.0")) is not grant:
            if time.monotonic() > deadline:
                raise AssertionError(found)
        return True

    assert is_told(Grant.HIDDEN)
    allow(admin, ResourceType.BROKER, "kafka-cluster", AclOperation.DESCRIBE)
    assert is_told(Grant.MISSING)
    allow(admin, ResourceType.TRANSACTIONAL_ID, "kafka-etl.told.one.0", AclOperation.WRITE)
    assert is_told(Grant.GRANTED)
    assert ask_grant(admin.client, "kafka-etl.told.two.0") is Grant.OPEN
    assert ask_grant(kafka.client, "kafka-etl.told.one.0") is Grant.OPEN


def test_each_missing_right_is_named_and_with_all_of_them_it_runs(
    tmp_path: Path, guarded: Cluster
) -> None:
    kafka = Kafka(guarded.bootstrap, guarded.client_settings("admin"))
    project = Project(tmp_path, kafka, code="")
    project.spec["kafka"] = guarded.client_settings("etl")
    project.spec["dead_letter"]["create"] = False
    project.write()
    project.produce(orders(10))
    kafka.topic(4, project.letters)

    def refused() -> str:
        done = run_to_end(tmp_path, str(project.file))
        assert done.process.returncode == 1, done.said()[-2000:]
        assert "E303" in done.said(), done.said()[-2000:]
        return done.said()

    topic, group, transaction = (
        ResourceType.TOPIC,
        ResourceType.GROUP,
        ResourceType.TRANSACTIONAL_ID,
    )
    assert f"the right READ on topic {project.source}" in refused()
    allow(kafka, topic, project.source, AclOperation.DESCRIBE)
    assert f"the right READ on topic {project.source}" in refused()
    allow(kafka, topic, project.source, AclOperation.READ)
    assert f"the right READ on group {project.name}" in refused()
    allow(kafka, group, project.name, AclOperation.READ)
    assert f"the right WRITE on topic {project.sink}" in refused()
    allow(kafka, topic, project.sink, AclOperation.WRITE)
    assert f"the right WRITE on topic {project.letters}" in refused()
    allow(kafka, topic, project.letters, AclOperation.WRITE)
    assert "WRITE on its transactional ids" in refused()
    member = f"kafka-etl.{project.name}.{(tmp_path / 'state' / 'instance').read_text().strip()}.0"
    allow(kafka, transaction, member, AclOperation.WRITE)
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 0, done.said()[-2000:]
    assert len(project.outputs()) == 10


def test_the_doctor_names_all_missing_rights_at_once(tmp_path: Path, guarded: Cluster) -> None:
    kafka = Kafka(guarded.bootstrap, guarded.client_settings("admin"))
    project = Project(tmp_path, kafka)
    kafka.topic(1, project.letters)
    project.spec["kafka"] = guarded.client_settings("etl")
    project.write()
    allow(kafka, ResourceType.TOPIC, project.sink, AclOperation.WRITE)
    allow(kafka, ResourceType.TOPIC, project.letters, AclOperation.DESCRIBE)
    words = ("doctor", str(project.file), "--format", "json", "--state-dir", "state")
    done = command(*words, cwd=tmp_path)
    found = [each for each in json.loads(done.stdout) if each["status"] == "fail"]
    assert {(each["check"], each["fix"]) for each in found} == {
        ("rights", f"grant READ on topic {project.source}"),
        ("rights", f"grant WRITE on topic {project.letters}"),
        ("rights", f"grant READ on group {project.name}"),
    }


def test_a_wrong_password_is_said(tmp_path: Path, guarded: Cluster) -> None:
    kafka = Kafka(guarded.bootstrap, guarded.client_settings("admin"))
    project = Project(tmp_path, kafka)
    project.spec["kafka"] = {**guarded.client_settings("etl"), "sasl.password": "wrong"}
    project.write()
    done = run_to_end(tmp_path, str(project.file))
    assert done.process.returncode == 1
    assert '"code":"E303"' in done.said()
    assert "The login failed: correct" in done.said()
    assert "wrong" not in done.said().replace("wrong password", "")


@pytest.mark.parametrize("section", ["kafka", "consumer", "producer"])
def test_settings_that_the_client_refuses_stop_the_pipeline(
    tmp_path: Path, kafka: Kafka, section: str
) -> None:
    project = Project(tmp_path, kafka)
    project.spec.setdefault(section, {})["socket.timeout.ms"] = 1  # at least 10
    project.write()
    with Daemon(tmp_path, str(project.file)) as daemon:
        assert daemon.wait(30) == 1
    assert '"code":"E306"' in daemon.said()
    assert "socket.timeout.ms" in daemon.said()


def test_while_a_topic_cannot_be_created_it_says_why(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka)
    project.spec["sink"]["with"] |= {"topic": kafka.name(), "create": {"replication_factor": 3}}
    project.write()
    with Daemon(tmp_path, str(project.file)) as daemon:
        status = daemon.until(lambda p: p["trouble"] is not None, 20)
        assert status["state"] == "preflight"
        assert "INVALID_REPLICATION_FACTOR" in status["trouble"]
        shown = command("status", "--http", daemon.http, cwd=tmp_path)
        assert f"\n{project.name}  preflight  " in shown.stdout
        assert "INVALID_REPLICATION_FACTOR" in shown.stdout
