"""The daemon over HTTP, without a socket."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from kafka_etl.errors import (
    AddressInUse,
    ConfigError,
    Fenced,
    KafkaEtlError,
    OrderRefused,
    TasksFull,
)
from kafka_etl.runtime.daemon.http import HttpServer, Reach, _of_a_clerk, make_app
from kafka_etl.runtime.daemon.listener import listen
from kafka_etl.runtime.daemon.order import Order, Verb
from kafka_etl.runtime.daemon.state import State
from kafka_etl.runtime.tasks import clerk
from kafka_etl.runtime.tasks.requests import Answered, Asked, TaskDoor
from tests.unit.runtime.orders import FakeOrders, status

HERE = "http://127.0.0.1:8321"


def client(orders: FakeOrders, reach: Reach = Reach.MACHINE) -> TestClient:
    return TestClient(make_app(orders, reach=reach), base_url=HERE)


# Alive and ready


@pytest.mark.parametrize(("seconds", "answer"), [(0, 200), (29, 200), (31, 503)])
def test_it_lives_while_its_main_loop_goes_round(seconds: float, answer: int) -> None:
    orders = FakeOrders()
    orders.last_tick = time.monotonic() - seconds
    response = client(orders).get("/live")
    assert response.status_code == answer
    assert response.json()["main_loop_s_ago"] == pytest.approx(seconds, abs=1)


def test_a_pipeline_that_failed_is_no_reason_to_restart_the_daemon() -> None:
    orders = FakeOrders(status("a", state=State.FAILED, joined=False, problem=Fenced("x").problem))
    assert client(orders).get("/live").status_code == 200


def test_it_is_ready_when_every_pipeline_has_joined_its_group() -> None:
    assert client(FakeOrders(status("a"), status("b"))).get("/ready").status_code == 200
    response = client(FakeOrders(status("a"), status("b", joined=False))).get("/ready")
    assert response.status_code == 503
    assert response.json() == {"waiting_for": ["b"]}


# What it says


def test_metrics_are_text_for_prometheus() -> None:
    response = client(FakeOrders()).get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'kafka_etl_records_in_total{pipeline="orders"} 1000.0' in response.text


def test_pipelines_are_described_in_full() -> None:
    problem = OrderRefused("what happened", "what to do").problem
    failed = status("b", state=State.FAILED, label=None, problem=problem, trouble="broker away")
    answer = client(FakeOrders(status("a"), failed)).get("/pipelines").json()
    assert answer["instance"] == "blue"
    first, second = answer["pipelines"]
    assert first == {
        "name": "a",
        "state": "running",
        "to_be_paused": False,
        "guarantee": "exactly_once",
        "label": "exactly_once (one transaction)",
        "workers": 2,
        "partitions": 2,
        "lag": {"records": 10, "seconds": 5.0},
        "rates": {"records_in": 512.3, "records_out": 500.0},
        "counts": {
            "records_in": 1000,
            "records_out": 990,
            "records_dropped": 7,
            "dead_letters": 3,
            "commits": 10,
            "aborts": 0,
            "rebalances": 0,
            "worker_deaths": 1,
        },
        "dead_letters": {"DecodeError": 1, "OperatorError": 2},
        "causes": [
            {
                "fingerprint": "c0ffee",
                "count": 2,
                "condition": "OperatorError",
                "operator": "to_eur",
                "error": "ValueError: no rate",
                "example": "orders/1/49",
            }
        ],
        "file": "/etc/orders.yaml",
        "letters": "topic orders.dlq",
        "seconds": {"operator": 1.25, "commit": 0.5},
        "tasks": {},
        "oldest_enqueued_seconds": None,
        "trouble": None,
        "error": None,
    }
    assert (second["state"], second["guarantee"]) == ("failed", None)
    assert second["trouble"] == "broker away"
    assert second["error"] == {
        "code": "E506",
        "what": "what happened",
        "next_step": "what to do",
    }


# Orders


@pytest.mark.parametrize("verb", Verb)
def test_an_order_is_passed_on(verb: Verb) -> None:
    orders = FakeOrders(status("a"), status("b"))
    response = client(orders).post(f"/pipelines/b/{verb}")
    assert response.status_code == 200
    answer = response.json()
    assert answer.pop("id")
    assert answer == {
        "pipeline": "b",
        "order": verb,
        "settled": True,
        "progress": "running",
        "notes": [],
    }
    assert orders.ordered == [("b", verb)]


def test_what_takes_long_is_asked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_etl.runtime.daemon.http._PATIENCE", 0.01)
    given: list[Order] = []
    orders = FakeOrders()
    orders.carry_out = given.append
    here = client(orders)
    response = here.post("/pipelines/orders/restart")
    assert response.status_code == 202
    assert response.json()["settled"] is False
    (order,) = given
    order.progress = "checking the new version"
    again = here.get(f"/orders/{order.id}")
    assert (again.status_code, again.json()["progress"]) == (202, "checking the new version")
    order.fail(ConfigError("2 problems", "correct them").problem)
    order.succeed("too late")
    assert here.get(f"/orders/{order.id}").status_code == 202  # the view does not show it yet
    order.tell()
    failed = here.get(f"/orders/{order.id}")
    assert failed.status_code == 409
    assert failed.json()["error"]["what"] == "2 problems"
    assert here.get("/orders/0").status_code == 404


def test_the_outcome_is_told_as_soon_as_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_etl.runtime.daemon.http._PATIENCE", 60)
    orders = FakeOrders()
    timers: list[threading.Timer] = []

    def soon(order: Order) -> None:
        timers.append(threading.Timer(0.05, order.tell))
        order.succeed("paused")
        timers[0].start()

    orders.carry_out = soon
    assert client(orders).post("/pipelines/orders/pause").json()["progress"] == "paused"


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/pipelines/nope/pause", "this daemon runs no pipeline `nope`"),
        ("/pipelines/orders/stop", "there is no order `stop`; there are pause, resume, restart"),
        ("/pipelines/a%20b/pause", "this daemon runs no pipeline `a b`"),
    ],
)
def test_an_unknown_name_is_not_found(path: str, what: str) -> None:
    orders = FakeOrders()
    response = client(orders).post(path)
    assert response.status_code == 404
    assert response.json()["error"]["what"] == what
    assert response.json()["error"]["code"] == ("E506" if "/stop" in path else "E505")
    assert not orders.ordered


@pytest.mark.parametrize("path", ["/nope", "/pipelines/orders", "/pipelines/a%2Fb/pause/x"])
def test_an_unknown_path_is_not_found(path: str) -> None:
    assert client(FakeOrders()).get(path).status_code == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_orders_are_posted(method: str) -> None:
    orders = FakeOrders()
    assert client(orders).request(method, "/pipelines/orders/pause").status_code == 405
    assert not orders.ordered


@pytest.mark.parametrize(
    "refusal",
    [ConfigError("2 problems in the configuration", "correct them"), OrderRefused("not now")],
)
def test_an_order_that_cannot_be_carried_out_is_a_conflict(refusal: KafkaEtlError) -> None:
    response = client(FakeOrders(refusal=refusal)).post("/pipelines/orders/restart")
    assert response.status_code == 409
    assert response.json()["error"] == {
        "code": refusal.code,
        "what": refusal.what,
        "next_step": refusal.next_step,
    }


def test_orders_are_refused_off_loopback_and_reading_is_not() -> None:
    orders = FakeOrders()
    outside = client(orders, Reach.NETWORK)
    response = outside.post("/pipelines/orders/pause")
    assert response.status_code == 403
    assert response.json()["error"]["what"] == "orders are taken on a loopback address only"
    assert not orders.ordered
    assert outside.get("/pipelines").status_code == 200


FROM_HERE: list[dict[str, str]] = [
    {},  # a tool such as curl
    {"host": "localhost:8321"},
    {"host": "LOCALHOST"},
    {"host": "127.0.0.1:8321"},
    {"host": "127.0.0.2:8321"},
    {"host": "[::1]:8321"},
    {"host": "[::1]"},
    {"host": "localhost:8321", "origin": "http://localhost:8321"},
    {"host": "localhost:8321", "origin": "http://localhost:8321", "sec-fetch-site": "same-origin"},
    {"host": "localhost:8321", "sec-fetch-site": "none"},  # typed into the address bar
]
FROM_ELSEWHERE: list[dict[str, str]] = [
    # a page of another site, or of another program on this machine
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://localhost:3000"},
    {"origin": "http://127.0.0.1:8321.evil.example"},
    {"origin": "http://localhost:8321"},  # the same program, but under another name
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8321"},
    # a name that its owner lets lead here
    {"host": "evil.example"},
    {"host": "evil.example:8321", "origin": "http://evil.example:8321"},
    {
        "host": "evil.example:8321",
        "origin": "http://evil.example:8321",
        "sec-fetch-site": "same-origin",
    },
    {"host": "localhost.evil.example:8321"},
    {"host": "127.0.0.1.evil.example"},
    {"host": "testserver"},
    {"host": "10.0.0.1:8321"},
    {"host": "[::ffff:10.0.0.1]:8321"},
    {"host": "localhost:8321@evil.example"},
    {"host": "::1"},
    {"host": ""},
]


@pytest.mark.parametrize("headers", FROM_HERE, ids=str)
def test_an_order_from_here_is_taken(headers: dict[str, str]) -> None:
    orders = FakeOrders()
    assert client(orders).post("/pipelines/orders/pause", headers=headers).status_code == 200
    assert orders.ordered


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
def test_an_order_from_elsewhere_is_refused(headers: dict[str, str]) -> None:
    orders = FakeOrders()
    response = client(orders).post("/pipelines/orders/pause", headers=headers)
    assert response.status_code == 403
    assert "another site" in response.json()["error"]["what"]
    assert not orders.ordered


# The server itself


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_it_serves_on_a_free_port_of_a_loopback_address(host: str) -> None:
    orders = FakeOrders()
    before = threading.active_count()
    listener = listen(host, 0)
    with HttpServer(listener, orders):
        port = listener.getsockname()[1]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        assert httpx2.get(f"{url}/pipelines").json()["instance"] == "blue"
        assert httpx2.post(f"{url}/pipelines/orders/pause").status_code == 200
    assert orders.ordered == [("orders", Verb.PAUSE)]
    assert threading.active_count() <= before + 1  # a pool thread may idle a little


def test_on_all_addresses_it_takes_no_orders() -> None:
    orders = FakeOrders()
    listener = listen("0.0.0.0", 0)  # noqa: S104 - that is the point
    port = listener.getsockname()[1]
    with HttpServer(listener, orders):
        answer = httpx2.post(f"http://127.0.0.1:{port}/pipelines/orders/pause")
    assert answer.status_code == 403
    assert not orders.ordered


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse) as caught:
            listen("127.0.0.1", port)
    assert caught.value.what == f"127.0.0.1:{port} cannot be served: Address already in use"
    assert "--http" in caught.value.next_step


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_machine_is_named(host: str) -> None:
    with pytest.raises(AddressInUse, match=f"{host}:8321 cannot be served"):
        listen(host, 8321)


# Who may read and order


@pytest.mark.parametrize("path", ["/", "/pipelines"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8321", "10.0.0.1:8321"])
def test_a_name_that_leads_here_reads_nothing(path: str, host: str) -> None:
    """A page may have its own name lead to this machine, and read the answer."""
    orders = FakeOrders()
    headers = {"host": host}
    assert client(orders).get(path, headers=headers).status_code == 403
    assert client(orders, Reach.NETWORK).get(path, headers=headers).status_code == 200
    assert client(orders, Reach.OWNER).get(path, headers=headers).status_code == 200


def test_off_loopback_no_text_of_an_error_is_shown() -> None:
    """It may quote a record, and there is no login."""
    problem = OrderRefused("card 4111 1111 1111 1111 is no order", "see card 4111").problem
    failed = status("a", state=State.FAILED, problem=problem, trouble="ValueError: card 4111")
    orders = FakeOrders(failed, status("b"))
    assert client(orders).get("/pipelines").text.count("4111") > 2
    text = client(orders, Reach.NETWORK).get("/pipelines").text
    assert "4111" not in text
    shown = client(orders, Reach.NETWORK).get("/pipelines").json()["pipelines"]
    assert shown[0]["error"]["code"] == "E506"
    assert "kafka-etl status" in shown[0]["error"]["what"]
    assert "kafka-etl status" in shown[0]["trouble"]
    assert (shown[1]["error"], shown[1]["trouble"]) == (None, None)


def test_a_page_names_the_pipelines_and_what_else_there_is() -> None:
    page = client(FakeOrders(status("a"), status("<b>", state=State.FAILED))).get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<td>a<td>running" in page.text
    assert "<td>&lt;b&gt;<td>failed" in page.text
    for path in ("/pipelines", "/metrics", "/ready", "/live"):
        assert f'href="{path}"' in page.text


def test_a_client_is_told_when_there_may_be_room_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> None:
        raise TasksFull("3 tasks of films are open")

    monkeypatch.setattr(clerk, "reached", lambda _client: None)
    monkeypatch.setattr(clerk, "submitted", full)
    door = TaskDoor("films", {}, {}, {}, "logs", "none", tmp_path)
    told = _of_a_clerk(clerk.answer(Asked(door, "submit", body=b"1")))
    assert (told.status_code, told.headers["retry-after"]) == (429, "10")
    assert b"E348" in told.body
    assert "retry-after" not in _of_a_clerk(Answered(200, b"{}")).headers
