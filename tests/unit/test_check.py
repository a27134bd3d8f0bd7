"""The checker of exactly-once runs notices each way in which a run can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.kit.check import problems
from tests.kit.kafka import Stored

BROKEN = b"{broken"


@dataclass
class Run:
    """What was put in, and what came of it."""

    inputs: list[Stored]
    outputs: list[Stored]
    letters: list[Stored]

    def problems(self) -> list[str]:
        return problems(self.inputs, self.outputs, self.letters, is_bad=lambda v: v == BROKEN)


def stored(topic: str, number: int, value: bytes, **headers: str) -> Stored:
    pairs = [(f"kafka_etl.{name}", text.encode()) for name, text in headers.items()]
    return Stored(topic, number % 2, number // 2, b"k%d" % (number % 4), value, [*pairs], 0)


def letter(record: Stored) -> Stored:
    place = {"partition": str(record.partition), "offset": str(record.offset)}
    pairs = [(f"kafka_etl.{name}", text.encode()) for name, text in place.items()]
    return replace(record, topic="dlq", headers=pairs)


def right() -> Run:
    inputs = [stored("in", i, BROKEN if i % 5 == 3 else b'{"id":%d}' % i) for i in range(20)]
    good = [r for r in inputs if r.value != BROKEN]
    return Run(
        inputs,
        [replace(r, topic="out", offset=i) for i, r in enumerate(good)],
        [letter(r) for r in inputs if r.value == BROKEN],
    )


def lost(run: Run) -> None:
    run.outputs.pop(3)


def twice(run: Run) -> None:
    run.outputs.append(run.outputs[-1])


def invented(run: Run) -> None:
    run.outputs.append(replace(run.outputs[-1], value=b'{"id":99}'))


def out_of_order(run: Run) -> None:
    first, second = (i for i, r in enumerate(run.outputs) if r.key == b"k0" and i < 8)
    run.outputs[first], run.outputs[second] = run.outputs[second], run.outputs[first]


def under_another_key(run: Run) -> None:
    run.outputs[0] = replace(run.outputs[0], key=b"other")


def no_dead_letter(run: Run) -> None:
    run.letters.pop()


def dead_letter_twice(run: Run) -> None:
    run.letters.append(run.letters[0])


def dead_letter_of_other_bytes(run: Run) -> None:
    run.letters[0] = replace(run.letters[0], value=BROKEN + b" ")


def dead_letter_of_another_key(run: Run) -> None:
    run.letters[0] = replace(run.letters[0], key=b"other")


def dead_letter_of_another_place(run: Run) -> None:
    run.letters[0] = letter(replace(run.letters[0], offset=77))


def a_good_record_dead(run: Run) -> None:
    good = run.outputs.pop()
    run.letters.append(letter(next(r for r in run.inputs if r.value == good.value)))


def a_bad_record_let_through(run: Run) -> None:
    run.outputs.append(replace(run.letters.pop(), topic="out"))


WRONG = [
    lost,
    twice,
    invented,
    out_of_order,
    under_another_key,
    no_dead_letter,
    dead_letter_twice,
    dead_letter_of_other_bytes,
    dead_letter_of_another_key,
    dead_letter_of_another_place,
    a_good_record_dead,
    a_bad_record_let_through,
]


def test_a_right_run_is_right() -> None:
    assert right().problems() == []


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_run_is_wrong(wrong: Callable[[Run], None]) -> None:
    run = right()
    wrong(run)
    assert run.problems() != []
