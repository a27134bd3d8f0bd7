"""Records whose fate is written in them, operators that bring it about, and who checks it.

Any mixture of records, operators, sizes and mishaps must end with what the fates say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from hypothesis import strategies as st

from kafka_etl import DROP, Permanent, Record
from kafka_etl.testing import MemoryBroker, StoredRecord

Kind = Literal["ok", "drop", "many", "bad", "flaky", "unencodable", "refused", "broken", "null"]
Form = Literal["value", "generator", "record", "values", "records"]
FORMS: tuple[Form, ...] = ("value", "generator", "record", "values", "records")
FAILING = {"bad", "unencodable", "refused", "broken"}
STAGES = 2


@dataclass(frozen=True)
class Fate:
    """What becomes of a record, and at which operator.

    Attributes:
        count: Of outputs for `many`, of failures for `flaky`.
    """

    kind: Kind = "ok"
    stage: int = 0
    count: int = 1

    def value(self, number: int) -> bytes | None:
        """The source bytes of record `number`."""
        if self.kind == "null":
            return None
        if self.kind == "broken":
            return b"{broken"
        fields = {"id": number, "kind": self.kind, "stage": self.stage, "count": self.count}
        return orjson.dumps(fields)


fates = st.builds(
    Fate,
    kind=st.sampled_from(
        [*["ok"] * 4, "drop", "many", "bad", "flaky", "unencodable", "refused", "broken", "null"]
    ),
    stage=st.integers(0, STAGES - 1),
    count=st.integers(1, 3),
)
forms = st.lists(st.sampled_from(FORMS), min_size=STAGES, max_size=STAGES)


class Operators:
    """Operators of these forms, one a stage; they change what they are given in place."""

    def __init__(self, chosen: Sequence[Form]) -> None:
        self.calls = 0
        self.on_call: Any = lambda: None
        self._chosen = chosen
        self._failures: Counter[int] = Counter()

    def __iter__(self) -> Iterator[Any]:
        return (self._operator(stage, form) for stage, form in enumerate(self._chosen))

    def _act(self, stage: int, value: dict[str, Any]) -> list[Any]:
        """The outputs of one value; raises what its fate says."""
        self.calls += 1
        self.on_call()
        assert f"seen{stage}" not in value, "an attempt must start from the source bytes"
        value[f"seen{stage}"] = True
        if value["stage"] != stage:
            return [value]
        match value["kind"]:
            case "bad":
                raise Permanent("bad")
            case "drop":
                return []
            case "many":
                return [{**value, "copy": copy} for copy in range(value["count"])]
            case "unencodable":
                return [{**value, "set": {1}}]
            case "flaky" if self._failures[value["id"]] < value["count"]:
                self._failures[value["id"]] += 1
                raise OSError("away")
            case _:
                return [value]

    def _operator(self, stage: int, form: Form) -> Any:
        def by_value(value: dict) -> Any:
            made = self._act(stage, value)
            return made[0] if len(made) == 1 else made or DROP

        def generator(value: dict) -> Iterator[Any]:
            yield from self._act(stage, value)

        def record(record: Record) -> Any:
            return [record.replace(value=made) for made in self._act(stage, record.value)]

        def values(values: list[dict]) -> list[Any]:
            return [next(iter(self._act(stage, value)), DROP) for value in values]

        def records(records: list[Record]) -> list[Any]:
            return [r.replace(value=made) for r in records for made in self._act(stage, r.value)]

        made = {
            "value": by_value,
            "generator": generator,
            "record": record,
            "values": values,
            "records": records,
        }
        return made[form]


def expected(fate: Fate, chosen: Sequence[Form]) -> int:
    """How many outputs a record has when it does not fail."""
    if fate.kind == "drop":
        return 0
    if fate.kind == "many" and chosen[fate.stage] != "values":
        return fate.count
    return 1


def is_refused(value: bytes | None) -> bool:
    return value is not None and b'"refused"' in value


def problems(
    written: Sequence[Fate], chosen: Sequence[Form], broker: MemoryBroker, topic: str = "out"
) -> list[str]:
    """What is wrong with a finished run; record `number` has the key `number`."""
    outputs = broker.records(topic)
    letters = Counter(int(letter.record.key() or b"") for letter in broker.dead_letters)
    found = [
        f"{number} ({fate.kind}) has {made} outputs and {letters[number]} dead letters"
        for number, fate in enumerate(written)
        if not _is_right(fate, chosen, made := _copies(outputs, number), letters[number])
    ]
    found += [f"{tp} is committed up to {broker.offsets.get(tp)}" for tp in _behind(broker)]
    return found + _disorder(outputs, broker)


def _is_right(fate: Fate, chosen: Sequence[Form], made: list[Any], letters: int) -> bool:
    failed, done = (made, letters) == ([], 1), letters == 0
    if fate.kind in FAILING:
        return failed
    if fate.kind == "null":
        return done and made == [None]
    done = done and len(made) == expected(fate, chosen)
    if fate.kind == "many":
        done = done and [value["copy"] for value in made] == list(range(len(made)))
    # Tried again as a part of a batch, a flaky record may have had its chances.
    return done or (failed and fate.kind == "flaky")


def _copies(outputs: Iterable[StoredRecord], number: int) -> list[Any]:
    """The values that came of one record, in order."""
    made = [r.value() for r in outputs if r.key() == b"%d" % number]
    return [None if value is None else orjson.loads(value) for value in made]


def _behind(broker: MemoryBroker) -> list[Any]:
    return [tp for tp in broker.partitions("in") if broker.offsets.get(tp, 0) != broker.end(tp)]


def _disorder(outputs: Iterable[StoredRecord], broker: MemoryBroker) -> list[str]:
    """Outputs of one source partition stand in the order of their records."""
    place = {r.key(): (r.partition(), r.offset()) for r in broker.records("in")}
    offsets: dict[int, list[int]] = defaultdict(list)
    for record in outputs:
        partition, offset = place[record.key()]
        offsets[partition].append(offset)
    return [
        f"outputs of partition {partition} are out of order: {found}"
        for partition, found in offsets.items()
        if found != sorted(found)
    ]
