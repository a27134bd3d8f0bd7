"""Operators that take one value at a time: what they are given, and what their results mean."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

import pytest

from kafka_etl import DROP, Context, Permanent, Record, operator
from kafka_etl.codecs import BYTES, TEXT
from kafka_etl.invocation import Condition
from tests.unit.engine.kit import bound, chain_of, run


class Fields(TypedDict):
    a: int


def test_an_unannotated_parameter_is_given_the_decoded_value() -> None:
    def op(value):
        return {"got": value}

    assert run(op, {"a": 1}, [1], "text", 5, True).values == [
        {"got": given} for given in ({"a": 1}, [1], "text", 5, True)
    ]


def test_bytes_are_given_raw_and_written_raw() -> None:
    def op(value: bytes) -> bytes:
        return value + b"!"

    assert run(op, b"\xff\xfe", b"").outputs.values == [b"\xff\xfe!", b"!"]


def test_text_is_decoded_from_utf8() -> None:
    def op(value: str) -> str:
        return value.upper()

    ran = run(chain_of(op, sink=TEXT), "é".encode(), b"\xff")
    assert ran.outputs.values == ["É".encode()]
    assert ran.failure().condition is Condition.DECODE_ERROR
    assert ran.failure().operator == "text"


def test_text_may_be_written_where_no_codec_is_named() -> None:
    def op(value: bytes) -> str:
        return value.decode()

    assert run(chain_of(op, value=BYTES, sink=BYTES), b"a").outputs.values == [b"a"]


def test_outputs_take_no_more_room_than_they_need() -> None:
    chain = chain_of(lambda value: value)
    inputs = [{"n": n, "text": "x" * 50} for n in range(1000)]
    tracemalloc.start()
    ran = run(chain, *inputs)
    room, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(ran.outputs) == 1000
    assert room < 1000 * 1000  # with the encoder's buffers it would be 4,000,000 at least


def test_without_operators_bytes_pass_as_they_are() -> None:
    assert run(chain_of(), b"{broken", None, b"").outputs.values == [b"{broken", None, b""]


def test_what_cannot_be_decoded_fails_alone() -> None:
    def op(value: dict) -> dict:
        return value

    ran = run(op, {"n": 0}, b"{", {"n": 2}, b"\xff", {"n": 4})
    assert ran.values == [{"n": 0}, {"n": 2}, {"n": 4}]
    assert ran.origins == [0, 2, 4]
    assert [(f.index, f.condition, f.operator) for f in ran.outcome.failed] == [
        (1, Condition.DECODE_ERROR, "json"),
        (3, Condition.DECODE_ERROR, "json"),
    ]


def test_what_cannot_be_encoded_fails_alone() -> None:
    def op(value: int) -> Any:
        return {value} if value == 1 else value

    ran = run(op, 0, 1, 2)
    assert ran.values == [0, 2]
    assert ran.origins == [0, 2]
    assert ran.failure().condition is Condition.ENCODE_ERROR
    assert ran.failure().operator == "codec json"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"order": {"items": [1, "b", 1j]}},
            "Type is not JSON serializable: complex, at order.items[2]",
        ),
        ({"a": ({"b": 2**70},)}, "Integer exceeds 64-bit range, at a[0].b"),
        ({"a": {1: 2}}, "Dict key must be str, at a"),
        ([[{"a"}]], "Type is not JSON serializable: set, at [0]"),
        ({"a"}, "Type is not JSON serializable: set"),
    ],
)
def test_what_cannot_be_encoded_is_named(value: Any, said: str) -> None:
    def op(_value: int) -> Any:
        return value

    assert run(op, 0).failed == {0: f"TypeError: {said}"}


def test_what_holds_itself_fails_as_any_other() -> None:
    def op(value: dict) -> dict:
        value["self"] = value
        return value

    assert run(op, {}).failed == {0: "TypeError: Recursion limit reached"}


@pytest.mark.parametrize(
    "annotation", [dict, dict[str, int], Mapping[str, Any], Fields, dict | None]
)
@pytest.mark.parametrize("batch", [False, True])
def test_what_is_no_dict_is_refused_where_one_is_asked_for(annotation: Any, *, batch: bool) -> None:
    def op(value):
        return [{"got": one} for one in value] if batch else {"got": value}

    op.__annotations__["value"] = list[annotation] if batch else annotation
    ran = run(op, {"a": 1}, [], [{"a": 2}], "text", 5, b"null", {"a": 3})
    assert ran.values == [{"got": {"a": 1}}, {"got": None}, {"got": {"a": 3}}]
    assert (set(ran.failed), ran.outcome.dropped) == ({1, 2, 3, 4}, 0)
    assert set(ran.conditions.values()) == {Condition.DECODE_ERROR}
    assert "Expected `object | null`, got `array`" in ran.failed[1]


def test_nor_is_a_dict_a_list() -> None:
    def op(value: list) -> dict:
        return {"count": len(value)}

    ran = run(op, [1], {"a": 1}, [])
    assert (ran.values, set(ran.failed)) == ([{"count": 1}, {"count": 0}], {1})


@pytest.mark.parametrize("annotation", [dict | list, Any, object, int])
def test_nothing_is_refused_where_the_annotation_leaves_it_open(annotation: Any) -> None:
    def op(value):
        return {"got": value}

    op.__annotations__["value"] = annotation
    assert run(op, {}, [1], 5).values == [{"got": {}}, {"got": [1]}, {"got": 5}]


@pytest.mark.parametrize("answer", [DROP, None])
def test_dropped_records_are_counted_and_gone(answer: Any) -> None:
    def op(value: int) -> int | None:
        return answer if value % 2 else value

    ran = run(op, 0, 1, 2, 3, 4)
    assert (ran.values, ran.origins, ran.outcome.dropped) == ([0, 2, 4], [0, 2, 4], 2)
    assert ran.failed == {}


def test_drop_needs_no_annotation() -> None:
    def op(value):
        return DROP

    assert run(op, 1, 2).outcome.dropped == 2


@pytest.mark.parametrize("annotation", [Any, int, dict])
def test_a_forgotten_return_is_an_error(annotation: Any) -> None:
    def op(value):
        pass

    op.__annotations__["return"] = annotation
    ran = run(op, 1, 2)
    assert ran.outcome.dropped == 0
    assert ran.failed == {
        0: "TypeError: returned None; return DROP, or annotate `-> dict | None`",
        1: "TypeError: returned None; return DROP, or annotate `-> dict | None`",
    }


def test_a_list_is_several_outputs_in_order() -> None:
    def op(value: int) -> list[int]:
        return [value * 10 + i for i in range(value)]

    ran = run(op, 2, 1, 3)
    assert ran.values == [20, 21, 10, 30, 31, 32]
    assert ran.origins == [0, 0, 1, 2, 2, 2]
    assert ran.outputs.keys == [b"k0", b"k0", b"k1", b"k2", b"k2", b"k2"]


def test_an_empty_list_is_a_drop() -> None:
    def op(value: int) -> list[int]:
        return [value] * value

    ran = run(op, 0, 1, 0)
    assert (ran.values, ran.outcome.dropped) == ([1], 2)


def test_none_in_a_list_fails_the_record_with_all_of_its_outputs() -> None:
    def op(value: int) -> list[int | None]:
        return [1, None] if value else [2]

    ran = run(op, 0, 1)
    assert ran.values == [2]
    assert "list with None" in ran.failed[1]


def test_drop_in_a_list_leaves_that_output_out() -> None:
    def op(value: int) -> list[Any]:
        return [value, DROP, value]

    ran = run(op, 7)
    assert (ran.values, ran.outcome.dropped) == ([7, 7], 1)


def test_a_generator_gives_several() -> None:
    def op(value: int) -> Iterator[int]:
        yield from range(value)

    ran = run(op, 2, 0, 1)
    assert (ran.values, ran.origins) == ([0, 1, 0], [0, 0, 2])


def test_a_generator_that_raises_late_gives_nothing() -> None:
    def op(value: int) -> Iterator[int]:
        yield 1
        if value == 1:
            raise Permanent("late")
        yield 2

    ran = run(op, 0, 1, 2)
    assert ran.values == [1, 2, 1, 2]
    assert ran.origins == [0, 0, 2, 2]
    assert ran.failed == {1: "kafka_etl.errors.Permanent: late"}


def test_any_iterator_gives_several() -> None:
    def op(value: int) -> Any:
        return map(str, range(value))

    assert run(op, 2).values == ["0", "1"]


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: next(iter(())), "EscapedStopIteration"),
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: {}["key"], "KeyError: 'key'"),
    ],
)
def test_whatever_is_raised_is_the_records(deed: Any, error: str) -> None:
    def op(value: int) -> int:
        if value == 1:
            deed()
        return value

    ran = run(op, 0, 1, 2)
    assert ran.values == [0, 2]
    assert error in ran.failed[1]
    assert ran.failure().condition is Condition.OPERATOR_ERROR
    assert ran.failure().operator == "op"


def test_a_later_failure_takes_all_outputs_of_its_record() -> None:
    def split(value: int) -> list[int]:
        return [value, value + 1]

    def even(value: int) -> int:
        if value == 3:
            raise Permanent("three")
        return value

    ran = run(chain_of(split, even), 0, 2, 4)
    assert ran.values == [0, 1, 4, 5]
    assert ran.origins == [0, 0, 2, 2]
    assert ran.failed == {1: "kafka_etl.errors.Permanent: three"}


def test_operators_follow_one_another() -> None:
    def increase(value: int) -> int:
        return value + 1

    def odd(value: int) -> int | None:
        return value if value % 2 else None

    def twice(value: int) -> list[int]:
        return [value, -value]

    ran = run(chain_of(increase, odd, twice, increase), 0, 1, 2)
    assert ran.values == [2, 0, 4, -2]
    assert ran.origins == [0, 0, 2, 2]


def test_when_everything_is_dropped_later_operators_are_not_called() -> None:
    def drop(value: int) -> Any:
        return DROP

    def never(rows: list[int]) -> list[int]:
        raise AssertionError

    ran = run(chain_of(drop, never), 1, 2)
    assert (ran.values, ran.outcome.dropped, ran.failed) == ([], 2, {})


def test_settings_are_filled_in() -> None:
    def scale(value: float, *, rate: float, unit: str = "EUR") -> dict:
        return {unit: value * rate}

    assert run(chain_of(bound(scale, rate=2)), 1.5).values == [{"EUR": 3.0}]


def test_a_class_is_made_once_and_called_for_each_record() -> None:
    class Number:
        def __init__(self, *, start: int) -> None:
            self.next = start

        def __call__(self, value: dict) -> dict:
            self.next += 1
            return value | {"number": self.next}

    assert run(chain_of(bound(Number, start=5)), {}, {}).values == [{"number": 6}, {"number": 7}]


def test_a_class_needs_no_constructor() -> None:
    class Same:
        def __call__(self, value: dict) -> dict:
            return value

    assert run(Same, {"a": 1}).values == [{"a": 1}]


def test_a_factory_makes_the_operator() -> None:
    def adding(*, amount: int, context: Context) -> Any:
        def add(value: int) -> dict:
            return {context.operator: value + amount}

        return add

    assert run(chain_of(bound(adding, amount=3)), 4).values == [{"adding": 7}]


def test_the_context_tells_the_attempt() -> None:
    def op(value: int, context: Context) -> dict:
        if context.attempt < 3:
            raise OSError
        return {"attempt": context.attempt, "worker": context.worker, "pipeline": context.pipeline}

    assert run(op, 1).values == [{"attempt": 3, "worker": "w", "pipeline": "p"}]


def test_what_is_declared_overrules_the_annotation() -> None:
    @operator(takes="value")
    def op(rows: list[dict]) -> dict:
        return {"count": len(rows)}

    assert run(op, [{}, {}]).values == [{"count": 2}]


def test_json_null_is_a_value_and_no_tombstone() -> None:
    def op(value: dict | None) -> str:
        return repr(value)

    assert run(op, b"null", None).values == ["None", "None"]

    def strict(value: dict) -> str:
        return repr(value)

    assert run(strict, b"null", None).values == ["None", None]


@pytest.mark.parametrize("stage", ["decode", "operator", "batch"])
def test_a_failed_record_does_not_keep_its_batch_alive(stage: str) -> None:
    """Errors hold frames, frames hold the batch: without a collection all of it must go."""
    seen: list[weakref.ref[Any]] = []

    class Held:
        pass

    def one(value: dict) -> dict:
        held = Held()
        seen.append(weakref.ref(held))
        value["held"] = held
        if value["id"] == 1:
            try:
                raise KeyError("first")
            except KeyError:
                raise Permanent("then") from None
        return {"id": value["id"]}

    def many(values: list[dict]) -> list[dict]:
        return [one(value) for value in values]

    given: list[Any] = [{"id": i} for i in range(4)]
    if stage == "decode":
        given[1] = b"{broken"
    gc.collect()
    gc.disable()
    try:
        ran = run(many if stage == "batch" else one, *given)
        assert set(ran.failed) == {1}
        del ran
        assert [ref() for ref in seen] == [None] * len(seen)
    finally:
        gc.enable()


def test_a_forgotten_return_is_an_error_beside_drops_and_failures() -> None:
    def op(value: int) -> Any:
        return {0: DROP, 1: None, 2: value, 3: [value, value]}[value]

    ran = run(op, 0, 1, 2, 4)
    assert ran.values == [2]
    assert set(ran.failed) == {1, 3}
    assert "returned None" in ran.failed[1]
    assert ran.outcome.dropped == 1
    assert run(op, 0, 1, 2, 3, 4).values == [2, 3, 3]


def test_values_and_records_may_be_mixed() -> None:
    def op(value: int) -> Any:
        return [value, Record(value, key=b"new"), Record(value).to("other"), DROP][value]

    ran = run(chain_of(op, routes=frozenset({"other"})), 0, 1, 2, 3)
    assert ran.values == [0, 1, 2]
    assert ran.outputs.keys == [b"k0", b"new", b"k2"]
    assert ran.outputs.topics == [None, None, "other"]
    assert ran.outcome.dropped == 1


def test_what_an_earlier_operator_set_stays_below_a_new_record() -> None:
    def first(record: Record) -> Record:
        return record.replace(headers=[("h", b"1")], key=b"first")

    def second(value: int) -> Any:
        return Record(value, key=b"second") if value else value

    ran = run(chain_of(first, second), 0, 1)
    assert ran.outputs.keys == [b"first", b"second"]
    assert ran.outputs.headers == [[("h", b"1")]] * 2
