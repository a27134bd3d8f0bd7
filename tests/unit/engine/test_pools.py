"""Operators that are run for many records at once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl import DROP, Permanent, Record
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.pools import tasks
from kafka_etl.engine.pools.lanes import lanes
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.functions.bind import Order
from kafka_etl.invocation import Condition
from kafka_etl.testing import StoredRecord
from tests.unit.engine.kit import Ran, as_bytes, bound, chain_of, run

KINDS = ["threads", "tasks"]
each_kind = pytest.mark.parametrize("kind", KINDS)


class Watched:
    """An operator that notes what runs at the same time, and in which order."""

    def __init__(self, work: Any = None, seconds: float = 0.001) -> None:
        self.work = work or (lambda value: value)
        self.seconds = seconds
        self.now: set[int] = set()
        self.most = 0
        self.seen: list[int] = []
        self.together: list[frozenset[int]] = []
        self.lock = threading.Lock()

    def enter(self, value: dict) -> None:
        with self.lock:
            self.now.add(value["id"])
            self.seen.append(value["id"])
            self.most = max(self.most, len(self.now))
            self.together.append(frozenset(self.now))

    def leave(self, value: dict) -> None:
        with self.lock:
            self.now.discard(value["id"])

    def of(self, kind: str) -> Any:
        def blocking(value: dict) -> Any:
            self.enter(value)
            try:
                time.sleep(self.seconds)
                return self.work(value)
            finally:
                self.leave(value)

        async def waiting(value: dict) -> Any:
            self.enter(value)
            try:
                await asyncio.sleep(self.seconds)
                return self.work(value)
            finally:
                self.leave(value)

        return blocking if kind == "threads" else waiting


def many(operator: Any, size: int = 8, order: Order = Order.KEY, **policies: Any) -> Chain:
    ready = replace(bound(operator), concurrency=size, order=order, **policies)
    return chain_of(ready)


def ids(*keys: bytes | None, partitions: int = 1) -> list[StoredRecord]:
    return [
        StoredRecord(as_bytes({"id": i}), key, partition=i % partitions, offset=i // partitions)
        for i, key in enumerate(keys)
    ]


def values_of(ran: Ran) -> list[int]:
    return [value["id"] for value in ran.values]


@each_kind
def test_results_stand_where_their_records_do(kind: str) -> None:
    watched = Watched()
    ran = run(many(watched.of(kind)), *ids(*(b"k%d" % i for i in range(40))))
    assert values_of(ran) == list(range(40))
    assert 1 < watched.most <= 8
    assert ran.outputs.origins is None


@each_kind
@settings(max_examples=25, deadline=None)
@given(
    keys=st.lists(st.sampled_from([b"a", b"b", b"c", None]), min_size=1, max_size=30),
    order=st.sampled_from(Order),
    bad=st.sets(st.integers(0, 29), max_size=5),
)
def test_records_of_a_lane_run_one_after_the_other(
    kind: str, keys: list[bytes | None], order: Order, bad: set[int]
) -> None:
    def work(value: dict) -> dict:
        if value["id"] in bad:
            raise Permanent("bad")
        return value

    watched = Watched(work, seconds=0.0005)
    given_records = ids(*keys, partitions=3)
    ran = run(many(watched.of(kind), order=order), *given_records)
    assert values_of(ran) == [i for i in range(len(keys)) if i not in bad]
    assert set(ran.failed) == {i for i in bad if i < len(keys)}
    lane_of = {row: n for n, lane in enumerate(lanes(given_records, order)) for row in lane}
    for group in watched.together:
        assert len({lane_of[row] for row in group}) == len(group)
    by_lane: dict[int, list[int]] = defaultdict(list)
    for row in watched.seen:
        by_lane[lane_of[row]].append(row)
    assert all(rows == sorted(rows) for rows in by_lane.values())


def test_lanes_are_keys_or_partitions_or_single_records() -> None:
    given_records = ids(b"a", b"b", None, None, b"a", b"b", b"a", partitions=2)
    assert lanes(given_records, Order.KEY) == [[0, 4, 6], [1, 5], [2], [3]]
    assert lanes(given_records, Order.PARTITION) == [[0, 2, 4, 6], [1, 3, 5]]
    assert lanes(given_records, Order.NONE) == [[row] for row in range(7)]
    assert lanes([None, given_records[0], None], Order.KEY) == [[0, 2], [1]]


@each_kind
def test_a_failing_record_disturbs_no_other_and_is_tried_again(kind: str) -> None:
    failures = dict.fromkeys([3, 7], 1)

    def work(value: dict) -> dict:
        if failures.get(value["id"], 0):
            failures[value["id"]] -= 1
            raise OSError("away")
        return value

    ran = run(many(Watched(work).of(kind)), *ids(*[b"k"] * 3, *[None] * 7))
    assert values_of(ran) == list(range(10))
    assert ran.waits == [1.0]


@each_kind
@pytest.mark.parametrize("error", [SystemExit, StopIteration, KeyboardInterrupt, GeneratorExit])
def test_whatever_escapes_is_its_records_error(kind: str, error: type[BaseException]) -> None:
    def work(value: dict) -> dict:
        if value["id"] == 2:
            raise error
        return value

    ran = run(many(Watched(work).of(kind)), *ids(*[None] * 6))
    assert values_of(ran) == [0, 1, 3, 4, 5]
    assert set(ran.failed) == {2}


def test_a_task_that_is_cancelled_from_within_fails_alone() -> None:
    async def op(value: dict) -> dict:
        if value["id"] == 1:
            raise asyncio.CancelledError
        return value

    ran = run(many(op), *ids(*[None] * 4))
    assert values_of(ran) == [0, 2, 3]
    assert "CancelledError" in ran.failed[1]


def test_a_task_that_cancels_itself_and_returns_costs_its_own_record() -> None:
    async def op(value: dict) -> dict:
        if value["id"] == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        return value

    ran = run(many(op, 1), *ids(*[None] * 4))
    assert values_of(ran) == [0, 2, 3]
    assert "CancelledError" in ran.failed[1]


def test_a_task_that_takes_too_long_is_cancelled() -> None:
    cancelled: list[int] = []

    async def op(value: dict) -> dict:
        try:
            await asyncio.sleep(3600 if value["id"] == 1 else 0)
        except asyncio.CancelledError:
            cancelled.append(value["id"])
            raise
        return value

    ran = run(many(op, timeout=0.05), *ids(*[None] * 4))
    assert values_of(ran) == [0, 2, 3]
    assert ran.conditions == {1: Condition.TIMEOUT}
    assert "longer than 50ms" in ran.failed[1]
    assert len(ran.failure().attempts) == 3  # as often as the policy allows
    assert cancelled == [1, 1, 1]


def test_a_task_that_survives_its_cancellation_stops_the_ticks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker must look as if it stood still, or nobody would ever end it."""
    now = 0.0
    started, swallowed = threading.Event(), threading.Event()
    release: asyncio.Event
    ticked: list[float] = []
    looked: list[float] = []

    def clock() -> float:
        looked.append(now)
        if looked.count(100.0) > 10:
            release.set()
        return now

    async def op(value: dict) -> dict:
        nonlocal release
        release = asyncio.Event()
        started.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            swallowed.set()
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return value

    monkeypatch.setattr(tasks, "monotonic", clock)
    monkeypatch.setattr(tasks, "_LOOK_EVERY", 0.001)
    ready = [replace(bound(op), concurrency=2, timeout=1.0)]
    chain = chain_of(ready[0], pools=Pools(ready, lambda: ticked.append(now)))
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run, chain, *ids(None))
        assert started.wait(30)
        now = 2.0
        assert swallowed.wait(30)
        now = 100.0
        running.result(30)
    assert 2.0 in ticked
    assert 100.0 not in ticked[:-1]  # one look may have begun before the clock moved on


def test_a_timeout_of_its_own_is_an_ordinary_error() -> None:
    async def op(value: dict) -> dict:
        raise TimeoutError("of the database")

    ran = run(many(op, timeout=5.0), *ids(None))
    assert ran.conditions == {0: Condition.OPERATOR_ERROR}
    assert "of the database" in ran.failed[0]


def test_async_is_one_at_a_time_by_default() -> None:
    watched = Watched()
    ran = run(many(watched.of("tasks"), 1), *ids(*[None] * 10))
    assert values_of(ran) == list(range(10))
    assert watched.most == 1
    assert watched.seen == list(range(10))


def test_an_async_generator_gives_several_outputs() -> None:
    async def op(value: dict) -> Any:
        for part in range(value["id"]):
            yield {"id": value["id"], "part": part}
            await asyncio.sleep(0)

    assert values_of(run(many(op), *ids(*[None] * 4))) == [1, 2, 2, 3, 3, 3]


def test_a_generator_runs_in_its_thread() -> None:
    names: set[str] = set()

    def op(value: dict) -> Iterator[dict]:
        names.add(threading.current_thread().name)
        yield value

    assert values_of(run(many(op), *ids(*[None] * 4))) == [0, 1, 2, 3]
    assert all(name.startswith("operator") for name in names)


@each_kind
def test_all_forms_of_outputs_are_as_ever(kind: str) -> None:
    def work(value: dict) -> Any:
        return [DROP, value, [value, value], Record(value, key=b"new")][value["id"]]

    ran = run(many(Watched(work).of(kind)), *ids(*[b"k"] * 4))
    assert values_of(ran) == [1, 2, 2, 3]
    assert ran.outputs.keys == [b"k", b"k", b"k", b"new"]


def test_records_and_nulls_are_as_ever() -> None:
    async def op(record: Record) -> Record:
        return record.replace(headers=[("n", b"%d" % record.value["id"])])

    first, null = ids(b"a", b"b")
    null._value = None
    ran = run(many(op), first, null)
    assert ran.outputs.values == [b'{"id":0}', None]
    assert ran.outputs.headers == [[("n", b"0")], None]


def test_an_async_batch_operator_is_waited_for() -> None:
    async def op(values: list[dict]) -> list[dict]:
        await asyncio.sleep(0)
        if any(value["id"] == 2 for value in values):
            raise Permanent("one of them")
        return values

    ran = run(chain_of(op), *ids(*[None] * 5))
    assert values_of(ran) == [0, 1, 3, 4]
    assert set(ran.failed) == {2}


def ticks_of(kind: str, records: int, timeout: float) -> int:
    ticks: list[None] = []
    operator = replace(bound(Watched(seconds=0.05).of(kind)), concurrency=4, timeout=timeout)
    pools = Pools([operator], lambda: ticks.append(None))
    run(chain_of(operator, pools=pools), *ids(*[None] * records))
    pools.close()
    return len(ticks)


def test_threads_tell_of_each_record_that_is_done() -> None:
    assert ticks_of("threads", 10, 300.0) == 10


def test_tasks_tell_that_their_loop_is_alive() -> None:
    assert ticks_of("tasks", 10, 0.2) >= 2


def test_a_call_that_swallows_its_cancelling_is_cancelled_again() -> None:
    async def op(value: dict) -> dict:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(10)
        return value

    ran = run(many(op, timeout=0.05), *ids(None, None))
    assert set(ran.conditions.values()) == {Condition.TIMEOUT}


def test_a_call_that_ends_well_though_it_is_late_counts() -> None:
    async def op(value: dict) -> dict:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(10)
        return value

    async def after(value: dict) -> dict:
        await asyncio.sleep(0.001)
        return value

    ran = run(chain_of(*(replace(bound(o), timeout=0.05) for o in (op, after))), *ids(None, None))
    assert (values_of(ran), ran.failed) == ([0, 1], {})


def test_what_idles_goes_when_it_is_closed() -> None:
    before = threading.active_count()
    operators = [replace(bound(Watched().of(kind)), concurrency=4) for kind in KINDS]
    pools = Pools(operators, lambda: None)
    run(chain_of(*operators, pools=pools), *ids(*[None] * 10))
    assert threading.active_count() > before
    pools.close()
    assert threading.active_count() == before


def test_async_hooks_run_in_the_loop_of_the_calls() -> None:
    loops: list[Any] = []

    class Op:
        async def open(self) -> None:
            loops.append(asyncio.get_running_loop())

        async def __call__(self, value: dict) -> dict:
            loops.append(asyncio.get_running_loop())
            return value

        async def close(self) -> None:
            loops.append(asyncio.get_running_loop())

    operator = bound(Op)
    pools = Pools([operator], lambda: None)
    pools.resolve(operator.open())
    run(chain_of(operator, pools=pools), *ids(None))
    pools.resolve(operator.close())
    pools.close()
    assert len(loops) == 3
    assert len(set(loops)) == 1


@each_kind
def test_as_many_as_were_asked_for_are_in_hand(kind: str) -> None:
    """Each waits until all have come."""
    arrived: list[int] = []
    deadline = time.monotonic() + 20

    def blocking(value: dict) -> dict:
        arrived.append(value["id"])
        while len(arrived) < 64 and time.monotonic() < deadline:
            time.sleep(0.001)
        return value

    async def waiting(value: dict) -> dict:
        arrived.append(value["id"])
        while len(arrived) < 64 and time.monotonic() < deadline:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.001)
        return value

    operator = blocking if kind == "threads" else waiting
    assert len(run(many(operator, 64), *ids(*[None] * 64)).values) == 64
    assert time.monotonic() < deadline
