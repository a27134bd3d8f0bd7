"""Every error a user meets has a code of its own, a place in the tree, and says what to do next."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from kafka_etl import errors
from kafka_etl.errors import Code, KafkaEtlError
from tests.kit import error_page

CLASSES = sorted(
    (c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, KafkaEtlError)),
    key=lambda c: c.__name__,
)
RAISED = [c for c in CLASSES if c is not KafkaEtlError]


def test_codes_are_unique() -> None:
    counts = Counter(str(c.code) for c in CLASSES)
    assert {code for code, n in counts.items() if n > 1} == set()
    assert len({code.value for code in Code}) == len(Code.__members__)


def test_codes_of_findings_belong_to_no_class_but_their_own() -> None:
    own = {c.code for c in CLASSES if isinstance(c.code, Code)}
    taken = {str(c.code) for c in CLASSES if not isinstance(c.code, Code)}
    assert taken.isdisjoint(set(Code))
    assert own <= set(Code)


@pytest.mark.parametrize("cls", RAISED, ids=lambda c: c.__name__)
def test_an_error_says_what_to_do_next(cls: type[KafkaEtlError]) -> None:
    assert re.fullmatch(r"E[1-9]\d\d", cls.code)
    assert "advice" in vars(cls), "its own, not the base's"
    assert cls.advice.endswith(".")
    assert cls("it happened").problem.next_step == cls.advice


@pytest.mark.parametrize("cls", [c for c in RAISED if c.pauses], ids=lambda c: c.__name__)
def test_what_pauses_also_says_what_to_do_when_there_is_nothing_to_resume(
    cls: type[KafkaEtlError],
) -> None:
    assert "resume" in cls.advice
    assert "after `--until-end`, run it again" in cls.advice.replace("After", "after")


def test_the_page_has_them_all() -> None:
    assert error_page.PAGE.read_text() == error_page.page()


def test_the_tree_at_the_top_of_the_file_shows_them_all() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(E\d\d\d)?", errors.__doc__ or ""))
    assert drawn.pop("KafkaEtlError") == ""
    # Of operators, and what becomes of them: no code.
    own = {"Permanent", "Retry", "RecordErrors", "OperatorTimeout", "OperatorDied"}
    assert {drawn.pop(name) for name in own} == {""}
    assert drawn == {c.__name__: str(c.code) for c in RAISED}
