from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest

import kafka_etl
from kafka_etl import Context, Record, operator
from kafka_etl.errors import OperatorSignatureError
from kafka_etl.functions.bind import BoundOperator, bind, settings_of
from kafka_etl.functions.signature import Takes


def bound(target: Any, context: Context | None = None, **settings: Any) -> BoundOperator:
    model = settings_of(target, "op")
    return bind(target, model.model_validate(settings), context or Context(operator="op"))


def test_a_function_is_bound_with_its_settings() -> None:
    def op(value: int, *, rate: int = 2) -> int:
        return value * rate

    assert bound(op).call(5) == 10
    assert bound(op, rate=3).call(5) == 15


def test_a_class_is_made_with_its_settings_and_the_context() -> None:
    class Op:
        def __init__(self, *, rate: int, context: Context) -> None:
            self.rate, self.context = rate, context

        def __call__(self, record: Record) -> list[Any]:
            return [self.rate, self.context]

    context = Context(operator="op")
    ready = bound(Op, context, rate=3)
    assert ready.call(Record(1)) == [3, context]
    assert ready.shape.takes is Takes.RECORD


def test_a_context_is_known_by_what_its_annotation_means() -> None:
    class Op:
        def __init__(self, *, where: kafka_etl.Context) -> None:
            self.where = where

        def __call__(self, value: dict) -> str:
            return self.where.operator

    assert bound(Op).call({}) == "op"


def test_a_factory_is_called_with_its_settings_and_the_context() -> None:
    def make(*, rate: int, context: Context) -> Callable[[int], Any]:
        def op(value: int) -> Any:
            return value * rate, context.operator

        return op

    assert bound(make, rate=3).call(2) == (6, "op")


def test_a_factory_may_make_an_object() -> None:
    class Op:
        def __call__(self, value: str) -> str:
            return value

    def make(*, letter: str) -> Any:
        return Op()

    ready = bound(make, letter="a")
    assert ready.shape.takes is Takes.TEXT


def test_open_and_close_belong_to_the_object() -> None:
    calls: list[Any] = []

    class Op:
        def open(self, context: Context) -> None:
            calls.append(("open", context.operator))

        def __call__(self, value: dict) -> dict:
            return value

        def close(self) -> None:
            calls.append("close")

    ready = bound(Op)
    ready.open()
    ready.close()
    assert calls == [("open", "op"), "close"]


def test_a_function_has_nothing_to_open() -> None:
    def op(value: dict) -> dict:
        return value

    op.open = None  # type: ignore[attr-defined]
    bound(op).open()
    bound(op).close()


@pytest.mark.parametrize("place", ["factory", "inner", "class", "call"])
def test_what_is_declared_counts_wherever_it_stands(place: str) -> None:
    mixing = operator(mixes=True, version="7")
    if place in ("factory", "inner"):

        def inner(rows: list[dict]) -> list[dict]:
            return rows

        def make() -> Any:
            return mixing(inner) if place == "inner" else inner

        target: Any = mixing(make) if place == "factory" else make
    else:

        class Op:
            def __call__(self, rows: list[dict]) -> list[dict]:
                return rows

        if place == "call":
            mixing(Op.__call__)
        target = mixing(Op) if place == "class" else Op
    ready = bound(target)
    assert ready.shape.mixes
    assert ready.version == "7"


def test_the_version_changes_with_the_file() -> None:
    def op(value: dict) -> dict:
        return value

    version = bound(op).version
    assert len(version) == 12
    assert int(version, 16) >= 0
    settings = settings_of(op, "op").model_validate({})
    assert bind(op, settings, Context(), version="1.2").version == "1.2"


def test_a_c_function_that_tells_its_parameters_will_do() -> None:
    ready = bound(orjson.loads)
    assert ready.call(b"1") == 1
    assert ready.version == ""


@pytest.mark.parametrize(
    ("target", "what", "fix"),
    [
        (5, "op is a int, not a function or class", "Name a function"),
        (kafka_etl, "op is a module", "Name a function"),
        (min, "does not tell which parameters it has", "Wrap it in a function of your own"),
        (lambda: None, "has no parameter for the record", "a parameter for the record"),
        (lambda: lambda: 1, "what it returns is of type function", "a parameter for the record"),
        (dict, "`**kwargs` cannot be checked", "keyword-only"),
        (int, "takes no record: int", "a parameter for the record"),
        (partial(divmod, 1), "takes no record: partial", "a parameter for the record"),
    ],
)
def test_what_is_no_operator_is_refused_with_the_fix(target: Any, what: str, fix: str) -> None:
    with pytest.raises(OperatorSignatureError) as caught:
        bound(target)
    assert what in caught.value.what
    assert fix in caught.value.next_step


def test_a_class_without_a_call_is_refused() -> None:
    class Op:
        pass

    with pytest.raises(OperatorSignatureError, match="takes no record: Op cannot be called"):
        bound(Op)


def test_async_operators_are_known_wherever_they_hide() -> None:
    async def op(value: dict) -> dict:
        return value

    async def several(value: dict) -> Any:
        yield value

    async def rated(value: dict, *, rate: int = 2) -> dict:
        return value

    class Op:
        async def __call__(self, value: dict) -> dict:
            return value

    for target in (op, several, Op, rated, lambda: op):
        assert bound(target).shape.is_async
        assert bound(target).is_async


def test_async_hooks_need_an_event_loop_too() -> None:
    class Op:
        async def open(self) -> None: ...

        def __call__(self, value: dict) -> dict:
            return value

    assert not bound(Op).shape.is_async
    assert bound(Op).is_async


def test_what_makes_an_operator_is_no_async_function() -> None:
    async def factory() -> Any: ...

    with pytest.raises(OperatorSignatureError, match="without a parameter"):
        bound(factory)


def test_what_a_class_raises_for_its_settings_is_its_own() -> None:
    class Op:
        def __init__(self, *, rate: int) -> None:
            raise LookupError(rate)

        def __call__(self, value: dict) -> dict:
            return value

    with pytest.raises(LookupError):
        bound(Op, rate=1)
