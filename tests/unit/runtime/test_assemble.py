"""What a worker makes of a pipeline."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_etl.contracts import Guarantee, Label, Limits, Preflight
from kafka_etl.errors import BrokenPlugin, SinkFailed
from kafka_etl.runtime.worker.assemble import make_door, make_letter_door, smallest_slice
from kafka_etl.runtime.worker.store_offsets import prepare
from kafka_etl.testing import (
    MemoryBroker,
    MemorySender,
    MemorySink,
    MemoryStore,
    MemoryTarget,
    MemoryWriter,
    deployment,
)


def pipeline(*operators: tuple[bool, int]) -> Any:
    return SimpleNamespace(
        source_settings=SimpleNamespace(batch=SimpleNamespace(max_records=500)),
        operators=[
            SimpleNamespace(shape=SimpleNamespace(mixes=mixes), concurrency=concurrency)
            for mixes, concurrency in operators
        ],
    )


@pytest.mark.parametrize(
    ("operators", "size"),
    [([], 1), ([(False, 1), (False, 64)], 64), ([(False, 1), (True, 1)], 500)],
)
def test_what_operators_see_at_once_is_run_at_once(
    operators: list[tuple[bool, int]], size: int
) -> None:
    assert smallest_slice(pipeline(*operators)) == size


TARGET = MemoryTarget()
EXACTLY, AT_LEAST = Guarantee.EXACTLY_ONCE, Guarantee.AT_LEAST_ONCE


def building(door: Any, guarantee: Guarantee = AT_LEAST) -> Any:
    """A pipeline with a sink `shop` that builds this door, and dead letters to another one."""
    plugin = SimpleNamespace(build=lambda _settings, _deployment: door, letters=None)
    return SimpleNamespace(
        source_settings=None,
        sink=plugin,
        sink_settings=None,
        letters=plugin,
        letters_settings=None,
        label=Label(guarantee, "so it is"),
        spec=SimpleNamespace(
            sink=SimpleNamespace(use="shop"), dead_letter=SimpleNamespace(use="shop")
        ),
    )


@pytest.mark.parametrize("door", [MemoryWriter(TARGET), MemorySender(TARGET)])
def test_only_a_store_may_promise_exactly_once(door: Any) -> None:
    says = "sink shop built Memory.*: the label promises exactly_once, which .* only a Store can"
    with pytest.raises(BrokenPlugin, match=says):
        make_door(building(door, EXACTLY), deployment())
    with pytest.raises(BrokenPlugin, match=says):  # preflight tells before any worker runs
        prepare(building(door, EXACTLY), deployment(), Preflight(), lambda _reason: None)
    for guarantee in (AT_LEAST, Guarantee.EFFECTIVELY_ONCE):
        assert make_door(building(door, guarantee), deployment()) is door


def test_a_store_and_a_sink_of_the_framework_may_promise_it() -> None:
    for door in (MemoryStore(TARGET), MemorySink(MemoryBroker(), "group")):
        assert make_door(building(door, EXACTLY), deployment()) is door


def make_letters_door(pipeline: Any, place: Any) -> Any:
    return make_letter_door(pipeline.letters, pipeline, place)


@pytest.mark.parametrize("make", [make_door, make_letters_door])
def test_a_wrong_door_is_the_plugins_fault(make: Any) -> None:
    with pytest.raises(BrokenPlugin, match="sink shop built NoneType: the class must derive from"):
        make(building(None), deployment())
    with pytest.raises(BrokenPlugin, match=r"built MemoryWriter: `limits\.rows` must be"):
        make(building(MemoryWriter(TARGET, limits=Limits(rows=0))), deployment())


def test_dead_letters_to_a_sink_that_keeps_offsets_are_refused_with_a_next_step() -> None:
    store = building(MemoryStore(TARGET))
    with pytest.raises(SinkFailed) as refused:
        make_letter_door(store.letters, store, deployment())
    assert "dead letters cannot go to the sink shop" in refused.value.what
    assert "dead_letter: {topic: NAME}" in refused.value.next_step
