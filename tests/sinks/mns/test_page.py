"""docs/sinks/mns.md: the settings are all there, and its pipeline runs."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon
from tests.kit.function_consumer import read
from tests.kit.mns import KEY_ID, SECRET, Fault
from tests.kit.pages import blocks
from tests.kit.pipeline import orders

PAGE = "docs/sinks/mns.md"
(PIPELINE,) = blocks(PAGE, "yaml")


@pytest.fixture
def running(tmp_path, kafka, mns):
    """The page's pipeline, on topics of its own."""
    topic, letters = kafka.topic(2), kafka.topic(1)
    text = PIPELINE.replace("orders-to-queue", kafka.name()).replace("[orders]", f"[{topic}]")
    file = tmp_path / "pipeline.yaml"
    file.write_text(text.replace("orders.dead", letters))
    env = {"KAFKA": kafka.bootstrap, "MNS_ENDPOINT": mns.url}
    env |= {"MNS_KEY_ID": KEY_ID, "MNS_SECRET": SECRET}

    def run(*arguments):
        return Daemon(tmp_path, str(file), *arguments, env=env)

    run.topic, run.letters, run.file = topic, letters, file
    return run


def ids(mns):
    return sorted(json.loads(read(body).response)["id"] for body in mns.decoded())


def test_every_record_arrives_and_bad_ones_are_dead_letters(running, kafka, mns):
    mns.faults = [Fault(messages={0: "InvalidArgument"}), Fault(503, "QpsLimitExceeded")]
    kafka.produce(running.topic, orders(60))
    with running("--until-end") as daemon:
        assert daemon.wait(60) == 0, daemon.said()
    (letter,) = kafka.read(running.letters)
    assert sorted([*ids(mns), json.loads(letter.value)["id"]]) == list(range(60))
    headers = dict(letter.headers)
    assert headers["kafka_etl.condition"] in {b"Refused", "Refused"}
    assert SECRET not in daemon.said()
    assert len({read(body).request_id for body in mns.decoded()}) == 59


def test_a_service_that_fails_is_waited_for(running, kafka, mns):
    mns.faults = [Fault(500, "InternalError")] * 3
    kafka.produce(running.topic, orders(20))
    with running("--until-end") as daemon:
        assert daemon.wait(60) == 0, daemon.said()
    assert ids(mns) == list(range(20))
    assert kafka.read(running.letters) == []


def test_dead_letters_go_to_a_queue_where_a_consumer_of_function_messages_reads_them(
    running, kafka, mns
):
    mns.queues["dead"] = []
    mns.faults = [Fault(messages={0: "InvalidArgument"})]
    text = running.file.read_text()
    queue = "{endpoint: '${MNS_ENDPOINT}', access_key_id: '${MNS_KEY_ID}', "
    queue += "access_key_secret: '${MNS_SECRET}', queue: dead}"
    place = f"dead_letter: {{use: mns, with: {queue}, format: envelope}}\n"
    running.file.write_text(re.sub(r"dead_letter: .*\n", lambda _: place, text))
    kafka.produce(running.topic, orders(30))
    with running("--until-end") as daemon:
        assert daemon.wait(60) == 0, daemon.said()
    (body,) = mns.decoded("dead")
    message = read(body)
    assert (message.condition, message.failed) == ("Refused", True)
    assert "InvalidArgument" in message.response
    (element,) = message.elements
    assert sorted([*ids(mns), json.loads(element.value)["id"]]) == list(range(30))
    assert message.request_id == f"{element.topic}/{element.partition}/{element.offset}"


def test_what_no_message_holds_is_kept_whole_and_the_message_says_where(
    tmp_path, running, kafka, mns
):
    mns.queues["dead"] = []
    (section,) = blocks("docs/envelope.md", "yaml")
    section = section.replace("s3://letters/orders", f"file://{tmp_path}/letters")
    text = running.file.read_text()
    running.file.write_text(re.sub(r"dead_letter: .*\n", lambda _: section, text))
    large = json.dumps({"id": 7, "text": "x" * 100_000})
    kafka.produce(running.topic, [*orders(5), ("k", large)])
    with running("--until-end") as daemon:
        assert daemon.wait(60) == 0, daemon.said()
    assert ids(mns) == list(range(5))
    (body,) = mns.decoded("dead")
    assert len(body) <= 48 * 1024
    document = json.loads(body)
    (element,) = json.loads(document["requestPayload"])
    assert element["value"] is None
    assert element["overflowFlag"]
    claimed = document["payloadRef"]
    whole = Path(claimed["uri"].removeprefix("file://")).read_bytes()
    assert hashlib.sha256(whole).hexdigest() == claimed["sha256"]
    (element,) = json.loads(json.loads(whole)["requestPayload"])
    assert element["value"] == large
