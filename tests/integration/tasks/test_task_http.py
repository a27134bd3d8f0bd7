"""Tasks over HTTP: a daemon on a real Kafka, asked as any client asks."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from kafka_etl.tasks.states import State
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.pages import blocks
from tests.kit.talking_tasks import TalkingTasks

PAGE = "docs/tasks/http.md"


class Answer(NamedTuple):
    status: int
    body: Any


class Api:
    """The pipeline's tasks, as a client of the daemon sees them."""

    def __init__(self, project: TalkingTasks, daemon: Daemon) -> None:
        self.project = project
        self.daemon = daemon

    def __call__(
        self, method: str, path: str = "", body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://{self.daemon.http}/v1/tasks/{self.project.name}{path}"
        request = urllib.request.Request(url, data, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read()))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, kafka: Kafka) -> Iterator[Api]:
    project = TalkingTasks(tmp_path_factory.mktemp("http"), kafka)
    with project.daemon() as daemon:
        project.submit("first", prints=["hello"])
        project.until("first", State.SUCCEEDED)
        yield Api(project, daemon)
        assert daemon.stop(60) == 0, daemon.said()[-3000:]


def test_a_task_is_submitted_seen_stopped_and_run_once_more(api: Api) -> None:
    task = quote("a/b#c d", safe="")
    made = api("POST", f"?id={task}&key=k", {"id": "x", "seconds": 600, "prints": ["begun"]})
    assert (made.status, made.body["id"]) == (201, "a/b#c d")
    assert made.body["taken"] is True
    again = api("POST", f"?id={task}", {"id": "x"})
    assert (again.status, again.body["duplicate"]) == (409, True)
    api.project.until("a/b#c d", State.RUNNING)

    shown = api("GET", f"/{task}")
    assert (shown.status, shown.body["state"]) == (200, "Running")
    assert shown.body["input"]["size"] == len('{"id": "x", "seconds": 600, "prints": ["begun"]}')
    stack = api("POST", f"/{task}/stack", {"wait": 30})
    assert stack.status == 200, stack.body
    assert "in sleeps_deeply" in stack.body["stack"]
    log = api("GET", f"/{task}/logs?wait=20")
    assert "begun\n" in "".join(piece["text"] for piece in log.body["pieces"])
    assert log.body["is_over"] is False

    stopped = api("POST", f"/{task}/stop", {"reason": "enough", "by": "ann"})
    assert (stopped.status, stopped.body["effect"]) == (200, True)
    head = api.project.until("a/b#c d", State.STOPPED)
    assert head.stop is not None
    assert (head.stop.reason, head.stop.by) == ("enough", "ann")
    late = api("POST", f"/{task}/stop")
    assert (late.status, late.body["left_alone"]) == (409, "ended before")
    other = {"id": "x", "seconds": 601}
    retried = api("POST", f"/{task}/retry", {"reason": "again", "input": other})
    assert (retried.status, retried.body["generation"]) == (200, 2)
    assert api("GET", f"/{task}").body["input"]["preview"] == '{"id":"x","seconds":601}'
    inbox = [r for r in api.project.kafka.read(f"{api.project.name}.inbox") if r.value]
    keys = [dict(r.headers)["key"] for r in inbox if r.key == b"a/b#c d" and b"60" in r.value]
    assert keys == [b"k", b"k"], "the new input goes with the key of the old one"
    api("POST", f"/{task}/stop", {"force": True})
    api.project.until("a/b#c d", State.STOPPED)


def test_a_list_has_filters_and_pages(api: Api) -> None:
    for number in range(5):
        api.project.submit(f"list-{number}", bad=True)
    for number in range(5):
        api.project.until(f"list-{number}", State.FAILED)
    where = quote("startswith(id, 'list-')")

    pages = [api("GET", f"?where={where}&state=failed&limit=2&page={n}").body for n in range(3)]

    found = [task["id"] for page in pages for task in page["tasks"]]
    assert sorted(found) == [f"list-{number}" for number in range(5)]
    assert [page["next_page"] for page in pages] == [1, 2, None]
    assert pages[0]["counts"]["Failed"] >= 5
    assert api("GET", "?since=2h&state=final&limit=1000").body["tasks"]
    names = [one["name"] for one in api.daemon.get("/v1/tasks")["pipelines"]]
    assert names == [api.project.name]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/none", None, 404, "has no task none"),
        ("GET", "?state=runing", None, 400, "did you mean `running`"),
        ("GET", "?where=colour%20%3D%3D%201", None, 400, "colour"),
        ("GET", "?limit=0", None, 400, "`limit` is from 1"),
        ("GET", "?colour=red", None, 400, "colour"),
        ("GET", "?since=soon", None, 400, "`soon` is no time"),
        ("POST", "", None, 400, "the body is empty"),
        ("POST", "?id=%00", {}, 400, "cannot be the id"),
        ("POST", "/first/pause", None, 400, "there is no POST …/pause"),
        ("POST", "/first/stop", [1], 400, "no JSON object"),
        ("POST", "/first/stop", {"reason": 1, "why": 2}, 400, "a parameter is wrong"),
        ("POST", "/first/retry", {"deliver": True, "input": 1}, 400, "could have another `input`"),
        ("POST", "/first/stack", None, 409, "no attempt of it runs"),
        ("GET", "/first/logs?attempt=9", None, 409, "no attempt 9"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_code_and_the_next_step(  # noqa: PLR0917 - a column each
    api: Api, method: str, path: str, body: Any, status: int, said: str
) -> None:
    answer = api(method, path, body)

    assert answer.status == status, answer.body
    error = answer.body["error"]
    assert said in error["what"]
    assert re.fullmatch(r"E\d{3}", error["code"])
    assert error["next_step"]


def test_a_page_of_another_site_gives_no_orders(api: Api) -> None:
    foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert api("POST", "/first/retry", {"again": True}, foreign).status == 403
    assert api("GET", "/first", None, {"Host": "evil.example"}).status == 403


def test_the_daemon_answers_others_while_a_clerk_waits(api: Api) -> None:
    url = f"http://{api.daemon.http}/v1/tasks/{api.project.name}/none/logs?wait=20"
    waiting = [subprocess.Popen(["curl", "-s", url], stdout=subprocess.PIPE) for _ in range(4)]
    assert "main_loop_s_ago" in api.daemon.get("/live")
    for process in waiting:
        process.communicate(timeout=60)


def test_metrics_and_status_count_tasks(api: Api) -> None:
    api.project.submit("long", seconds=600)
    api.project.until("long", State.RUNNING)
    owner = f'pipeline="{api.project.name}.tasks"'
    wanted = f'kafka_etl_tasks{{{owner},state="Running"}} 1.0'
    api.daemon.until(lambda _pipeline: wanted in api.daemon.get("/metrics"))
    text = api.daemon.get("/metrics")
    ended = api.daemon.get("/pipelines")["pipelines"]

    assert f'kafka_etl_task_wait_seconds_bucket{{le="+Inf",{owner}}}' in text
    assert f"kafka_etl_task_run_seconds_count{{{owner}}}" in text
    assert f'kafka_etl_task_attempts_total{{{owner},why="result"}}' in text
    assert f"kafka_etl_task_oldest_enqueued_seconds{{{owner}}} 0.0" in text
    assert next(one for one in ended if one["name"].endswith(".tasks"))["tasks"]["Running"] == 1
    api("POST", "/long/stop", {"force": True})
    api.project.until("long", State.STOPPED)


def test_the_commands_of_the_page_work(api: Api) -> None:
    (block,) = blocks(PAGE, "console")
    for line in block.splitlines():
        if not line.startswith("$ "):
            continue
        given = line[2:].replace("localhost:8321", api.daemon.http)
        given = given.replace('"format": "mp4"', '"seconds": 600')
        words = shlex.split(given.replace("transcode", api.project.name))
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (line, done.stderr)
        error: dict[str, Any] = json.loads(done.stdout).get("error") or {}
        assert "code" not in error, (line, error)
        if "mp4'" in line and "id=" in line:
            api.project.until("a.mov#mp4", State.RUNNING)
    api("POST", "/a.mov%23mp4/stop", {"force": True})
    api.project.until("a.mov#mp4", State.STOPPED)
