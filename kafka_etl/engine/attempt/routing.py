"""Topic, key, partition and headers of outputs by expressions of the pipeline file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kafka_etl.engine.rows.faults import Fault
from kafka_etl.engine.rows.flow import Flow
from kafka_etl.engine.rows.mapping import FAILED, is_nobodys, map_each
from kafka_etl.expression import Expression
from kafka_etl.invocation import Condition
from kafka_etl.record import KEEP

_ANYWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class Routing:
    """Expressions that are computed for every output, after the operators.

    Attributes:
        topic: The topic; null: the sink's own. A topic that an operator has set stays.
        key: The key; text is written as UTF-8 unless a codec of keys writes it.
        partition: Number of the partition; null: by the key.
        headers: Name -> the header's value; replaces headers of that name.
    """

    topic: Expression | None = None
    key: Expression | None = None
    partition: Expression | None = None
    headers: Mapping[str, Expression] = field(default_factory=dict[str, Expression])

    @property
    def expressions(self) -> tuple[Expression, ...]:
        given = (self.topic, self.key, self.partition, *self.headers.values())
        return tuple(one for one in given if one is not None)

    @property
    def needs_values(self) -> bool:
        """Whether an expression looks at the decoded value."""
        return any("value" in one.names for one in self.expressions)

    @property
    def needs_keys(self) -> bool:
        """Whether an expression looks at the decoded key."""
        return any("key" in one.names for one in self.expressions)

    def apply(self, flow: Flow) -> list[Any] | None:
        """Set topics, keys and headers of a flow; records with a failing expression become faults.

        Returns:
            The partition of each entry, None for one by its key; None: all are.

        Raises:
            GroupFault: An expression fails for an output that belongs to all records.
        """
        compute = _computer(flow)
        topics = self._topics(flow, compute)
        keys = None if self.key is None else [_as_key(key) for key in compute(self.key)]
        headers = self._headers(flow, compute)
        partitions = None if self.partition is None else compute(self.partition)
        if topics is not None:
            flow.extras.topics = topics
        if keys is not None:
            flow.extras.keys = keys
        if headers is not None:
            flow.extras.headers = headers
        return partitions

    def _topics(self, flow: Flow, compute: _Compute) -> list[Any] | None:
        if self.topic is None:
            return None
        found = [None if topic is FAILED else topic for topic in compute(self.topic)]
        given = flow.extras.topics
        if given is None:
            return found
        return [one if own is None else own for own, one in zip(given, found, strict=True)]

    def _headers(self, flow: Flow, compute: _Compute) -> list[Any] | None:
        if not self.headers:
            return None
        columns = {name: compute(expression) for name, expression in self.headers.items()}
        return [
            [
                *(pair for pair in own if pair[0] not in columns),
                *((name, _as_header(column[entry])) for name, column in columns.items()),
            ]
            for entry, own in enumerate(flow.headers_now())
        ]


_Compute = Callable[[Expression], list[Any]]


def _computer(flow: Flow) -> _Compute:
    """A function that computes an expression for all entries; FAILED where it raises."""
    values = flow.as_values()
    records: list[Any] = []

    def compute(expression: Expression) -> list[Any]:
        if expression.value_only:
            found, failed = map_each(expression.on_value(), len(values), values)
        else:
            if not records:
                records.extend(flow.as_records())
            found, failed = map_each(expression.on_record(), len(records), records)
        for entry, error in failed:
            if is_nobodys(error):
                raise error
            flow.fail(entry, Fault(error, Condition.ENCODE_ERROR, "sink"))
        return found

    return compute


def _as_key(key: Any) -> Any:
    if key is FAILED:
        return KEEP
    return key.encode() if isinstance(key, str) else key


def _as_header(value: Any) -> Any:
    if value is None or isinstance(value, bytes):
        return value
    if value is FAILED:
        return None
    if value is True or value is False:
        return b"true" if value else b"false"
    return str(value).encode()


def checked_partitions(
    column: list[Any], topics: list[str | None] | None, own: str, counts: Mapping[str, int]
) -> tuple[list[int], dict[int, BaseException]]:
    """Check partitions: each entry is the number of a partition of its topic, or None.

    Returns:
        The partitions, -1 for None, and entry -> error.
    """
    bad: dict[int, BaseException] = {}
    checked: list[int] = []
    for entry, number in enumerate(column):
        topic = (None if topics is None else topics[entry]) or own
        if number is None or number is FAILED:
            checked.append(_ANYWHERE)
        elif type(number) is int and 0 <= number < counts.get(topic, 0):
            checked.append(number)
        else:
            checked.append(_ANYWHERE)
            bad[entry] = ValueError(
                f"{number!r:.100} is no partition of {topic}, which has {counts.get(topic, 0)}"
            )
    return checked, bad
