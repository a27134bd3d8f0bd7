from __future__ import annotations

import copy
from typing import Any

import pytest

from kafka_etl import Context
from kafka_etl.functions.bind import BoundOperator, bind, settings_of
from kafka_etl.functions.signature import Takes
from kafka_etl.plugins import PluginRegistry
from kafka_etl_operators.fields import fields

ORDER = {"id": 7, "amount": 12.5, "note": None, "customer": {"name": "Ada", "id": 1}}
RENAMED = {"amount": 12.5, "note": None, "number": 7}


def bound(settings: dict[str, Any]) -> BoundOperator:
    """As a pipeline builds it: settings checked by the model, then the factory called."""
    model = settings_of(fields, "fields").model_validate(settings)
    return bind(fields, model, Context(operator="fields"))


GOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"keep": ["id"]}, {"id": 7}),
    ({"keep": ["note", "id", "absent"]}, {"note": None, "id": 7}),
    ({"keep": ["absent"]}, {}),
    ({"keep": ["id", "id"]}, {"id": 7}),
    ({"drop": ["customer", "absent"]}, {"id": 7, "amount": 12.5, "note": None}),
    ({"drop": ["id", "amount", "note", "customer"]}, {}),
    ({"drop": ["absent"]}, ORDER),
    ({"rename": {"id": "number", "absent": "x"}, "drop": ["customer"]}, RENAMED),
    ({"keep": ["id", "note"], "rename": {"id": "order_id"}}, {"order_id": 7, "note": None}),
    ({"keep": ["id", "note"], "rename": {"id": "note", "note": "id"}}, {"note": 7, "id": None}),
    ({"keep": ["id"], "rename": {"id": "amount"}}, {"amount": 7}),
    ({"keep": ["id"], "rename": {"id": "id"}}, {"id": 7}),
    ({"drop": ["customer", "note"], "rename": {"id": "note"}}, {"amount": 12.5, "note": 7}),
    ({"drop": ["absent"], "rename": {"absent2": "id"}}, ORDER),
]


@pytest.mark.parametrize(("settings", "expected"), GOOD, ids=str)
def test_fields_are_kept_dropped_and_renamed(
    settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    result = bound(settings).call(ORDER)
    assert result == expected
    assert list(result) == list(expected)


@pytest.mark.parametrize("settings", [settings for settings, _ in GOOD], ids=str)
def test_the_input_is_left_alone(settings: dict[str, Any]) -> None:
    given = copy.deepcopy(ORDER)
    result = bound(settings).call(given)
    assert given == ORDER
    assert result is not given


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "set at least one of `keep`, `drop` and `rename`"),
        ({"keep": ["a"], "drop": ["b"]}, "`keep` and `drop` exclude each other"),
        ({"keep": []}, "`keep` names no field"),
        ({"drop": []}, "`drop` names no field"),
        ({"keep": ["a"], "rename": {}}, "`rename` names no field"),
        ({"rename": {"a": "x", "b": "x"}}, "gives 2 fields the name `x`"),
        ({"keep": ["a", "b"], "rename": {"a": "b"}}, "`a` is renamed to `b`, which is kept"),
        ({"keep": ["a"], "rename": {"b": "c"}}, "names `b`, which does not stay"),
        ({"drop": ["a"], "rename": {"a": "b"}}, "names `a`, which does not stay"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bound(settings)


def test_a_new_name_that_is_taken_fails_its_record() -> None:
    call = bound({"rename": {"id": "number"}}).call
    assert call({"id": 1}) == {"number": 1}
    with pytest.raises(ValueError, match="gives the name `number` to a second field"):
        call({"id": 1, "number": 2})
    assert call({"number": 2}) == {"number": 2}


def test_two_fields_can_change_places() -> None:
    call = bound({"rename": {"a": "b", "b": "a"}}).call
    assert call({"a": 1, "b": 2}) == {"a": 2, "b": 1}
    assert call({"a": 1}) == {"b": 1}


def test_names_with_dots_are_names_of_top_level_fields() -> None:
    call = bound({"drop": ["customer.name"]}).call
    assert call({"customer.name": 1, **ORDER}) == ORDER


@pytest.mark.parametrize("settings", [{"keep": ["a"]}, {"drop": ["a"]}, {"rename": {"a": "b"}}])
@pytest.mark.parametrize("value", [[1], "a", b"a", 1, True])
def test_a_value_without_fields_fails_with_its_type(settings: dict[str, Any], value: Any) -> None:
    with pytest.raises(TypeError, match=f"an object with fields, not {type(value).__name__}"):
        bound(settings).call(value)


@pytest.mark.parametrize("settings", [{"keep": ["a"]}, {"drop": ["a"]}, {"rename": {"a": "b"}}])
def test_it_takes_values_and_lets_tombstones_pass(settings: dict[str, Any]) -> None:
    shape = bound(settings).shape
    assert shape.takes is Takes.VALUE
    assert not shape.nullable
    assert not shape.may_drop


def test_it_is_installed_as_fields() -> None:
    assert PluginRegistry.installed().operator("fields")[0] is fields
