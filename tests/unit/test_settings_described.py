"""Descriptions of settings out of docstrings, in the words of a pipeline file."""

from __future__ import annotations

import pytest

from kafka_etl.docstrings import settings_described, summary_of
from kafka_etl.errors import ExtraMissing
from kafka_etl.extras import require_extra

MODEL = """Settings of a sink,
    which has two.

    More about it.

    Attributes:
        path: File of the rows, which
            is made: if need be.
        wait: How long to wait; None: for ever. True: not at all.
    """

FUNCTION = """Convert an order.

    Args:
        rate: None: the rate of today.

    Raises:
        ValueError: `rate` is no rate.
    """


def test_a_summary_ends_before_the_first_section() -> None:
    assert summary_of(MODEL) == "Settings of a sink, which has two.\n\nMore about it."
    assert summary_of(FUNCTION) == "Convert an order."
    assert summary_of("") == ""


def test_attributes_of_a_model_and_arguments_of_a_function_are_settings() -> None:
    assert settings_described(MODEL) == {
        "path": "File of the rows, which is made: if need be.",
        "wait": "How long to wait; left out: for ever. true: not at all.",
    }
    assert settings_described(FUNCTION) == {"rate": "Left out: the rate of today."}
    assert settings_described("No section.") == {}


def test_a_module_in_a_package_that_is_not_there_is_missing() -> None:
    with pytest.raises(ExtraMissing, match=r"no_such\.module"):
        require_extra("odd", "it needs", "no_such.module")
