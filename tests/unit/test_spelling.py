"""What is suggested for a word that is unknown."""

from __future__ import annotations

import pytest

from kafka_etl.spelling import did_you_mean


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("topcis", "did you mean `topics`?"),
        ("TOPICS", "did you mean `topics`?"),
        ("sasl_ssl", "did you mean `SASL_SSL`?"),
        ("colour", ""),
        ("", ""),
    ],
)
def test_only_what_is_close_is_suggested(word: str, says: str) -> None:
    assert did_you_mean(word, ["topics", "value", "SASL_SSL"]) == says
