"""What is lost, doubled or never sent is seen at the end; a run with kills ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench import kills
from tests.bench.kills import Found, Http, Run, Sqlite, amount, faults, run_with_kills
from tests.kit.kafka import Kafka

COUNT = kills.BAD
ROWS = [(number, amount(number)) for number in range(COUNT - 1)]
BAD = COUNT - 1
NAMES = [f"p/t/0/0/{number}/0" for number in range(COUNT - 1)]


class AtTheEnd:
    """A group and a topic that agree."""

    def ends(self, _topic: str) -> dict[int, int]:
        return {0: COUNT}

    def committed(self, _group: str, _topic: str) -> dict[int, int]:
        return {0: COUNT}


def said(kind: Any, found: Found) -> str:
    kafka: Any = AtTheEnd()
    run = Run(Path(), kafka, "p", "t", "dead")
    target = kind.__new__(kind)
    return "; ".join(faults(target, run, found, COUNT))


def test_what_is_right_is_right():
    assert said(Sqlite, Found(ROWS, [BAD], {0: COUNT})) == ""
    assert said(Http, Found(ROWS, [BAD], names=NAMES)) == ""


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (Found(ROWS[1:], [BAD], {0: COUNT}), "1 rows lost, as [(0, 0.5)]"),
        (Found([*ROWS, ROWS[7]], [BAD], {0: COUNT}), "1 rows doubled, as [(7, 7.5)]"),
        (Found([*ROWS, (3, 0.0)], [BAD], {0: COUNT}), "1 rows never sent, as [(3, 0.0)]"),
        (Found(ROWS, [], {0: COUNT}), f"1 dead letters lost, as [{BAD}]"),
        (Found(ROWS, [BAD, BAD], {0: COUNT}), f"1 dead letters doubled, as [{BAD}]"),
        (Found(ROWS, [BAD, 5], {0: COUNT}), "1 dead letters never sent, as [5]"),
        (Found(ROWS, [BAD], {0: COUNT - 1}), f"the target stands at {{0: {COUNT - 1}}}"),
        (Found(ROWS, [BAD], {0: COUNT}, wrong=["a torn file"]), "a torn file"),
    ],
)
def test_a_fault_is_said(found, fault):
    assert fault in said(Sqlite, found)


def test_a_repeat_is_right_only_under_the_same_id():
    again = [*ROWS, ROWS[7]]
    assert said(Http, Found(again, [BAD], names=[*NAMES, NAMES[7]])) == ""
    for other in ("new", NAMES[8]):
        assert "ids do not tell" in said(Http, Found(again, [BAD], names=[*NAMES, other]))


def test_a_short_run_with_kills(kafka: Kafka, capsys: pytest.CaptureFixture[str]):
    assert run_with_kills(Sqlite, kafka, records=1000, kills=2)
    assert "1,000 rows, 0 repeated; 0 dead letters" in capsys.readouterr().out
