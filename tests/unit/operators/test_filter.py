from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from kafka_etl import DROP, Context, Record
from kafka_etl.expression import Expression
from kafka_etl.functions.bind import BoundOperator, bind, settings_of
from kafka_etl.functions.signature import Takes
from kafka_etl.plugins import PluginRegistry
from kafka_etl.testing import run_operator
from kafka_etl_operators.filter import filter_records


def bound(where: str) -> BoundOperator:
    """As a pipeline builds it: settings checked by the model, then the factory called."""
    settings = settings_of(filter_records, "filter").model_validate({"where": where})
    return bind(filter_records, settings, Context(operator="filter"))


def test_it_is_installed_as_filter() -> None:
    assert PluginRegistry.installed().operator("filter")[0] is filter_records


def test_a_test_of_the_value_takes_values() -> None:
    operator = bound("value.currency == 'USD' and value.amount > 10")
    kept = {"currency": "USD", "amount": 11}
    assert operator.shape.takes is Takes.VALUE
    assert not operator.shape.nullable
    assert operator.call(kept) is kept
    assert operator.call({"currency": "USD", "amount": 10}) is DROP


def test_a_test_of_anything_else_takes_records() -> None:
    operator = bound("key == 'a' and value.amount > 10")
    kept = Record({"amount": 11}, key=b"a")
    assert operator.shape.takes is Takes.RECORD
    assert operator.call(kept) is kept
    assert operator.call(Record({"amount": 11}, key=b"b")) is DROP


def test_a_header_decides() -> None:
    operator = bound("headers['kind'] == 'order'")
    kept = Record(None, headers=[("kind", b"order")])
    assert operator.call(kept) is kept
    assert operator.call(Record(None, headers=[])) is DROP


@pytest.mark.parametrize("where", ["value.a == 1", "value.a == 1 and key == 'k'", "has(value.a)"])
def test_a_tombstone_passes_a_test_of_fields(where: str) -> None:
    assert not bound(where).shape.nullable


@pytest.mark.parametrize(
    ("where", "stays"),
    [
        ("value != null", False),
        ("value == null", True),
        ("value != null and value.a == 1", False),
        ("has(value)", False),
        ("key == 'k'", True),
        ("key == 'other'", False),
        ("topic == ''", True),
    ],
)
def test_a_tombstone_is_asked_what_it_can_answer(where: str, stays: bool) -> None:
    operator = bound(where)
    tombstone = Record(None, key=b"k")
    assert operator.shape.nullable
    assert operator.shape.takes is Takes.RECORD
    assert (operator.call(tombstone) is tombstone) is stays
    assert stays or operator.call(tombstone) is DROP


def test_a_value_that_is_a_list_stays_one_value() -> None:
    assert bound("value[0] == 1").call([1, 2]) == [[1, 2]]


def test_truth_is_as_in_python() -> None:
    operator = bound("value.note")
    assert operator.call({"note": "x"}) == {"note": "x"}
    assert operator.call({"note": ""}) is DROP


def test_a_missing_field_is_an_error_of_its_record() -> None:
    with pytest.raises(KeyError, match="amount"):
        bound("value.amount > 10").call({})


def test_a_bad_expression_is_found_when_the_settings_are_read() -> None:
    with pytest.raises(ValidationError, match="column 1: unknown name `amount`"):
        bound("amount > 10")


@pytest.mark.parametrize("settings", [{}, {"where": 5}, {"where": "true", "when": "true"}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_of(filter_records, "filter").model_validate(settings)


@pytest.mark.parametrize("where", ["value.a == 1", "key == 'a'"])
def test_it_is_a_plain_function_of_one_argument(where: str) -> None:
    function = filter_records(where=Expression(where))
    assert inspect.isfunction(function)
    assert len(inspect.signature(function).parameters) == 1


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("value.status == 'a'", [{"status": "a"}], "value is a list, so it has no field `status`"),
        ("value.a.b > 1", {"a": "text"}, "value.a is text, so it has no field `b`"),
        (
            "(value.k == 'x' and value.a.b == 1) or value.n + 1 > 2",
            {"k": "y", "a": None, "n": "text"},
            'can only concatenate str (not "int") to str',
        ),
        ("value.a.b > 1", {"a": None}, "value.a is null, so it has no field `b`"),
        ("value['a-b'].c", {"a-b": 5}, "value['a-b'] is a number, so it has no field `c`"),
        ("topic == '' or value.a.b.c", {"a": {"b": []}}, "value.a.b is a list, so it has no field"),
        ("value.a[0].b", {"a": [1]}, "value.a[0] is a number, so it has no field `b`"),
        ("value.a.b", {"a": {}}, "'b' is not there"),
        ("value.a < 1", {"a": "x"}, "'<' not supported between instances of 'str' and 'int'"),
    ],
)
def test_what_has_no_fields_is_told(where: str, value: Any, said: str) -> None:
    (failed,) = run_operator(filter_records, [value], where=where).dead_letters
    assert failed.error_text.startswith(said)
