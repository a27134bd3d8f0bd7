"""The last stage: values to bytes, and everything else an output needs, in columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from kafka_etl.codecs import of_class
from kafka_etl.contracts import Codec
from kafka_etl.engine.flow import NULL, Fault, Flow
from kafka_etl.invocation import SHARED, Condition, Outputs
from kafka_etl.record import KEEP, UNCHANGED, Headers, Record
from kafka_etl.typed import is_typed

T = TypeVar("T")

_FRAMING: Final = 128
"""Bytes a record takes on the wire besides key, value and headers; generous."""

_ROOM: Final = 4096
"""A value with this much room below the limit need not be looked at closely."""


@dataclass(frozen=True, slots=True)
class Encode:
    """Values to what the sink writes.

    Attributes:
        value: Codec for whatever is not bytes already.
        key: Codec for keys an operator set.
        topic: The sink's topic; None for a sink without topics.
        routes: Further topics `Record.to` may name.
        size_limits: Topic -> largest record, in bytes.
        source_timestamp: Whether outputs carry the timestamp of their source record.
    """

    value: Codec
    key: Codec
    topic: str | None = None
    routes: frozenset[str] = frozenset()
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    source_timestamp: bool = False

    def apply(self, flow: Flow) -> Outputs:
        """The outputs, with origins as positions in the attempt; what fails is in its faults."""
        if flow.records is not None:
            self._check_routes(flow)
        values = self._values(flow)
        keys = self._keys(flow)
        headers = self._headers(flow)
        timestamps = self._timestamps(flow)
        size = self._size(flow, values)
        outputs = Outputs(
            values=[None if v is NULL else v for v in values] if flow.nulls else values,
            keys=keys,
            headers=headers,
            timestamps=timestamps,
            topics=self._topics(flow),
            origins=flow.origins,
            size=size,
        )
        if flow.faults:
            return outputs.take([e for e in range(len(flow)) if flow.origin(e) not in flow.faults])
        return outputs

    def _check_routes(self, flow: Flow) -> None:
        for entry, record in enumerate(flow.records or ()):
            topic = None if record is None else record.destination
            if topic is not None and topic != self.topic and topic not in self.routes:
                error = ValueError(
                    f"`to({topic!r})`: not the sink's topic nor one of its routes "
                    f"({', '.join(sorted(self.routes)) or 'it has none'})"
                )
                flow.fail(entry, Fault(error, Condition.OPERATOR_ERROR))

    def _values(self, flow: Flow) -> list[Any]:
        kinds = set(map(type, flow.values)) - {type(NULL)}
        if kinds <= {bytes}:
            return flow.values
        return self._each(flow, self._encoder(kinds), flow.values)

    def _encoder(self, kinds: set[type]) -> Callable[[Any], bytes]:
        """One function for values of these types: the codec's own where it serves them all."""
        encoders = {kind: self._encoder_of(kind) for kind in kinds}
        if len(set(encoders.values())) == 1:
            return next(iter(encoders.values()))
        return lambda value: encoders[type(value)](value)

    def _encoder_of(self, kind: type) -> Callable[[Any], bytes]:
        if kind is bytes:
            return bytes
        return of_class(self.value, kind).encode if is_typed(kind) else self.value.encode

    def _each(self, flow: Flow, encode: Callable[[Any], Any], column: list[Any]) -> list[Any]:
        return flow.each(
            encode,
            column,
            nulls=False,
            condition=Condition.ENCODE_ERROR,
            operator=f"codec {self.value.name}",
        )

    def _keys(self, flow: Flow) -> list[bytes | None]:
        raw: list[bytes | None] = list(map(type(flow.source[0]).key, flow.source))
        keys = _by_origin(flow, raw, None)
        decoded = dict(zip(map(id, flow.source), flow.keys or (), strict=False))
        for entry, record in enumerate(flow.records or ()):
            if record is None:
                continue
            shared = flow.origin(entry) == SHARED
            key = record.key if shared else (record.changes or UNCHANGED)[0]
            if key is KEEP:
                continue
            source = record.source
            if source is not None and key is decoded.get(id(source), KEEP):
                keys[entry] = source.key()  # untouched: the bytes stay, and with them the partition
                continue
            try:
                keys[entry] = key if isinstance(key, bytes | None) else self.key.encode(key)
            except Exception as error:  # noqa: BLE001 - whatever the codec raises
                flow.fail(entry, Fault(error, Condition.ENCODE_ERROR, f"key codec {self.key.name}"))
        return keys

    def _size(self, flow: Flow, values: list[Any]) -> int:
        """Bytes of all values; fails the records that no broker would take."""
        if flow.nulls or flow.faults:
            lengths = [len(v) if isinstance(v, bytes) else 0 for v in values]
        else:
            lengths = list(map(len, values))
        smallest = min(self.size_limits.values(), default=None)
        if smallest is not None and lengths and max(lengths) + _ROOM > smallest:
            for entry, length in enumerate(lengths):
                if length + _ROOM > smallest and flow.origin(entry) not in flow.faults:
                    self._check_size(flow, entry, length)
        return sum(lengths)

    def _check_size(self, flow: Flow, entry: int, length: int) -> None:
        record = flow.base(entry)
        topic = record.destination or self.topic or ""
        limit = self.size_limits.get(topic)
        headers = sum(
            len(name.encode("utf-8", "replace")) + len(value or b"") + 10
            for name, value in record.headers
        )
        key = len(record.key) if isinstance(record.key, bytes | str) else 0
        total = length + headers + key + _FRAMING
        if limit is not None and total > limit:
            error = ValueError(f"{total:,} bytes, but {topic} takes at most {limit:,}")
            flow.fail(entry, Fault(error, Condition.RECORD_TOO_LARGE))

    def _headers(self, flow: Flow) -> list[Headers | None] | None:
        read = type(flow.source[0])
        column: list[Headers | None] | None = None
        if any(map(read.headers, flow.source)):
            column = _by_origin(flow, list(map(read.headers, flow.source)), None)
        for entry, record in enumerate(flow.records or ()):
            if record is not None and (flow.origin(entry) == SHARED or _sets(record, 1)):
                if not _are_headers(record.headers):
                    _refuse(flow, entry, "headers are a list of (str, bytes or None)")
                    continue
                if column is None:
                    column = _nothing(len(flow))
                column[entry] = record.headers or None
        return column

    def _timestamps(self, flow: Flow) -> list[int] | None:
        column: list[int] | None = None
        if self.source_timestamp:
            stamps = [max(0, ms) for _, ms in map(type(flow.source[0]).timestamp, flow.source)]
            column = _by_origin(flow, stamps, 0)
        for entry, record in enumerate(flow.records or ()):
            if record is not None and _sets(record, 2):
                stamp: Any = record.timestamp
                if not isinstance(stamp, int):
                    _refuse(flow, entry, "a timestamp is a number of milliseconds, an int")
                    continue
                column = column or [0] * len(flow)
                column[entry] = max(0, stamp)
        return column

    @staticmethod
    def _topics(flow: Flow) -> list[str | None] | None:
        if flow.records is None:
            return None
        topics = [None if record is None else record.destination for record in flow.records]
        return topics if any(topics) else None


def _by_origin(flow: Flow, column: list[T], shared: T) -> list[T]:
    """A column of the source, spread over the entries."""
    if flow.origins is None:
        return column
    return [shared if origin == SHARED else column[origin] for origin in flow.origins]


def _are_headers(headers: Any) -> bool:
    """Whether a sink can write them; the operator may have set anything."""
    match headers:
        case [*pairs]:
            return all(map(_is_header, pairs))
        case _:
            return False


def _is_header(header: Any) -> bool:
    match header:
        case (str(), bytes() | None):
            return True
        case _:
            return False


def _refuse(flow: Flow, entry: int, what: str) -> None:
    flow.fail(entry, Fault(TypeError(what), Condition.ENCODE_ERROR))


def _nothing(count: int) -> list[Headers | None]:
    return [None] * count


def _sets(record: Record, part: int) -> bool:
    return record.changes is not None and record.changes[part] is not KEEP
