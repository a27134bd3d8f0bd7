"""docs/sinks/http.md: the settings are all there, and its pipeline runs."""

from __future__ import annotations

import json
import time

import pytest
from ruamel.yaml import YAML

from kafka_etl_connectors.http import SINK
from tests.kit.daemon import Daemon
from tests.kit.http_target import OK, Reply
from tests.kit.pages import blocks
from tests.kit.pipeline import orders

PAGE = "docs/sinks/http.md"
PIPELINE, DELETING = blocks(PAGE, "yaml")


def test_the_settings_of_the_page_are_valid():
    for text in (PIPELINE, DELETING):
        given = YAML(typ="safe").load(text)["sink"]["with"]
        if given["url"].startswith("$"):
            given["url"] = "https://shop.example"
        SINK.settings.model_validate(given)


@pytest.fixture
def running(tmp_path, kafka, server):
    """The page's pipeline, on topics of its own."""
    name, topic = kafka.name(), kafka.topic(4)
    letters = kafka.topic(1)
    text = PIPELINE.replace("orders-to-shop", name).replace("[orders]", f"[{topic}]")
    file = tmp_path / "pipeline.yaml"
    file.write_text(text.replace("orders.dead", letters))
    env = {"KAFKA": kafka.bootstrap, "SHOP_URL": f"{server.url}/in", "SHOP_TOKEN": "token-12345"}

    def run(*arguments):
        return Daemon(tmp_path, str(file), *arguments, env=env)

    run.topic, run.letters = topic, letters
    return run


def ids(server):
    return [json.loads(body)["id"] for body in server.bodies]


def test_every_record_arrives_once_and_bad_ones_are_dead_letters(running, kafka, server):
    def behaviour(request):
        order = json.loads(request.body)["id"]
        if order == 7:
            return Reply(422, body=b"no such customer")
        return Reply(500) if order % 125 == 0 and request.seen == 0 else OK

    server.behaviour = behaviour
    kafka.produce(running.topic, orders(500))
    with running("--until-end") as daemon:
        assert daemon.wait(120) == 0, daemon.said()
    assert sorted(ids(server)) == sorted(set(range(500)) - {7})
    letters = {json.loads(letter.value)["id"] for letter in kafka.read(running.letters)}
    assert letters == {7}
    assert {r.headers["authorization"] for r in server.requests} == {"Bearer token-12345"}
    assert len({r.headers["idempotency-key"] for r in server.requests}) == 500
    assert "token-12345" not in daemon.said()
    for key in range(50):
        of_key = [order for order in ids(server) if order % 50 == key]
        assert of_key == sorted(of_key)


def test_a_server_that_is_away_is_waited_for(running, kafka, server):
    server.stop()
    kafka.produce(running.topic, orders(100))
    with running() as daemon:
        daemon.until(lambda status: "no connection" in json.dumps(status))
        time.sleep(1)
        server.start()
        deadline = time.monotonic() + 60
        while len(set(ids(server))) < 100 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert sorted(ids(server)) == list(range(100))
        daemon.stop()
    assert kafka.read(running.letters) == []
