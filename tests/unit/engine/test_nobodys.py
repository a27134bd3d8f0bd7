"""Control flow and what is away are nobody's fault: never a dead letter, at whatever stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from kafka_etl import Record
from kafka_etl.contracts import Abandoned, Unavailable
from kafka_etl.engine.pools.pools import Pools
from kafka_etl.engine.pools.processes import ProcessPool
from kafka_etl.engine.rows.mapping import PoolFailed
from kafka_etl.errors import KafkaEtlError, SchemaMissing
from kafka_etl.functions.bind import Isolation
from kafka_etl.invocation import Condition
from kafka_etl.retry import RetryPolicy
from tests.unit.engine.kit import bound, chain_of, json, records, run

ONCE = RetryPolicy(max_attempts=1)
NOBODYS = [Abandoned(), Unavailable("away"), SchemaMissing("no schema"), KafkaEtlError("stop")]


def raising(error: BaseException) -> list[Any]:
    """Operators of every form that raise it, and what they are given first."""

    def by_value(_value: dict) -> dict:
        raise error

    def by_record(_record: Record) -> Record:
        raise error

    def by_batch(_values: list[dict]) -> list[dict]:
        raise error

    def by_table(_table: pa.Table) -> pa.Table:
        raise error

    def by_frame(_frame: pl.DataFrame) -> pl.DataFrame:
        raise error

    return [by_value, by_record, by_batch, by_table, by_frame]


@pytest.mark.parametrize("form", range(5))
def test_an_operator_may_say_that_a_system_is_away(form: int) -> None:
    operator = raising(Unavailable("away"))[form]
    with pytest.raises(Unavailable):
        run(chain_of(operator), {"n": 1}, {"n": 2}, policy=ONCE)
    with pytest.raises(Unavailable):
        run(chain_of(unchanged, operator), {"n": 1}, {"n": 2}, policy=ONCE)


@pytest.mark.parametrize("error", [Abandoned(), SchemaMissing("no schema"), KafkaEtlError("stop")])
@pytest.mark.parametrize("form", range(5))
def test_errors_of_the_engines_own_cost_the_record_if_an_operator_raises_them(
    error: BaseException, form: int
) -> None:
    ran = run(chain_of(raising(error)[form]), {"n": 1}, {"n": 2}, policy=ONCE)
    assert set(ran.conditions.values()) == {Condition.OPERATOR_ERROR}
    assert len(ran.failed) == 2


def unchanged(value: dict) -> dict:
    return value


@pytest.mark.parametrize("error", NOBODYS, ids=lambda e: type(e).__name__)
def test_it_passes_where_keys_are_encoded(error: BaseException) -> None:
    def encode(_key: Any) -> bytes:
        raise error

    def op(record: Record) -> Record:
        return record.replace(key="new")

    with pytest.raises(type(error)):
        run(replace_key_codec(chain_of(op), replace(json(), encode=encode)), 1, 2, policy=ONCE)


def replace_key_codec(chain: Any, codec: Any) -> Any:
    return replace(chain, encode=replace(chain.encode, key=codec))


class Lying(ValueError):
    """Says of itself that it is the end of the worker."""

    __class__ = Abandoned  # type: ignore[assignment]


@pytest.mark.parametrize("form", range(5))
def test_an_error_that_only_says_so_is_its_records(form: int) -> None:
    ran = run(chain_of(raising(Lying())[form]), {"n": 1}, {"n": 2}, policy=ONCE)
    assert set(ran.conditions.values()) == {Condition.OPERATOR_ERROR}
    assert len(ran.failed) == 2


# Operators in processes of their own


class Process:
    """One that never answers, or that cannot be had."""


def in_processes(operator: Any, monkeypatch: pytest.MonkeyPatch, raised: BaseException) -> Any:
    """The chain of an operator in processes whose pool raises this by itself."""

    def listen(_self: ProcessPool, _run: object) -> None:
        raise raised

    monkeypatch.setattr(ProcessPool, "_listen", listen)
    ready = replace(bound(operator), isolation=Isolation.PROCESS)
    pools = Pools([ready], lambda: None, spawn=lambda _name, _file: Process())  # type: ignore[arg-type, return-value]
    return chain_of(ready, pools=pools)


@pytest.mark.parametrize("error", [Abandoned(), OSError("no process"), ValueError("of `open`")])
@pytest.mark.parametrize("form", range(5))
def test_what_a_pool_raises_itself_passes(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, form: int
) -> None:
    """The worker gives its calls up, or the process does not start: no record is to blame."""
    chain = in_processes(raising(ValueError())[form], monkeypatch, error)
    with pytest.raises(type(error)) as caught:
        run(chain, {"n": 1}, {"n": 2}, policy=ONCE)
    assert caught.value is error


def test_the_pools_error_is_told_apart_before_the_invoker(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = in_processes(raising(ValueError())[2], monkeypatch, OSError())
    with pytest.raises(PoolFailed):
        chain.attempt(records({"n": 1}))
