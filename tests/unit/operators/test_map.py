from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl import Context, Record
from kafka_etl.functions.bind import BoundOperator, bind, settings_of
from kafka_etl.functions.signature import Takes
from kafka_etl.plugins import PluginRegistry
from kafka_etl_operators.map import map_fields
from tests.unit.engine.kit import run


def bound(**fields: str) -> BoundOperator:
    """As a pipeline builds it."""
    settings = settings_of(map_fields, "map").model_validate({"set": fields})
    return bind(map_fields, settings, Context(operator="map"))


def test_it_is_installed_as_map() -> None:
    assert PluginRegistry.installed().operator("map")[0] is map_fields


def test_a_field_is_set_and_the_others_stay() -> None:
    value = {"qty": 3, "price": 2.5}
    assert bound(total="value.qty * value.price").call(value) == {**value, "total": 7.5}
    assert value == {"qty": 3, "price": 2.5}, "what it was given is left alone"


def test_all_look_at_the_record_as_it_came() -> None:
    swap = bound(a="value.b", b="value.a")
    assert swap.call({"a": 1, "b": 2, "c": 3}) == {"a": 2, "b": 1, "c": 3}
    assert list(swap.call({"a": 1, "b": 2, "c": 3})) == ["a", "b", "c"]


def test_what_looks_at_more_than_the_value_takes_records() -> None:
    operator = bound(place="partition", id="value.id")
    assert operator.shape.takes is Takes.RECORD
    made = operator.call(Record({"id": 1}, key=b"k"))
    assert made.value == {"id": 1, "place": -1}
    assert made.key == b"k"


def test_null_values_pass_and_others_fail_alone() -> None:
    ran = run(bound(b="value.a"), None, {"a": 1}, [1], {"c": 1}, 5)
    assert ran.values == [None, {"a": 1, "b": 1}]
    assert set(ran.failed) == {2, 3, 4}
    assert "an object with fields, not list" in ran.failed[2]


def test_no_field_is_refused() -> None:
    with pytest.raises(ValueError, match="names no field"):
        bound()


@given(st.dictionaries(st.text(), st.integers()), st.integers(), st.integers())
def test_it_is_the_comprehension_one_would_write(rest: Any, a: int, b: int) -> None:
    value = {**rest, "a": a, "b": b}
    made = bound(s="value.a + value.b", t="value.a > value.b").call(value)
    assert made == {**value, "s": a + b, "t": a > b}
