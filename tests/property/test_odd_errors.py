"""Nothing that an operator can raise leaves the rules: it costs its own record a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl import Permanent, Record, RecordErrors, Retry
from kafka_etl.invocation import Condition, ErrorInfo
from kafka_etl.retry import Backoff, RetryPolicy
from tests.unit.engine.kit import chain_of, run

COUNT = 5
MOST = 400_000
"""Characters of a description; far below what a dead letter may hold."""


def refuse(*_args: Any) -> Any:
    raise KeyboardInterrupt


class NoText(Exception):
    __str__ = __repr__ = refuse


class NumberForText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


class Text(str):
    __slots__ = ()
    isascii = encode = __len__ = __getitem__ = __str__ = __format__ = refuse


class TextOfItsOwn(Exception):
    def __str__(self) -> str:
        return Text("own")


class NoClass(Exception):
    __class__ = property(refuse)  # type: ignore[assignment]


class NoCause(Exception):
    __cause__ = __context__ = __traceback__ = __suppress_context__ = property(refuse)  # type: ignore[assignment]


class NoArgs(Exception):
    args = property(refuse)  # type: ignore[assignment]


class NoAttributes(Exception):
    __getattribute__ = refuse


class OddModule(Exception):
    __module__ = 5  # type: ignore[assignment]


def of_an_odd_class() -> BaseException:
    """Made here, as pytest looks at the classes of a module."""

    class Meta(type):
        __module__ = property(refuse)  # type: ignore[assignment]
        __instancecheck__ = __subclasscheck__ = refuse

    return Meta("Odd", (Exception,), {})()  # type: ignore[no-any-return]


class OddRetry(Retry):
    after = property(refuse, lambda _self, _value: None)  # type: ignore[assignment]


class OddErrors(RecordErrors):
    errors = property(refuse, lambda _self, _value: None)  # type: ignore[assignment]


def named(errors: Any) -> RecordErrors:
    made = RecordErrors({})
    made.errors = errors
    return made


def in_circles() -> BaseException:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def of_itself() -> BaseException:
    one = ValueError("one")
    one.__cause__ = one
    return one


def many_causes() -> BaseException:
    error: BaseException = ValueError("first")
    for number in range(1000):
        following = NoText(number)
        following.__cause__ = error
        error = following
    return error


def deep() -> BaseException:
    def down(n: int) -> None:
        if n:
            down(n - 1)
        raise ValueError("deep")

    try:
        down(500)
    except ValueError as error:
        return error
    raise AssertionError


def every_class(base: type[BaseException] = BaseException) -> Iterator[type[BaseException]]:
    for cls in base.__subclasses__():
        if cls.__module__ in {"builtins", "asyncio.exceptions", "concurrent.futures._base"}:
            yield cls
            yield from every_class(cls)


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "UnicodeDecodeError": ("utf-8", b"\xff" * 10_000_000, 0, 1, "odd"),
    "UnicodeEncodeError": ("utf-8", "\ud800", 0, 1, "odd"),
    "UnicodeTranslateError": ("\ud800", 0, 1, "odd"),
    "BaseExceptionGroup": ("odd", [ValueError("x" * 10_000_000), NoText()]),
    "ExceptionGroup": ("odd", [ValueError("x" * 10_000_000), NoText()]),
    "IncompleteReadError": (b"", 1),
    "LimitOverrunError": ("odd", 1),
}


def made(cls: type[BaseException]) -> Callable[[], BaseException]:
    return lambda: cls(*ARGUMENTS.get(cls.__name__, ("odd",)))


ODD: list[Callable[[], BaseException]] = [
    NoText,
    NumberForText,
    TextOfItsOwn,
    NoClass,
    NoCause,
    NoArgs,
    NoAttributes,
    OddModule,
    of_an_odd_class,
    OddRetry,
    lambda: OddErrors({}),
    lambda: named(5),
    lambda: named({}),
    lambda: named({"0": ValueError()}),
    lambda: named({True: ValueError()}),
    lambda: named({99: ValueError()}),
    lambda: named({-1: ValueError()}),
    in_circles,
    of_itself,
    many_causes,
    deep,
    lambda: ValueError("x" * 10_000_000),
    lambda: KeyError("x" * 10_000_000),
    lambda: ValueError("\ud800" * 1_000_000),
    lambda: ValueError(b"\xff" * 1_000_000),
    lambda: ValueError(10**5000),
    lambda: type("x" * 1_000_000, (Exception,), {})("long name"),
    lambda: type("Odd", (Exception,), {"__module__": "\ud800"})("odd name"),
    lambda: SystemExit(NoText()),
    lambda: Permanent(NoText()),
    lambda: pl.exceptions.PanicException("panic"),
    *map(made, every_class()),
]
errors = st.sampled_from(ODD)
guilty_ones = st.integers(0, COUNT - 1)
policies = st.sampled_from(
    [
        RetryPolicy(max_attempts=1),
        RetryPolicy(max_attempts=3, backoff=Backoff(jitter="none")),
        RetryPolicy(max_attempts=2, only=(Exception,)),
    ]
)


def operators_raising(  # noqa: C901 - one of each form
    make: Callable[[], BaseException], guilty: int
) -> list[Any]:
    """One of each form; the record `guilty` has it raise."""

    def by_value(value: dict) -> dict:
        if value["n"] == guilty:
            raise make()
        return value

    def generator(value: dict) -> Iterator[dict]:
        yield value
        if value["n"] == guilty:
            raise make()

    def by_record(record: Record) -> Record:
        if record.value["n"] == guilty:
            raise make()
        return record

    def by_batch(values: list[dict]) -> list[dict]:
        if any(value["n"] == guilty for value in values):
            raise make()
        return values

    def by_table(table: pa.Table) -> pa.Table:
        if guilty in table["n"].to_pylist():
            raise make()
        return table

    async def awaited(value: dict) -> dict:
        if value["n"] == guilty:
            raise make()
        return value

    return [by_value, generator, by_record, by_batch, by_table, awaited]


@given(errors, guilty_ones, st.integers(0, 5), policies)
@settings(deadline=None)
def test_any_error_costs_its_record(
    make: Callable[[], BaseException], guilty: int, form: int, policy: RetryPolicy
) -> None:
    operator = operators_raising(make, guilty)[form]
    ran = run(chain_of(operator), *[{"n": n} for n in range(COUNT)], policy=policy)
    assert ran.conditions == {guilty: Condition.OPERATOR_ERROR}
    assert len(ran.outcome.failed) == 1
    assert ran.values == [{"n": n} for n in range(COUNT) if n != guilty]
    assert ran.origins == [n for n in range(COUNT) if n != guilty]
    assert size(ran.failure().error) < MOST
    assert sum(len(attempt.error) for attempt in ran.failure().attempts) < MOST


@pytest.mark.parametrize("make", ODD, ids=range(len(ODD)))
def test_any_error_is_described_in_bounded_size(make: Callable[[], BaseException]) -> None:
    error = make()
    started = perf_counter()
    info = ErrorInfo.of(error)
    assert perf_counter() - started < 5
    assert size(info) < MOST
    for text in (info.type, info.message, info.traceback, *info.causes):
        assert type(text) is str
        assert text.encode() is not None
    assert info.type
    assert info.message


def size(info: ErrorInfo) -> int:
    return len(info.type) + len(info.message) + len(info.traceback) + sum(map(len, info.causes))


def test_of_a_deep_recursion_the_begin_and_the_end_are_told() -> None:
    lines = ErrorInfo.of(deep()).traceback.split("\n")
    assert len(lines) == 101
    assert lines[50] == "  … 402 more frames"
    assert lines[-1].endswith("in down")


def test_a_long_text_says_how_long_it_was() -> None:
    said = ErrorInfo.of(ValueError("x" * 10_000_000)).message
    assert said.startswith("xxx")
    assert said.endswith("… (10,000,000 characters)")
