"""The filter of dead letters, in the language of `kafka_etl.expression`.

A filter is evaluated in three rounds, each on what the one before has left: terms over what whole
groups of letters have in common, terms over the index, and terms over the payload in the topic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Final

from kafka_etl.dead_letters.statuses import LetterStatus
from kafka_etl.dlq.rows import Group, LetterRow, Payload
from kafka_etl.expression import Bound, Condition, conditions
from kafka_etl.invocation import Condition as WhyDead
from kafka_etl.units import moment
from kafka_etl.vocabulary import Vocabulary

_PLACES: Final[Mapping[str, str]] = {
    "error": "row.error",
    "condition": "row.condition",
    "time": "row.written_ms",
    "key": "payload.key",
    "value": "payload.value",
    "headers": "_headers(payload.headers)",
    "source": "row.source",
    "attempts": "row.attempts",
    "operator": "row.operator",
    "pipeline": "row.pipeline",
    "fingerprint": "row.fingerprint",
    "family": "row.family",
    "status": "row.status",
    "at": "str(row.place)",
}
_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "error": {"type": "row.error_type", "message": "row.error_text"},
    "source": {
        "topic": "row.source_topic",
        "partition": "row.source_partition",
        "offset": "row.source_offset",
    },
    "operator": {"name": "row.operator", "version": "row.version"},
    "at": {"partition": "row.partition", "offset": "row.offset"},
    **{
        name: {}
        for name in ("condition", "time", "attempts", "pipeline", "fingerprint", "family", "status")
    },
}
_ENDINGS: Final[Mapping[str, str]] = {"error.type": "row.error_name"}
_WORDS: Final[Mapping[str, Collection[str]]] = {
    "condition": tuple(condition.value for condition in WhyDead),
    "status": tuple(status.value for status in LetterStatus),
}
_OF_GROUP: Final = frozenset(
    {"condition", "operator", "operator.name", "operator.version", "error.type"}
    | {"pipeline", "fingerprint", "family", "source.topic"}
)
_OF_PAYLOAD: Final = frozenset({"key", "value", "headers"})
_COLUMNS: Final[Mapping[str, type]] = dict.fromkeys(
    ("partition", "offset", "written_ms", "source_partition", "source_offset", "attempts"), int
)


@dataclass(frozen=True, slots=True)
class Where:
    """A checked filter over dead letters.

    Attributes:
        source: As the user wrote the filter.
        now: The time from which durations such as `2h ago` are counted back.
        text: The filter with such durations as times: it selects the same letters for ever.
        unfit: Number of letters so far to whose payload a term could not be applied.

    Raises:
        ExpressionError: Naming the column, what is wrong and what is allowed.
    """

    source: str
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    text: str = field(init=False)
    _unfit: list[int] = field(default_factory=lambda: [0], repr=False, compare=False)
    _groups: Sequence[Condition] = field(init=False, repr=False, compare=False)
    _rows: Sequence[Condition] = field(init=False, repr=False, compare=False)
    _payloads: Sequence[Condition] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        times = {"time": partial(moment, now=self.now)}
        vocabulary = Vocabulary("row, payload", _PLACES, _FIELDS, times, _ENDINGS, _WORDS)
        text, found = conditions(self.source.strip(), vocabulary)
        payloads = [term for term in found if term.names & _OF_PAYLOAD]
        groups = [term for term in found if term.names <= _OF_GROUP]
        rows = [term for term in found if term not in payloads and term not in groups]
        for name, value in (
            ("text", text),
            ("_groups", groups),
            ("_rows", rows),
            ("_payloads", payloads),
        ):
            object.__setattr__(self, name, value)

    @property
    def needs_rows(self) -> bool:
        """Whether letters of one group may differ, as far as the index knows."""
        return bool(self._rows)

    @property
    def needs_payload(self) -> bool:
        """Whether the filter looks at value, key or headers, which only the topic has."""
        return bool(self._payloads)

    @property
    def bounds(self) -> list[Bound]:
        """What a database can test of the filter, beside `takes_row`."""
        return [bound for term in self._rows if (bound := term.bound(_COLUMNS)) is not None]

    def takes_group(self, group: Group) -> bool:
        """Whether letters of this group may be selected."""
        return _all(self._groups, group, None)

    def takes_row(self, row: LetterRow) -> bool:
        """Whether the letter may be selected, as far as the index knows beside its group."""
        return _all(self._rows, row, None)

    def takes_payload(self, row: LetterRow, payload: Payload) -> bool:
        """Whether the payload is selected.

        A letter to which a term cannot be applied, for want of a field or for another type, is not
        selected, as `filter` lets no such record pass; `unfit` counts these letters.
        """
        try:
            return all(term.test(row, payload) for term in self._payloads)
        except Exception:  # noqa: BLE001 - a term may fail in any way on data of any shape
            self._unfit[0] += 1
            return False

    @property
    def unfit(self) -> int:
        return self._unfit[0]


def _all(terms: Sequence[Condition], row: Group | LetterRow, payload: Payload | None) -> bool:
    try:
        return all(term.test(row, payload) for term in terms)
    except Exception:  # noqa: BLE001 - a term may fail in any way on data of any shape
        return False
