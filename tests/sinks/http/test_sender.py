"""`mode: record`, against a server that is made to misbehave."""

from __future__ import annotations

import threading
import time

import pytest

from kafka_etl.contracts import TAKEN, Again, Refused, Unreachable
from tests.kit.http_target import HANGS, OK, Reply
from tests.kit.rows import rows_of


def test_a_record_is_a_request(sink, server):
    writer = sink(
        url=f"{server.url}/in?".rstrip("?"),
        method="PUT",
        query={"v": "1 2"},
        headers={"X-Api-Key": "k"},
        key_header="X-Key",
    )
    assert writer.write(rows_of([b"a"], [b'{"n":1}'])) is TAKEN
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("PUT", "/in?v=1+2", b'{"n":1}')
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-api-key"] == "k"
    assert request.headers["x-key"] == "a"
    assert "idempotency-key" not in request.headers
    assert "accept-encoding" not in request.headers
    assert "cookie" not in request.headers


def test_rows_of_a_key_arrive_in_order_at_concurrency_64(sink, server):
    def behaviour(request):
        return Reply(delay=0.2 if request.number < 64 else 0.001 * (request.number % 3))

    server.behaviour = behaviour
    keys = [b"k%d" % (i % 97) for i in range(1000)]
    values = [b"%d" % i for i in range(1000)]
    assert sink(concurrency=64).write(rows_of(keys, values)) is TAKEN
    assert sorted(map(int, server.bodies)) == list(range(1000))
    for key in range(97):
        of_key = [int(body) for body in server.bodies if int(body) % 97 == key]
        assert of_key == sorted(of_key)
    assert 32 < server.most <= 64
    assert server.connections <= 64


def test_without_order_rows_of_a_key_are_sent_at_once(sink, server):
    server.behaviour = lambda _request: Reply(delay=0.05)
    assert sink(concurrency=8, order="none").write(rows_of([b"k"] * 8)) is TAKEN
    assert server.most == 8


def test_a_bad_row_costs_itself_alone(sink, server):
    def behaviour(request):
        return Reply(422, body=b"field id is missing") if request.body == b"1" else OK

    server.behaviour = behaviour
    answer = sink().write(rows_of([b"a", b"a", b"a"]))
    assert answer == {1: Refused("422", "422 Unprocessable Entity: field id is missing")}
    assert server.bodies == [b"0", b"2"]


def test_a_server_that_gets_slower_is_waited_for(sink, server):
    server.behaviour = lambda request: Reply(delay=0.01 * 2**request.number)
    assert sink().write(rows_of([b"k"] * 5)) is TAKEN


def test_a_row_that_always_times_out_is_its_own_fault(sink, server):
    server.behaviour = lambda request: HANGS if request.body == b"1" else OK
    writer = sink(timeout="200ms")
    started = time.monotonic()
    for _ in range(2):
        answer = writer.write(rows_of([None] * 4))
        assert answer == {1: Again("no answer within `timeout`")}
        assert not answer[1].patient, "its tries must have an end"
    assert time.monotonic() - started < 2


def test_an_answer_that_drips_is_a_timeout(sink, server):
    server.behaviour = lambda _request: Reply(drip=0.05)
    started = time.monotonic()
    assert isinstance(sink(timeout="200ms").write(rows_of([None]))[0], Again)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "reply", [Reply(hang_up=True), Reply(cut=True, body=b"x" * 100)], ids=["none", "half"]
)
def test_a_connection_that_breaks_in_the_answer_is_tried_again(sink, server, reply):
    server.behaviour = lambda request: reply if request.seen == 0 else OK
    writer = sink()
    (again,) = writer.write(rows_of([b"a"])).values()
    assert isinstance(again, Again)
    assert not again.patient
    assert writer.write(rows_of([b"a"])) is TAKEN


def test_a_busy_server_is_left_alone(sink, server):
    server.behaviour = lambda request: (
        Reply(429, headers={"Retry-After": "3"}) if request.number == 2 else OK
    )
    answer = sink(concurrency=1).write(rows_of([None] * 5))
    assert answer[2].after == 3
    assert sorted(answer) == [2, 3, 4]
    assert all(again.patient for again in answer.values())
    assert len(server.requests) == 3


def test_a_failing_server_is_tried_again_and_no_body_is_in_the_reason(sink, server):
    server.behaviour = lambda _request: Reply(500, body=b"secret of a record")
    answer = sink().write(rows_of([b"a"]))
    assert answer == {0: Again("the server answered 500 Internal Server Error")}


def test_a_server_that_is_away_is_unreachable(sink, server):
    writer = sink()
    server.stop()
    with pytest.raises(Unreachable, match="no connection") as raised:
        writer.write(rows_of([b"a", b"b"]))
    assert not raised.value.mend
    server.start()
    writer.close()
    writer.connect()
    assert writer.write(rows_of([b"a", b"b"])) is TAKEN


def test_a_server_that_restarts_in_the_middle_loses_nothing(sink, server):
    server.behaviour = lambda _request: Reply(delay=0.01)
    writer = sink(concurrency=4)
    todo = dict(enumerate(b"%d" % i for i in range(200)))
    restart = threading.Thread(target=lambda: (time.sleep(0.15), server.stop(), server.start()))
    restart.start()
    for _ in range(200):
        positions = list(todo)
        try:
            answer = writer.write(rows_of([None] * len(todo), list(todo.values())))
        except Unreachable:
            writer.close()
            writer.connect()
            time.sleep(0.02)
            continue
        left = set() if answer is TAKEN else set(answer)
        todo = {p: todo[p] for i, p in enumerate(positions) if i in left}
        if not todo:
            break
    restart.join()
    assert todo == {}
    assert {int(body) for body in server.bodies} == set(range(200))


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405])
def test_an_answer_to_everybody_is_no_rows_fault(sink, server, status):
    server.behaviour = lambda _request: Reply(status, headers={"Location": "/other?token=t"})
    with pytest.raises(Unreachable) as raised:
        sink().write(rows_of([b"a"]))
    assert raised.value.mend
    assert "token" not in raised.value.reason
    assert len(server.requests) == 1, "redirects are off"


def test_a_token_file_is_read_again_when_the_server_refuses_the_token(sink, server, tmp_path):
    token = tmp_path / "token"
    token.write_text("old\n")

    def behaviour(request):
        return OK if request.headers["authorization"] == "Bearer new" else Reply(401)

    server.behaviour = behaviour
    writer = sink(auth={"bearer": {"file": "token"}}, concurrency=4)
    with pytest.raises(Unreachable) as raised:
        writer.write(rows_of([b"a"]))
    assert raised.value.mend
    token.write_text("new\n")
    assert writer.write(rows_of([b"%d" % i for i in range(8)])) is TAKEN


def test_a_token_file_that_is_not_there_is_somebodys_to_mend(sink, tmp_path):
    with pytest.raises(Unreachable, match="token file") as raised:
        sink(auth={"bearer": {"file": "token"}})
    assert raised.value.mend


def test_user_and_password(sink, server):
    sink(auth={"basic": {"user": "ü", "password": "p:w"}}).write(rows_of([None]))
    assert server.requests[0].headers["authorization"] == "Basic w7w6cDp3"


def test_what_a_server_quotes_of_secrets_is_in_no_letter(sink, server):
    server.behaviour = lambda request: Reply(
        400, body=str(request.headers).encode() + request.path.encode()
    )
    writer = sink(
        auth={"bearer": "token-7"},
        headers={"X-Api-Key": "key-7"},
        query={"sig": "query-7", "pass": "que/ry 8+="},
    )
    message = writer.write(rows_of([None]))[0].message
    assert "x-api-key" in message
    for secret in ("token-7", "key-7", "query-7", "que/ry", "que%2Fry"):
        assert secret not in message


@pytest.mark.parametrize("key", [b"a\r\nX-Evil: 1", b"a\nb", b"\x00", b"a%0d%0aX-Evil: 1"])
def test_a_key_cannot_bring_headers_of_its_own(sink, server, key):
    assert sink(key_header="X-Key", idempotent=True).write(rows_of([key])) is TAKEN
    (request,) = server.requests
    assert "x-evil" not in request.headers
    assert request.headers["x-key"].isprintable()


def test_keys_that_are_no_ascii_are_percent_encoded(sink, server):
    sink(key_header="X-Key").write(rows_of(["größe 50%".encode(), b"\xff", b"", None]))
    by_body = {request.body: request.headers.get("x-key") for request in server.requests}
    assert by_body == {b"0": "gr%C3%B6%C3%9Fe%2050%25", b"1": "%FF", b"2": "", b"3": None}


def test_the_idempotency_header_is_the_rows_id_in_every_try(sink, server):
    server.behaviour = lambda request: Reply(500) if request.seen == 0 else OK
    writer = sink(idempotent=True, idempotency_header="X-Id")
    for _ in range(2):
        writer.write(rows_of([b"a"], name="bestellungen-ö"))
    ids = {request.headers["x-id"] for request in server.requests}
    assert ids == {"bestellungen-%C3%B6/t/0/0/0/0"}


def test_a_row_of_many_records_has_no_idempotency_header(sink, server):
    assert sink(idempotent=True).write(rows_of([b"a"], shared=True)) is TAKEN
    assert "idempotency-key" not in server.requests[0].headers


def test_a_path_by_the_key_stays_below_the_address(sink, server):
    writer = sink(url=f"{server.url}/api/", path="'users/' + key", query={"v": "1"})
    keys = [b"a", b"a/b", "ü?x=1#y".encode(), b"..", b"%2e%2e", b"//evil/x", b"\xff", None]
    answer = writer.write(rows_of(keys))
    paths = {int(request.body): request.path for request in server.requests}
    assert paths == {
        0: "/api/users/a?v=1",
        1: "/api/users/a/b?v=1",
        2: "/api/users/%C3%BC%3Fx=1%23y?v=1",
        4: "/api/users/%252e%252e?v=1",
        5: "/api/users///evil/x?v=1",
    }
    assert {position: refused.code for position, refused in answer.items()} == {
        3: "PathError",
        6: "PathError",
        7: "PathError",
    }


def test_a_destination_is_a_path_below_the_address(sink, server):
    rows = rows_of([b"a", b"b", b"c"], destinations=["x/y", None, "../z"])
    answer = sink(url=f"{server.url}/api", path="key").write(rows)
    assert {int(r.body): r.path for r in server.requests} == {0: "/api/x/y", 1: "/api/b"}
    assert answer[2].code == "PathError"


@pytest.mark.parametrize(
    ("tombstone", "requests"),
    [("refuse", []), ("send", [("POST", b"", "0")]), ("delete", [("DELETE", b"", None)])],
)
def test_tombstones(sink, server, tombstone, requests):
    path = {"path": "key"} if tombstone == "delete" else {}
    answer = sink(tombstone=tombstone, **path).write(rows_of([b"a"], [None]))
    made = [(r.method, r.body, r.headers.get("content-length")) for r in server.requests]
    assert made == requests
    if tombstone == "refuse":
        assert answer[0].code == "Tombstone"
    else:
        assert answer is TAKEN


def test_what_was_deleted_before_is_deleted(sink, server):
    server.behaviour = lambda _request: Reply(404)
    assert sink(tombstone="delete", path="key").write(rows_of([b"a"], [None])) is TAKEN


def test_large_bodies(sink, server):
    big = b"x" * (20 * 1024 * 1024)
    assert sink(value="bytes").write(rows_of([None], [big])) is TAKEN
    assert server.bodies == [big]


def test_a_large_answer_is_not_kept_and_does_not_harm(sink, server):
    server.behaviour = lambda _request: Reply(body=b"x" * (5 * 1024 * 1024))
    assert sink().write(rows_of([b"a", b"a"])) is TAKEN
    server.behaviour = lambda _request: Reply(400, body=b"y" * (5 * 1024 * 1024))
    assert len(sink().write(rows_of([b"a"]))[0].message) < 3000


def test_a_cookie_of_one_row_is_not_sent_with_the_next(sink, server):
    server.behaviour = lambda _request: Reply(headers={"Set-Cookie": "a=b"})
    sink().write(rows_of([b"a", b"a"]))
    assert all("cookie" not in request.headers for request in server.requests)


def test_connections_are_used_again(sink, server):
    writer = sink(concurrency=2)
    for _ in range(5):
        writer.write(rows_of([None] * 10))
    assert server.connections <= 2


def test_interrupting_breaks_a_request_that_hangs(sink, server):
    server.behaviour = lambda _request: HANGS
    writer = sink()

    def interrupt():
        while not server.requests:
            time.sleep(0.005)
        writer.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    answer = writer.write(rows_of([b"a"]))
    thread.join()
    assert answer[0].patient
