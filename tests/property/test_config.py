"""Hundreds of pipeline files, each one mistake away from a good one."""

from __future__ import annotations

import copy
import json
import random
import string
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_etl.config.report import Finding, Loc
from kafka_etl.errors import Code
from tests.unit.config.project import findings_in

GOOD: dict[str, Any] = {
    "name": "orders-eur",
    "kafka": {"bootstrap.servers": "localhost:9092", "security.protocol": "plaintext"},
    "consumer": {"session.timeout.ms": 10_000, "fetch.min.bytes": 1},
    "producer": {"compression.type": "lz4", "linger.ms": 5},
    "source": {
        "use": "kafka",
        "with": {
            "topics": ["orders"],
            "group": "orders-eur",
            "start": "earliest",
            "membership": "static",
            "value": "json",
            "key": "bytes",
            "batch": {"max_records": 100, "max_bytes": "16MiB", "max_wait": "20ms"},
        },
    },
    "operators": [
        {"use": "filter", "with": {"where": "value.currency == 'USD'"}, "name": "dollars"},
        {
            "use": "ops:to_eur",
            "with": {"rate": 0.92, "rounding": "half_up"},
            "timeout": "5s",
            "retry": {"max_attempts": 2},
        },
        {"use": "fields", "with": {"drop": ["secret"], "rename": {"a": "b"}}},
    ],
    "sink": {
        "use": "kafka",
        "with": {
            "topic": "orders-eur",
            "routes": ["orders-other"],
            "timestamp": "source",
            "create": {"partitions": 4, "replication_factor": 1, "config": {"retention.ms": 1000}},
        },
    },
    "guarantee": "exactly_once",
    "retry": {
        "max_attempts": 4,
        "backoff": {"initial": "200ms", "factor": 2, "max": "30s", "jitter": "full"},
        "never": ["KeyError"],
    },
    "dead_letter": {
        "topic": "orders-eur.dlq",
        "format": "raw",
        "limit": {"max_consecutive": 100},
    },
    "workers": 2,
    "drain_timeout": "10s",
}
OPS = """
from typing import Literal

def to_eur(order: dict, *, rate: float, rounding: Literal["half_up", "down"] = "down") -> dict:
    return order
"""

ANYTHING_GOES = [  # whose keys are the user's own
    ("operators", 2, "with", "rename"),
    ("sink", "with", "create", "config"),
]
REQUIRED: list[Loc] = [
    ("name",),
    ("source",),
    ("sink",),
    ("source", "use"),
    ("source", "with", "topics"),
    ("sink", "with", "topic"),
    ("operators", 0, "use"),
    ("operators", 0, "with", "where"),
    ("operators", 1, "with", "rate"),
    ("kafka", "bootstrap.servers"),
]


class Text:
    """Data as YAML, one entry a line, and where each part of it stands; knows nothing of ours."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.lines: list[str] = []
        self.keys: dict[Loc, tuple[int, int]] = {}
        self.values: dict[Loc, tuple[int, int]] = {}
        self._write_mapping(data, (), "")

    def __str__(self) -> str:
        return "\n".join(self.lines) + "\n"

    def _write_mapping(self, data: dict[str, Any], loc: Loc, indent: str) -> None:
        for key, value in data.items():
            self._write(f"{key}:", value, (*loc, key), indent)

    def _write(self, head: str, value: Any, loc: Loc, indent: str) -> None:
        line = len(self.lines) + 1
        self.keys[loc] = line, len(indent) + 1
        if type(value) is dict and value:
            self.lines.append(f"{indent}{head}")
            self.values[loc] = line + 1, len(indent) + 3
            self._write_mapping(value, loc, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            self.lines.append(f"{indent}{head}")
            self.values[loc] = line + 1, len(indent) + 3
            for index, entry in enumerate(value):
                self._write_entry(entry, (*loc, index), indent + "  ")
        else:  # JSON is YAML
            self.lines.append(f"{indent}{head} {json.dumps(value)}")
            self.values[loc] = line, len(indent) + len(head) + 2

    def _write_entry(self, entry: dict[str, Any], loc: Loc, indent: str) -> None:
        start = len(self.lines)
        self.keys[loc] = start + 1, len(indent) + 3
        self._write_mapping(entry, loc, indent + "  ")
        self.lines[start] = f"{indent}- {self.lines[start].lstrip()}"


@contextmanager
def project() -> Iterator[Path]:
    sys.modules.pop("ops", None)  # of another test of this process
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ops.py").write_text(OPS)
        yield Path(folder)


def every_place(data: Any, loc: Loc = ()) -> Iterator[Loc]:
    """All keys, however deep."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for part, value in items:
        place = (*loc, part)
        if isinstance(part, str):
            yield place
        if isinstance(value, dict) or (isinstance(value, list) and place[-1] == "operators"):
            yield from every_place(value, place)


PLACES = list(every_place(GOOD))
OWN_KEYS = [place for place in PLACES if place[:-1] not in ANYTHING_GOES]


def holder(data: Any, loc: Loc) -> Any:
    for part in loc[:-1]:
        data = data[part]
    return data


def renamed(loc: Loc, name: str) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    inner = holder(data, loc)
    entries = [(name if key == loc[-1] else key, value) for key, value in inner.items()]
    inner.clear()
    inner.update(entries)
    return data


def replaced(loc: Loc, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    holder(data, loc)[loc[-1]] = value
    return data


def typos(word: str, rng: random.Random) -> list[str]:
    """Four slips of all kinds: a letter less, more, wrong, twice or swapped, or two of these."""
    i = rng.randrange(len(word) - 1)
    letter = rng.choice(string.ascii_lowercase)
    slips = {
        word[:i] + word[i + 1 :],
        word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        word[:i] + word[i] + word[i:],
        word[:i] + letter + word[i + 1 :],
        word + letter,
    }
    if len(word) > 4:
        once = word[:i] + word[i + 1 :]
        j = rng.randrange(len(once) - 1)
        slips.add(once[:j] + letter + once[j + 1 :])
    possible = sorted(slips - {word})
    return rng.sample(possible, min(4, len(possible)))


def at(found: list[Finding], place: tuple[int, int]) -> list[Finding]:
    return [f for f in found if f.mark is not None and (f.mark.line, f.mark.column) == place]


def test_the_good_one_is_good() -> None:
    with project() as folder:
        assert findings_in(folder, str(Text(GOOD))) == []


def test_typos_in_keys_are_found_where_they_are_and_understood() -> None:
    """All are found at their line and column; at least 90 % with the right word suggested."""
    rng = random.Random(1)
    made, understood = 0, 0
    with project() as folder:
        for loc in OWN_KEYS:
            word = str(loc[-1])
            siblings = {str(key) for key in holder(GOOD, loc)}
            for typo in set(typos(word, rng)) - siblings:
                text = Text(renamed(loc, typo))
                found = at(findings_in(folder, str(text)), text.keys[*loc[:-1], typo])
                codes = {finding.code for finding in found}
                assert codes & {Code.UNKNOWN_KEY, Code.KAFKA_SETTING_REFUSED}, (loc, typo)
                made += 1
                understood += any(f"`{word}`" in finding.hint for finding in found)
    assert made >= 200
    assert understood >= 0.9 * made


CHOICES: list[tuple[Loc, str]] = [
    (("source", "use"), "kafka"),
    (("source", "with", "value"), "json"),
    (("source", "with", "key"), "bytes"),
    (("source", "with", "start"), "earliest"),
    (("source", "with", "membership"), "static"),
    (("operators", 0, "use"), "filter"),
    (("operators", 1, "with", "rounding"), "half_up"),
    (("operators", 2, "use"), "fields"),
    (("guarantee",), "exactly_once"),
    (("retry", "backoff", "jitter"), "full"),
    (("retry", "never"), "KeyError"),
]


def test_typos_in_choices_are_found_where_they_are_and_understood() -> None:
    rng = random.Random(2)
    made, understood = 0, 0
    with project() as folder:
        for loc, word in CHOICES:
            for typo in typos(word, rng):
                text = Text(replaced(loc, [typo] if loc[-1] == "never" else typo))
                (finding,) = findings_in(folder, str(text))
                assert finding.mark is not None
                assert finding.mark.line == text.values[loc][0], (loc, typo)
                made += 1
                understood += f"`{word}`" in finding.hint
    assert understood >= 0.9 * made


class Flow(dict[str, Any]):
    """A mapping that is written in one line."""


WRONG_TYPES: list[Any] = [None, [[1]], Flow(x=Flow(y=1)), "«nonsense»"]


def test_values_of_a_wrong_type_are_found_in_their_line() -> None:
    made = 0
    with project() as folder:
        for loc in OWN_KEYS:
            if loc[-1] == "where":
                continue  # any text may be an expression; tests of its own
            for wrong in WRONG_TYPES:
                if fits(loc, wrong):
                    continue
                text = Text(replaced(loc, wrong))
                found = findings_in(folder, str(text))
                lines = {finding.mark.line for finding in found if finding.mark is not None}
                assert text.keys[loc][0] in lines, (loc, wrong)
                made += 1
    assert made >= 200


MAY_BE_EMPTY = {
    ("guarantee",),
    ("dead_letter",),
    ("dead_letter", "format"),
    ("source", "with", "group"),
    ("operators", 0, "name"),
    ("operators", 1, "retry"),
    ("operators", 2, "with", "drop"),
    ("operators", 2, "with", "rename"),
    ("sink", "with", "create"),
    ("sink", "with", "create", "partitions"),
    ("sink", "with", "create", "replication_factor"),
    ("sink", "with", "timestamp"),
}


def fits(loc: Loc, value: Any) -> bool:
    """Whether this is no mistake."""
    client_setting = len(loc) == 2 and loc[0] in {"kafka", "consumer", "producer"}
    if isinstance(value, str):
        return client_setting or loc == ("source", "with", "group")
    return value is None and loc in MAY_BE_EMPTY


def test_missing_keys_are_found_at_what_should_hold_them() -> None:
    with project() as folder:
        for loc in REQUIRED:
            data = copy.deepcopy(GOOD)
            del holder(data, loc)[loc[-1]]
            text = Text(data)
            found = findings_in(folder, str(text))
            place = text.keys.get(loc[:-1], (1, 1))
            missing = [f for f in at(found, place) if f.code == Code.MISSING_KEY]
            assert [f"`{loc[-1]}` is missing" in f.message for f in missing] == [True], loc


def test_further_keys_are_found_wherever_they_are() -> None:
    with project() as folder:
        for loc in {place[:-1] for place in OWN_KEYS}:
            data = copy.deepcopy(GOOD)
            holder(data, (*loc, "x"))["surplus"] = 1
            text = Text(data)
            (finding,) = findings_in(folder, str(text))
            assert at([finding], text.keys[*loc, "surplus"]), loc


def test_two_mistakes_are_two_findings() -> None:
    """Whichever two: neither hides the other."""
    rng = random.Random(3)
    alone = [loc for loc in OWN_KEYS if loc not in REQUIRED and len(loc) > 1]
    with project() as folder:
        for _ in range(100):
            one, other = rng.sample(alone, 2)
            data = copy.deepcopy(GOOD)
            if one[: len(other)] == other or other[: len(one)] == one:
                continue
            for loc in (one, other):
                holder(data, loc)["surplus"] = 1
            text = Text(data)
            found = findings_in(folder, str(text))
            assert all(at(found, text.keys[*loc[:-1], "surplus"]) for loc in (one, other))


LINES = str(Text(GOOD)).splitlines(keepends=True)
PIECES = st.one_of(
    st.sampled_from(list("\t\n :-{}[]\"'#&*!|>%@`,?$\\~<=\0\x07\x85\u2028\ufeff")),
    st.sampled_from(["${", "${X}", "<<: *a", "&a ", "*a", "- ", "!!set ", "---\n", "? ", "% x\n"]),
    st.text(max_size=3),
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_scribble_in_a_file_is_answered_with_a_traceback(data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        column = data.draw(st.integers(0, len(lines[number])))
        lines[number] = lines[number][:column] + data.draw(PIECES) + lines[number][column:]
    with project() as folder:
        for finding in findings_in(folder, "".join(lines), {"X": "a: [b"}):
            assert finding.render().startswith(f"error[{finding.code}]: ")


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    ),
    st.sampled_from(PLACES),
)
def test_no_value_anywhere_is_answered_with_a_traceback(value: Any, loc: Loc) -> None:
    with project() as folder:
        for finding in findings_in(folder, json.dumps(replaced(loc, value))):
            assert finding.render().startswith(f"error[{finding.code}]: ")
