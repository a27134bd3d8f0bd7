"""Operators that run in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl import Permanent, Record, Retry
from kafka_etl.config.build import build
from kafka_etl.config.load import load
from kafka_etl.contracts import Abandoned, Preflight
from kafka_etl.engine.pools.lanes import lanes
from kafka_etl.engine.pools.pickling import pack_error, unpack_error
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.errors import OperatorDied, RecordErrors
from kafka_etl.functions.bind import BoundOperator, Order
from kafka_etl.invocation import Condition, ErrorInfo
from kafka_etl.plugins import PluginRegistry, importable
from kafka_etl.record import KEEP
from kafka_etl.retry import Backoff, RetryPolicy
from kafka_etl.runtime.messages import LogSettings, WorkerTask
from kafka_etl.runtime.worker.operator_process import isolated
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import Ran, as_bytes, chain_of, run

CODE = """
    import asyncio, ctypes, os, pyarrow, signal, threading, time
    from dataclasses import dataclass
    from pathlib import Path
    from kafka_etl import DROP, Context, Permanent, Record, RecordErrors, Retry

    HERE = Path(__file__).parent

    def note(name, *what):
        line = " ".join(map(str, what)) + "\\n"
        with open(HERE / name, "a", buffering=len(line)) as file:
            file.write(line)

    class Odd(Exception):
        def __init__(self, one, *, two):
            super().__init__(f"{one} and {two}")

    class Flaky(OSError):
        pass

    @dataclass
    class Order:
        id: int

    def hangs_in_batch(orders: list[dict]) -> list[dict]:
        time.sleep(3600)

    def hangs_in_table(orders: pyarrow.Table) -> pyarrow.Table:
        time.sleep(3600)

    class ClosedBatch:
        def open(self):
            raise OSError("locked")

        def __call__(self, orders: list[dict]) -> list[dict]:
            return orders

    class ClosedTable(ClosedBatch):
        def __call__(self, orders: pyarrow.Table) -> pyarrow.Table:
            return orders

    def plain(order: dict) -> dict:
        return order | {"pid": os.getpid()}

    def noted(order: dict) -> dict:
        note("calls", order["id"], os.getpid())
        time.sleep(0.005)
        if order["id"] == 3:
            os._exit(3)
        return order

    def deed(order: dict, *, what: str) -> dict:
        if order["id"] == 3:
            exec(what)
        return order

    def dies_once(order: dict) -> dict:
        if order["id"] == 3 and not (HERE / "died").exists():
            note("died")
            os._exit(1)
        return order

    def forms(order: dict):
        i = order["id"]
        if i == 4:
            return (dict(order, part=part) for part in range(2))
        new = Record(order, key=b"new")
        return [DROP, order, [order, order], new, None, [new.to("elsewhere"), order]][i]

    def raises(order: dict):
        class Local(Permanent):
            pass
        odd = Odd("one", two="two")
        errors = [Permanent("bad"), odd, Local("local"), Permanent(threading.Lock()),
                  SystemExit(7), StopIteration(), Retry("later", after=17.0), Flaky(5, "io")]
        raise errors[order["id"]]

    def gives_a_lock(order: dict):
        return threading.Lock() if order["id"] == 3 else order

    def bad_pickle(order: dict):
        return Unloadable() if order["id"] == 3 else order

    class Unloadable:
        def __reduce__(self):
            return int, ("no number",)

    def lane(order: dict) -> dict:
        note("lanes", "begin", order["id"])
        note("lanes", "end", order["id"])
        if order["bad"]:
            os._exit(1)
        return order

    def seen(record: Record) -> Record:
        what = [record.topic, record.partition, record.offset, record.timestamp,
                record.key.decode(), [name for name, _ in record.headers]]
        return record.replace(value=what, headers=[*record.headers, ("more", b"1")])

    def records(given: list[Record]) -> list[Record]:
        return [record.replace(key=record.key + b"!") for record in reversed(given)]

    def typed(order: Order) -> Order:
        return Order(order.id + 1)

    def batch(orders: list[dict]) -> list[dict]:
        bad = {n: Odd(n, two=2) for n, order in enumerate(orders) if order["id"] == 3}
        if bad:
            raise RecordErrors(bad)
        return orders

    def deadly(orders: list[dict]) -> list[dict]:
        if any(order["id"] == 3 for order in orders):
            os._exit(3)
        return orders

    def attempts(order: dict, context: Context) -> dict:
        if context.attempt < 3:
            raise OSError("again")
        return {"attempt": context.attempt, "worker": context.worker, "name": context.operator}

    class Opened:
        def open(self):
            note("hooks", "open", os.getpid())
        def __call__(self, order: dict) -> dict:
            return {"pid": os.getpid()}
        def close(self):
            note("hooks", "close", os.getpid())
            raise ValueError("cannot close")

    class Awaited:
        async def open(self):
            self.loop = asyncio.get_running_loop()
        async def __call__(self, order: dict) -> dict:
            await asyncio.sleep(3600 if order["id"] == 3 else 0)
            return {"id": order["id"], "same": asyncio.get_running_loop() is self.loop}
        async def close(self):
            note("hooks", "closed")

    async def parts(order: dict):
        for part in range(order["id"]):
            yield {"id": order["id"], "part": part}

    async def waits_for_all(orders: list[dict]) -> list[dict]:
        await asyncio.sleep(0)
        return orders

    class NotOpened:
        def open(self):
            raise ConnectionError("nobody answers")
        def __call__(self, order: dict) -> dict: ...

    class DiesAtOpen:
        def open(self):
            os._exit(4)
        def __call__(self, order: dict) -> dict: ...
"""


class Project:
    """A pipeline file with one operator in processes, and its module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pools: list[Pools] = []
        self.ticks = 0
        self.give_up_at: int | None = None
        (folder / "ops.py").write_text(textwrap.dedent(CODE))

    def operators(self, *uses: Any) -> tuple[BoundOperator, ...]:
        path = self.folder / "pipeline.yaml"
        path.write_text(
            json.dumps(
                {
                    "name": "p",
                    "kafka": {"bootstrap.servers": "nowhere:1"},
                    "source": {"use": "kafka", "with": {"topics": ["in"], "value": "json"}},
                    "operators": uses,
                    "sink": {"use": "kafka", "with": {"topic": "out"}},
                }
            )
        )
        (self.document,) = load([path], env={}).documents
        return build(self.document, PluginRegistry.installed()).operators

    def ready(self, *uses: Any) -> tuple[tuple[BoundOperator, ...], Pools]:
        operators = self.operators(*uses)
        task = WorkerTask(
            document=self.document,
            worker=0,
            member="member",
            recorder=self.folder / "recorder",
            preflight=Preflight(),
            until_end=False,
            evidence=None,
            paused=False,
            logs=LogSettings({"": "error"}),
        )
        pools = Pools(operators, lambda: None, isolated(task), self._watching)
        self.pools.append(pools)
        return operators, pools

    def run(self, operator: str, *given: Any, retry: Any = None, **policies: Any) -> Ran:
        """One invocation through this operator."""
        use = {"use": f"ops:{operator}", "isolation": "process", **policies}
        operators, pools = self.ready(use)
        more = {} if retry is None else {"policy": retry}
        return run(
            chain_of(*operators, pools=pools, routes=frozenset(["elsewhere"])), *given, **more
        )

    def lines(self, name: str) -> list[list[str]]:
        file = self.folder / name
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def _watching(self) -> None:
        self.ticks += 1
        if self.ticks == self.give_up_at:
            raise Abandoned


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    _OTHERS.clear()
    _OTHERS.update(children())
    with importable(tmp_path):
        yield project
        for pools in project.pools:
            pools.close()
    assert children() == []


_OTHERS: set[int] = set()
"""Processes that other tests keep, such as a broker."""


def children() -> list[int]:
    while True:
        tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        try:
            pids = [int(pid) for task in tasks for pid in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread has just ended, and another one has its children now
        return [pid for pid in pids if pid not in _OTHERS]


def ids(count: int, keys: list[bytes | None] | None = None) -> list[StoredRecord]:
    return [
        StoredRecord(as_bytes({"id": i}), keys[i] if keys else b"k", offset=i) for i in range(count)
    ]


def values_of(ran: Ran) -> list[Any]:
    return [value["id"] for value in ran.values]


@pytest.mark.parametrize("size", [1, 3])
def test_results_stand_where_their_records_do(project: Project, size: int) -> None:
    ran = project.run("plain", *ids(500, [None] * 500), concurrency=size)
    assert values_of(ran) == list(range(500))
    pids = {value["pid"] for value in ran.values}
    assert len(pids) <= size
    assert os.getpid() not in pids
    assert pids <= set(children())


@pytest.mark.parametrize(
    ("deed", "condition", "says"),
    [
        ("os._exit(3)", Condition.WORKER_CRASHED, "process died: exit status 3"),
        ("ctypes.string_at(0)", Condition.WORKER_CRASHED, "killed by SIGSEGV"),
        ("os.kill(os.getpid(), 9)", Condition.WORKER_CRASHED, "killed by SIGKILL"),
        ("time.sleep(3600)", Condition.TIMEOUT, "longer than 200ms, and the operator's process"),
        ("ctypes.PyDLL(None).sleep(3600)", Condition.TIMEOUT, "longer than 200ms"),
    ],
)
def test_one_that_dies_or_hangs_costs_itself_alone(
    project: Project, deed: str, condition: Condition, says: str
) -> None:
    ran = project.run("deed", *ids(8), timeout="200ms", **{"with": {"what": deed}})
    assert values_of(ran) == [0, 1, 2, 4, 5, 6, 7]
    assert ran.conditions == {3: condition}
    assert says in ran.failed[3]
    assert len(ran.failure().attempts) == 3  # as often as the policy allows
    assert len(children()) == 1


@pytest.mark.parametrize("goes", ["pass", "raise ValueError", "sys.exit()", "time.sleep(1)"])
def test_a_copy_that_an_operator_forks_answers_nothing(project: Project, goes: str) -> None:
    fork = f"import sys\nif os.fork() == 0:\n    {goes}\nelse:\n    time.sleep(0.05)"
    ran = project.run("deed", *ids(200), timeout="5s", **{"with": {"what": fork}})
    assert values_of(ran) == list(range(200))
    assert ran.failed == {}


def test_nor_does_it_keep_the_death_of_the_first_a_secret(project: Project) -> None:
    fork = "if os.fork() == 0:\n    time.sleep(20)\nos._exit(3)"
    begun = time.monotonic()
    ran = project.run("deed", *ids(8), **{"with": {"what": fork}})
    assert values_of(ran) == [0, 1, 2, 4, 5, 6, 7]
    assert ran.conditions == {3: Condition.WORKER_CRASHED}
    assert time.monotonic() - begun < 15


def test_what_was_answered_is_not_called_again(project: Project) -> None:
    ran = project.run("noted", *ids(8), concurrency=2, order="none")
    assert values_of(ran) == [0, 1, 2, 4, 5, 6, 7]
    calls = [int(i) for i, _ in project.lines("calls")]
    assert sorted(calls) == [0, 1, 2, 3, 3, 3, 4, 5, 6, 7]


def test_one_that_dies_once_is_tried_again(project: Project) -> None:
    ran = project.run("dies_once", *ids(8))
    assert values_of(ran) == list(range(8))
    assert ran.waits == [1.0]


def test_a_long_call_is_watched(project: Project) -> None:
    project.run("deed", *ids(4), timeout="1s", **{"with": {"what": "time.sleep(0.8)"}})
    assert project.ticks >= 3 + 2


def test_calls_are_given_up_when_time_is_up(project: Project) -> None:
    project.give_up_at = 4
    use = {"use": "ops:deed", "isolation": "process", "with": {"what": "time.sleep(3600)"}}
    (operator,), pools = project.ready(use)
    with pytest.raises(Abandoned):
        run(chain_of(operator, pools=pools), *ids(8))
    pools.end(operator)
    assert children() == []


@pytest.mark.parametrize("operator", ["hangs_in_batch", "hangs_in_table"])
def test_a_batch_that_is_given_up_is_no_dead_letter(project: Project, operator: str) -> None:
    project.give_up_at = 4
    (bound_operator,), pools = project.ready({"use": f"ops:{operator}", "isolation": "process"})
    with pytest.raises(Abandoned):
        run(chain_of(bound_operator, pools=pools), *ids(8), policy=RetryPolicy(max_attempts=1))
    pools.end(bound_operator)
    assert children() == []


@pytest.mark.parametrize("operator", ["ClosedBatch", "ClosedTable"])
def test_a_batch_whose_operator_does_not_open_is_no_dead_letter(
    project: Project, operator: str
) -> None:
    (bound_operator,), pools = project.ready({"use": f"ops:{operator}", "isolation": "process"})
    with pytest.raises(OSError, match="locked"):
        run(chain_of(bound_operator, pools=pools), *ids(3), policy=RetryPolicy(max_attempts=1))
    pools.end(bound_operator)


def test_all_forms_of_outputs_are_as_ever(project: Project) -> None:
    ran = project.run("forms", *ids(6))
    assert values_of(ran) == [1, 2, 2, 3, 4, 4, 5, 5]
    assert ran.outputs.keys == [b"k"] * 3 + [b"new"] + [b"k"] * 2 + [b"new", b"k"]
    assert ran.outputs.topics == [None] * 6 + ["elsewhere", None]
    assert ran.outcome.dropped == 1


def test_errors_are_as_ever(project: Project) -> None:
    ran = project.run("raises", *ids(8))
    said = list(ran.failed.values())
    assert said[0] == "kafka_etl.errors.Permanent: bad"
    assert said[1] == "ops.Odd: one and two"
    assert said[2] == "ops.raises.<locals>.Local: local"
    assert "Permanent: <unlocked" in said[3]
    assert said[4] == "SystemExit: 7"
    assert "StopIteration" in said[5]
    assert said[6:] == ["kafka_etl.errors.Retry: later", "ops.Flaky: [Errno 5] io"]
    failures = ran.outcome.failed
    assert [len(f.attempts) for f in failures] == [1, 3, 1, 1, 1, 3, 3, 3]
    assert set(ran.conditions.values()) == {Condition.OPERATOR_ERROR}
    assert ran.waits == [17.0, 17.0]
    for number in (0, 1, 2, 3, 4, 6, 7):
        assert 'ops.py", line' in failures[number].error.traceback
        assert "in raises" in failures[number].error.traceback


def test_retry_policies_see_classes(project: Project) -> None:
    project.operators()  # makes `ops` importable
    import ops  # type: ignore[import-not-found]  # noqa: PLC0415

    policy = RetryPolicy(4, Backoff(1, 1, 1, "none"), only=(ops.Flaky,))
    ran = project.run("raises", *ids(8), retry=policy)
    assert [len(f.attempts) for f in ran.outcome.failed] == [1] * 6 + [4, 4]


@pytest.mark.parametrize("operator", ["gives_a_lock", "bad_pickle"])
def test_a_result_that_cannot_cross_fails_alone(project: Project, operator: str) -> None:
    ran = project.run(operator, *ids(6))
    assert values_of(ran) == [0, 1, 2, 4, 5]
    assert ran.failed[3].startswith("TypeError: the result cannot be")


def test_an_argument_that_cannot_cross_fails_alone(project: Project) -> None:
    operators, pools = project.ready(
        "ops:gives_a_lock", {"use": "ops:plain", "isolation": "process"}
    )
    ran = run(chain_of(*operators, pools=pools), *ids(6))
    assert values_of(ran) == [0, 1, 2, 4, 5]
    assert "cannot be sent to the process of plain" in ran.failed[3]


def test_records_cross(project: Project) -> None:
    first = StoredRecord(b"1", b"a", [("h", b"x")], timestamp_ms=7, partition=2, offset=9)
    second = StoredRecord(b"2", b"b", offset=10)
    ran = project.run("seen", first, second)
    assert ran.values == [["in", 2, 9, 7, "a", ["h"]], ["in", 0, 10, -1, "b", []]]
    assert ran.outputs.headers == [[("h", b"x"), ("more", b"1")], [("more", b"1")]]
    assert ran.outputs.keys == [b"a", b"b"]


def test_installed_operators_run_there_too(project: Project) -> None:
    use = {"use": "filter", "with": {"where": "value.id != 1"}, "isolation": "process"}
    (operator,), pools = project.ready(use)
    assert values_of(run(chain_of(operator, pools=pools), *ids(3))) == [0, 2]


def test_nulls_pass_by(project: Project) -> None:
    first, null = ids(2)
    null._value = None
    ran = project.run("plain", first, null)
    assert [value and value["id"] for value in ran.values] == [0, None]


def test_objects_of_a_class_cross(project: Project) -> None:
    assert values_of(project.run("typed", *ids(3))) == [1, 2, 3]


def test_batches_cross(project: Project) -> None:
    ran = project.run("batch", *ids(6))
    assert values_of(ran) == [0, 1, 2, 4, 5]
    assert ran.failed == {3: "ops.Odd: 0 and 2"}  # its last attempt was alone


def test_batches_of_records_keep_their_sources(project: Project) -> None:
    ran = project.run("records", *ids(3, [b"a", b"b", b"c"]))
    assert values_of(ran) == [2, 1, 0]
    assert ran.outputs.keys == [b"c!", b"b!", b"a!"]
    assert ran.origins == [2, 1, 0]


def test_a_batch_that_kills_is_halved_until_the_guilty_record_is_found(project: Project) -> None:
    once = RetryPolicy(1)
    ran = project.run("deadly", *ids(6), retry=once)
    assert values_of(ran) == [0, 1, 2, 4, 5]
    assert ran.conditions == {3: Condition.WORKER_CRASHED}
    assert "exit status 3" in ran.failed[3]


def test_the_context_is_there(project: Project) -> None:
    ran = project.run("attempts", *ids(1), name="mine")
    assert ran.values == [{"attempt": 3, "worker": "member", "name": "mine"}]


def test_hooks_run_in_each_process(project: Project) -> None:
    use = {"use": "ops:Opened", "isolation": "process", "concurrency": 2, "order": "none"}
    (operator,), pools = project.ready(use)
    pools.open(operator)
    pids = set(map(str, children()))
    assert {pid for _, pid in project.lines("hooks")} == pids
    run(chain_of(operator, pools=pools), *ids(4))
    with pytest.raises(ValueError, match="cannot close"):
        pools.end(operator)
    assert sorted(project.lines("hooks")) == sorted(
        [how, p] for how in ("open", "close") for p in pids
    )
    assert children() == []


def test_async_operators_have_a_loop_there(project: Project) -> None:
    use = {"use": "ops:Awaited", "isolation": "process", "timeout": "200ms"}
    (operator,), pools = project.ready(use)
    pools.open(operator)
    ran = run(chain_of(operator, pools=pools), *ids(5))
    assert ran.values == [{"id": i, "same": True} for i in (0, 1, 2, 4)]
    assert ran.conditions == {3: Condition.TIMEOUT}
    run(chain_of(operator, pools=pools), *ids(1))
    pools.end(operator)
    assert project.lines("hooks") == [["closed"]]


def test_async_generators_and_batches(project: Project) -> None:
    assert values_of(project.run("parts", *ids(3))) == [1, 2, 2]
    assert values_of(project.run("waits_for_all", *ids(3))) == [0, 1, 2]


def test_an_operator_that_does_not_open_is_no_records_fault(project: Project) -> None:
    with pytest.raises(ConnectionError) as raised:
        project.run("NotOpened", *ids(2))
    assert ErrorInfo.of(raised.value).message == "nobody answers"
    with pytest.raises(OperatorDied, match="DiesAtOpen died at its start: exit status 4"):
        project.run("DiesAtOpen", *ids(2))


def test_one_that_dies_at_rest_costs_nothing(project: Project) -> None:
    (operator,), pools = project.ready({"use": "ops:plain", "isolation": "process"})
    chain = chain_of(operator, pools=pools)
    run(chain, *ids(2))
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    ran = run(chain, *ids(4))
    assert values_of(ran) == [0, 1, 2, 3]
    assert pid not in {value["pid"] for value in ran.values}


def test_it_ends_with_its_worker_not_before(project: Project) -> None:
    (operator,), pools = project.ready({"use": "ops:plain", "isolation": "process"})
    chain = chain_of(operator, pools=pools)
    run(chain, *ids(1))
    (pid,) = children()
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert run(chain, *ids(1)).values == [{"id": 0, "pid": pid}]


@pytest.mark.parametrize("order", Order)
def test_records_of_a_lane_run_one_after_the_other(project: Project, order: Order) -> None:
    use = {"use": "ops:lane", "isolation": "process", "concurrency": 3, "order": order.value}
    (operator,), pools = project.ready(use)
    chain = chain_of(operator, pools=pools)

    @settings(max_examples=15, deadline=None)
    @given(
        keys=st.lists(st.sampled_from([b"a", b"b", b"c", None]), min_size=1, max_size=30),
        bad=st.sets(st.integers(0, 40), max_size=1),
    )
    def property_of(keys: list[bytes | None], bad: set[int]) -> None:
        (project.folder / "lanes").unlink(missing_ok=True)
        given_records = [
            StoredRecord(as_bytes({"id": i, "bad": i in bad}), key, partition=i % 2, offset=i)
            for i, key in enumerate(keys)
        ]
        ran = run(chain, *given_records, policy=RetryPolicy(1))
        assert values_of(ran) == [i for i in range(len(keys)) if i not in bad]
        lane_of = {row: n for n, lane in enumerate(lanes(given_records, order)) for row in lane}
        by_lane: dict[int, list[tuple[str, int]]] = defaultdict(list)
        for what, row in project.lines("lanes"):
            by_lane[lane_of[int(row)]].append((what, int(row)))
        for seen in by_lane.values():
            assert [what for what, _ in seen] == ["begin", "end"] * (len(seen) // 2)
            rows = [row for what, row in seen if what == "begin"]
            # Quick ones that had not been answered when the process died are called again.
            assert bad & set(rows) or rows == sorted(rows)

    property_of()


class NoRoundTrip(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("never")


class Evil(Permanent):
    args: Any = property(lambda _self: 1 / 0)

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error",
    [KeyError("k"), UnicodeDecodeError("ascii", b"\xff", 0, 1, "r"), NoRoundTrip("n"), Evil()],
)
def test_an_error_keeps_its_class_and_its_text(error: BaseException) -> None:
    try:
        raise error
    except BaseException as raised:  # noqa: BLE001
        there = unpack_error(pack_error(raised))
    assert type(there) is type(error)
    assert ErrorInfo.of(there) == ErrorInfo.of(error)


def test_errors_cross_within_others() -> None:
    class Local(Retry):
        pass

    inner = Local("inner", after=3.0)
    there = unpack_error(pack_error(RecordErrors({1: inner, 2: KeyError("k")})))
    assert isinstance(there, RecordErrors)
    assert isinstance(there.errors[1], Retry)
    assert there.errors[1].after == 3.0
    assert ErrorInfo.of(there.errors[1]).type.endswith("<locals>.Local")
    assert isinstance(there.errors[2], KeyError)


def test_an_error_that_holds_itself_crosses() -> None:
    error = Permanent("circle")
    error.itself = error  # type: ignore[attr-defined]
    assert ErrorInfo.of(unpack_error(pack_error(error))).message == "circle"


def test_keep_is_the_same_in_every_process() -> None:
    record = Record({"id": 1}, key=b"k")
    there = unpack_error(pack_error(Permanent(record))).args[0]
    assert (there.value, there.key) == ({"id": 1}, b"k")
    assert there.headers is record.headers is KEEP
