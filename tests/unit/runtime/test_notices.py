"""Notices to hooks: what they hold, and that nothing waits for a hook."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

import msgspec
import orjson
import pytest

from kafka_etl.config.model import HookSpec
from kafka_etl.engine.poison.breaker import Breaker, BreakerLimits
from kafka_etl.envelope import fingerprint
from kafka_etl.runtime.worker.http_post import post
from kafka_etl.runtime.worker.known_kinds import began_ms
from kafka_etl.runtime.worker.notices import Hook, Notices, Refused, make_hook
from kafka_etl.testing import StoredRecord
from tests.kit.daemon import free_port
from tests.kit.http_target import HANGS, Reply, target
from tests.unit.dead_letters.test_envelope import ABOUT, letter


def until(what: Callable[[], object], seconds: float = 10) -> None:
    deadline = monotonic() + seconds
    while not what():
        assert monotonic() < deadline
        sleep(0.01)


def notices(*hooks: Hook) -> Notices:
    return Notices(hooks, ABOUT, "orders.dlq", lambda: 1_700_000_000_123)


def sent_by(tell: Callable[[Notices], None]) -> dict[str, Any]:
    sent: list[bytes] = []
    told = notices(Hook("h", sent.append))
    tell(told)
    told.close()
    (document,) = sent
    return orjson.loads(document)


def test_a_new_kind_is_told_with_its_example() -> None:
    dead = letter()
    assert sent_by(lambda told: told.new_kind(dead)) == {
        "version": "1.0",
        "event": "new_kind",
        "time": "2023-11-14T22:13:20.123Z",
        "pipeline": ABOUT.pipeline,
        "config_hash": ABOUT.config_hash,
        "group": ABOUT.group,
        "worker": ABOUT.worker,
        "host": ABOUT.host,
        "dead_letter_topic": "orders.dlq",
        "kinds": [
            {
                "fingerprint": fingerprint(dead),
                "condition": "OperatorError",
                "operator": "to_eur",
                "operator_version": ABOUT.versions["to_eur"],
                "error": "shop.NoRate: no rate for XAU",
                "count": 1,
                "example": "orders/3/42",
            }
        ],
    }


def test_an_open_breaker_is_told_with_its_limit_and_its_commonest_kinds() -> None:
    breaker = Breaker(BreakerLimits(max_consecutive=2))
    dead = letter()
    failed = [msgspec.structs.replace(dead.failure, index=i) for i in (0, 1)]
    assert breaker.trips([StoredRecord(b"", offset=o) for o in (7, 8)], failed)
    trip = breaker.trip
    assert trip is not None
    document = sent_by(lambda told: told.breaker_opened(trip))
    assert document["event"] == "breaker_opened"
    assert document["limit"] == "max_consecutive"
    assert document["reason"] == breaker.reason()
    assert [(kind["count"], kind["example"]) for kind in document["kinds"]] == [(2, "in/0/7")]


def test_a_hook_gets_only_what_it_wants() -> None:
    sent: list[bytes] = []
    told = notices(Hook("h", sent.append, ["breaker_opened"]))
    told.new_kind(letter())
    told.close()
    assert sent == []


def test_a_hook_that_fails_is_tried_three_times_and_given_up() -> None:
    tries: list[bytes] = []

    def refuse(document: bytes) -> None:
        tries.append(document)
        raise Refused("HTTP status 500")

    told = notices(Hook("h", refuse, waits=(0.01, 0.01)))
    told.new_kind(letter())
    until(told.counts)
    assert told.counts() == {("notices_given_up", "new_kind"): 1}
    assert len(tries) == 3


def test_a_hook_that_fails_once_gets_the_notice_all_the_same() -> None:
    answers = iter([Refused("no"), None])

    def send(_document: bytes) -> None:
        if error := next(answers):
            raise error

    told = notices(Hook("h", send, waits=(0.01,)))
    told.new_kind(letter())
    until(told.counts)
    assert told.counts() == {("notices_sent", "new_kind"): 1}


def test_a_hook_that_hangs_delays_neither_the_worker_nor_other_hooks() -> None:
    never, sent = Event(), list[bytes]()
    hanging = Hook("h", lambda _document: never.wait(60) or None)
    told = notices(hanging, Hook("other", sent.append))
    began = monotonic()
    for _ in range(150):
        told.new_kind(letter())
    assert monotonic() - began < 1
    until(lambda: told.counts().get(("notices_given_up", "new_kind"), 0) >= 49)
    until(lambda: sent)
    began = monotonic()
    told.close()
    assert monotonic() - began < 4
    never.set()


def test_post_sends_json() -> None:
    with target() as server:
        post(f"{server.url}/hook?token=secret", b"{}")
        (request,) = server.requests
    assert (request.method, request.path, request.body) == ("POST", "/hook?token=secret", b"{}")
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(500), "HTTP status 500"),
        (Reply(302, headers={"Location": "/elsewhere"}), "HTTP status 302"),
        (HANGS, "timed out|no answer"),
    ],
)
def test_what_is_no_2xx_is_refused(reply: Reply, said: str) -> None:
    with target() as server:
        server.behaviour = lambda _request: reply
        with pytest.raises(Refused, match=said):
            post(f"{server.url}/secret", b"{}", timeout=0.2)
        assert len(server.requests) == 1


def test_what_is_refused_is_told_without_the_url(capfd: pytest.CaptureFixture[str]) -> None:
    spec = HookSpec(url=f"http://127.0.0.1:{free_port()}/secret")
    hook = make_hook(spec, "p", {})
    hook.put("new_kind", b"{}")
    hook.close(monotonic() + 5)
    assert hook.counts == {("notices_given_up", "new_kind"): 1}
    said = "".join(capfd.readouterr())
    assert "a hook did not take a notice" in said
    assert "refused" in said
    assert "secret" not in said


# When a version began


def test_a_version_began_when_its_host_first_ran_it(tmp_path: Path) -> None:
    path = tmp_path / "p.version"
    assert began_ms(path, ABOUT, 1000) == 1000
    assert began_ms(path, ABOUT, 2000) == 1000
    changed = dataclasses.replace(ABOUT, config_hash="another")
    assert began_ms(path, changed, 3000) == 3000
    assert began_ms(path, changed, 4000) == 3000
    operator = dataclasses.replace(ABOUT, config_hash="another", versions={"to_eur": "2"})
    assert began_ms(path, operator, 5000) == 5000
    assert [found.name for found in tmp_path.iterdir()] == ["p.version"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 1}', json.dumps(None).encode()])
def test_half_a_file_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "p.version"
    path.write_bytes(content)
    assert began_ms(path, ABOUT, 1000) == 1000
    assert began_ms(path, ABOUT, 2000) == 1000


def test_without_a_folder_the_version_begins_now(tmp_path: Path) -> None:
    assert began_ms(tmp_path / "gone" / "p.version", ABOUT, 1000) == 1000
