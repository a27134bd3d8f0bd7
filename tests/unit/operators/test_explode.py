from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl import Context
from kafka_etl.functions.bind import BoundOperator, bind, settings_of
from kafka_etl.plugins import PluginRegistry
from kafka_etl_operators.explode import explode
from tests.unit.engine.kit import run


def bound(**settings: Any) -> BoundOperator:
    """As a pipeline builds it."""
    checked = settings_of(explode, "explode").model_validate(settings)
    return bind(explode, checked, Context(operator="explode"))


def test_it_is_installed_as_explode() -> None:
    assert PluginRegistry.installed().operator("explode")[0] is explode


def test_each_element_is_an_output_with_all_other_fields() -> None:
    value = {"order": 7, "items": ["a", "b"]}
    assert bound(field="items").call(value) == [
        {"order": 7, "items": "a"},
        {"order": 7, "items": "b"},
    ]
    assert bound(field="items", into="item", number="n").call(value) == [
        {"order": 7, "item": "a", "n": 0},
        {"order": 7, "item": "b", "n": 1},
    ]
    assert value == {"order": 7, "items": ["a", "b"]}, "what it was given is left alone"


def test_an_empty_list_drops_and_anything_else_fails_alone() -> None:
    values = ({"l": []}, {"l": [1]}, {"l": 5}, {"m": []}, [], None)
    ran = run(bound(field="l"), *values)
    assert ran.values == [{"l": 1}, None]
    assert ran.outcome.dropped == 1
    assert set(ran.failed) == {2, 3, 4}
    assert "`l` holds no list, but int" in ran.failed[2]


@pytest.mark.parametrize("settings", [{"number": "l"}, {"into": "x", "number": "x"}])
def test_one_field_for_two_things_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="holds something else"):
        bound(field="l", **settings)


@given(st.lists(st.integers()), st.dictionaries(st.text(min_size=2), st.integers()))
def test_nothing_is_lost(elements: list[int], rest: dict[str, int]) -> None:
    made = bound(field="l").call({**rest, "l": elements})
    assert [value["l"] for value in made] == elements
    assert all({**value, "l": 0} == {**rest, "l": 0} for value in made)
