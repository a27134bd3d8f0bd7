"""The operator alone, without Kafka."""

from kafka_etl.testing import run_operator

from my_project import mask


def test_equal_values_stay_equal() -> None:
    records = [{"email": "ann"}, {"email": "bob"}, {"email": "ann"}]
    first, second, third = run_operator(mask, records, fields=["email"]).outputs
    assert first.value == third.value != second.value


def test_the_hash_depends_on_the_salt() -> None:
    assert mask({"a": 1}, fields=["a"], salt="x") != mask({"a": 1}, fields=["a"], salt="y")


def test_other_fields_stay() -> None:
    assert mask({"a": 1}, fields=["b"]) == {"a": 1}
