"""`kafka-etl dlq replay` into every other target: each id there, and nothing else moved."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.dead_letters.statuses import LetterStatus
from kafka_etl_connectors.objects.read import committed_objects
from tests.integration.dead_letters.test_replay import PICKY, replay, statuses
from tests.kit import mns, valkey
from tests.kit.daemon import run_to_end
from tests.kit.http_target import HANGS, OK, target
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project
from tests.kit.postgres import Postgres
from tests.kit.replaying import Replaying, action_of

ALL = ("--where", "True", "--yes")
FINE = """
    def pick(value: dict) -> dict:
        return {"id": value["id"]}
"""
TABLE = "CREATE TABLE orders (id bigint NOT NULL CHECK (id < 10000))"  # doubles would be seen


@dataclass
class Target:
    """A target of a pipeline.

    Attributes:
        sink: Sink of the pipeline file.
        ids: Reads the ids that the target has, repeats included; takes the pipeline's name.
    """

    sink: dict[str, Any]
    ids: Callable[[str], list[int]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def to_postgres(request: pytest.FixtureRequest, _folder: Path, _opened: ExitStack) -> Target:
    server: Postgres = request.getfixturevalue("postgres")
    database = server.database()
    server.execute(database, TABLE)
    settings = {**server.address(database), "table": "orders"}
    return Target(
        {"use": "postgres", "with": settings},
        lambda _name: server.query(database, "SELECT id FROM orders"),
    )


def to_redis(_request: pytest.FixtureRequest, folder: Path, opened: ExitStack) -> Target:
    place = folder / "valkey"
    place.mkdir()
    server = opened.enter_context(valkey.running(place))
    settings = {**server.address, "into": "stream", "name": "orders"}
    return Target(
        {"use": "redis", "with": settings},
        lambda _name: [
            json.loads(row[b"value"])["id"] for _, row in server.client().xrange("orders")
        ],
    )


def to_objects(_request: pytest.FixtureRequest, folder: Path, _opened: ExitStack) -> Target:
    lake = f"file://{folder}/lake"

    def ids(name: str) -> list[int]:
        found: list[int] = []
        for path in committed_objects(lake, name):
            text = gzip.decompress(Path(path.removeprefix("file://")).read_bytes())
            found += [json.loads(line)["id"] for line in text.splitlines()]
        return found

    settings = {"url": lake, "roll": {"every": "500ms"}, "compression": "gzip"}
    return Target({"use": "objects", "with": settings}, ids)


def to_mns(_request: pytest.FixtureRequest, _folder: Path, opened: ExitStack) -> Target:
    server = opened.enter_context(mns.service())
    settings = {
        "endpoint": server.url,
        "access_key_id": mns.KEY_ID,
        "access_key_secret": mns.SECRET,
        "queue": "orders",
    }
    return Target(
        {"use": "mns", "with": settings},
        lambda _name: [json.loads(body)["id"] for body in server.decoded()],
    )


def to_files(_request: pytest.FixtureRequest, folder: Path, _opened: ExitStack) -> Target:
    lines = folder / "lines"
    lines.mkdir()
    return Target(
        {"use": "files", "with": {"folder": str(lines)}},
        lambda _name: [
            json.loads(line)["id"]
            for path in lines.glob("*.jsonl")
            for line in path.read_text().splitlines()
        ],
    )


MakeTarget = Callable[[pytest.FixtureRequest, Path, ExitStack], Target]


def check_nothing_else_moved(made: Project, there: Target, count: int) -> None:
    """All is replayed, and the pipeline goes on where it was."""
    assert sorted(there.ids(made.name)) == list(range(count))
    assert statuses(made) == {LetterStatus.REPLAYED: count // 5}
    made.produce([("k", json.dumps({"id": count}))])
    after = run_to_end(made.folder, str(made.file))
    assert after.process.returncode == 0, after.said()
    assert sorted(there.ids(made.name)) == list(range(count + 1))


def called(make: MakeTarget) -> str:
    return make.__name__.removeprefix("to_")


def failed(folder: Path, kafka: Kafka, sink: dict[str, Any], count: int = 40) -> Project:
    """A project with that sink, a fifth of whose orders are dead letters."""
    made = Project(
        folder, kafka, code=PICKY, operators=["ops:pick"], retry={"max_attempts": 1}, partitions=2
    )
    made.spec["sink"] = sink
    made.write()
    made.produce([(f"k{n % 5}", json.dumps({"id": n})) for n in range(count)])
    first = run_to_end(folder, str(made.file))
    assert first.process.returncode == 0, first.said()
    assert len(made.dead_letters()) == count // 5
    return made


@pytest.mark.parametrize("make", [to_redis, to_mns], ids=called)
def test_every_id_is_in_the_target_and_the_pipeline_goes_on_where_it_was(
    tmp_path: Path,
    kafka: Kafka,
    request: pytest.FixtureRequest,
    opened: ExitStack,
    make: MakeTarget,
) -> None:
    there = make(request, tmp_path, opened)
    made = failed(tmp_path, kafka, there.sink)
    assert sorted(there.ids(made.name)) == [n for n in range(40) if n % 10 not in {3, 7}]
    made.write_code(FINE)
    done = replay(made, *ALL)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 replayed, 0 failed again" in done.stderr
    second = replay(made, *ALL)
    assert "8 more are left alone: replayed before" in second.stderr
    check_nothing_else_moved(made, there, 40)


def test_a_record_that_the_table_refuses_comes_back_with_its_history(
    tmp_path: Path, kafka: Kafka, request: pytest.FixtureRequest, opened: ExitStack
) -> None:
    there = to_postgres(request, tmp_path, opened)
    made = failed(tmp_path, kafka, there.sink)
    made.write_code(
        """
        def pick(value: dict) -> dict:
            return {"id": value["id"] * (1000 if value["id"] in {17, 23} else 1)}
        """
    )
    done = replay(made, *ALL)
    assert done.returncode == 3, done.stderr
    assert "8 of 8 replayed, 2 failed again" in done.stderr
    assert sorted(there.ids(made.name)) == [n for n in range(40) if n not in {17, 23}]
    contexts = [json.loads(letter.header("kafka_etl.context")) for letter in made.dead_letters()]
    again = [context for context in contexts if context["history"]]
    assert sorted(context["history"][0]["error"] for context in again) == [
        "KeyError: 'amount' is not there",
        "ValueError: 23 ends with 3",
    ]


@pytest.mark.parametrize("make", [to_postgres, to_objects, to_files], ids=called)
def test_a_replay_into_a_store_that_is_killed_goes_on_and_each_row_is_there_once(
    tmp_path: Path,
    kafka: Kafka,
    request: pytest.FixtureRequest,
    opened: ExitStack,
    make: MakeTarget,
) -> None:
    there = make(request, tmp_path, opened)
    made = failed(tmp_path, kafka, there.sink, 500)
    made.write_code(FINE)
    with Replaying(made, "--rate", "30", *ALL) as under_way:
        under_way.until(lambda: len(there.ids(made.name)) >= 420)
        under_way.signal(signal.SIGKILL)
        under_way.wait()
    assert len(there.ids(made.name)) < 500
    done = replay(made, "--resume", action_of(made))
    assert done.returncode == 0, done.stderr
    assert "100 of 100 replayed, 0 failed again" in done.stderr
    check_nothing_else_moved(made, there, 500)


def test_a_replay_to_a_server_that_is_killed_repeats_the_ids_of_its_requests(
    tmp_path: Path, kafka: Kafka
) -> None:
    with target() as server:
        sink = {"use": "http", "with": {"url": server.url, "idempotent": True}}
        made = failed(tmp_path, kafka, sink)
        before = made.kafka.committed(made.name, made.source)
        made.write_code(FINE)
        server.behaviour = lambda _request: HANGS
        with Replaying(made, *ALL) as under_way:
            under_way.until(lambda: len(server.requests) > 32)
            under_way.signal(signal.SIGKILL)
            under_way.wait()
        server.behaviour = lambda _request: OK
        action = action_of(made)
        done = replay(made, "--resume", action)
        assert done.returncode == 0, done.stderr
        replayed = server.requests[32:]
        assert len(replayed) > 8
        named = {(request.body, request.headers["idempotency-key"]) for request in replayed}
        assert sorted(json.loads(body)["id"] for body, _ in named) == [
            n for n in range(40) if n % 10 in {3, 7}
        ]
        assert all(name.startswith(f"{made.name}.replay.{action}/") for _, name in named)
        assert sorted(json.loads(body)["id"] for body in server.bodies) == list(range(40))
        assert made.kafka.committed(made.name, made.source) == before
