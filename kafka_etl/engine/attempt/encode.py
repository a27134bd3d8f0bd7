"""The last stage: values to bytes, with the keys, headers, timestamps and topics of outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import is_, ne
from types import NoneType
from typing import Any, Final

from kafka_etl.codecs import BYTES, not_bytes, of_class
from kafka_etl.contracts import Codec
from kafka_etl.engine.attempt.output_fields import (
    LookUp,
    checked_headers,
    checked_places,
    checked_timestamps,
    checked_topics,
)
from kafka_etl.engine.attempt.routing import Routing, checked_partitions
from kafka_etl.engine.attempt.schema_headers import (
    HeaderColumn,
    moved_to_headers,
    names_in,
    without,
)
from kafka_etl.engine.columns.reading import TO
from kafka_etl.engine.columns.tables import encode_table, leave
from kafka_etl.engine.rows.faults import Fault
from kafka_etl.engine.rows.flow import NULL, Column, Flow, Sheet
from kafka_etl.engine.rows.mapping import (
    FAILED,
    Apply,
    Explain,
    Mapped,
    explained,
    is_nobodys,
    map_each,
)
from kafka_etl.invocation import Condition, Outputs
from kafka_etl.record import KEEP, NESTED_RECORD, Record
from kafka_etl.schema_registry.wire_format import KEY_HEADER, VALUE_HEADER
from kafka_etl.value_classes import is_typed

_KEY_TYPES: Final = {bytes, NoneType}

_FRAMING: Final = 128
"""Upper bound on the bytes of a record on the wire besides key, value and headers."""

_ROOM: Final = 4096
"""A value this many bytes below the size limit is taken to fit with its key and headers."""


@dataclass(frozen=True, slots=True)
class Encode:
    """The encode stage.

    Attributes:
        value: Codec of values; values that are bytes already are written unchanged.
        key: Codec of keys, for keys that an operator set or that the sink encodes anew.
        topic: The sink's topic; None: the sink has no topics.
        routes: Further topics that `Record.to` may name.
        places: Where else than to topics a row may be sent; None: anywhere.
        look_up: Tells of topics that are not listed, and adds those that may be written to
            `size_limits` and `partitions`; None: no such topic may be written.
        size_limits: Topic -> largest record, in bytes.
        source_timestamp: Whether outputs have the timestamp of their source record.
        operator: Name of the last operator, for faults of parts that no other operator has set.
        schema_ids: Whether headers of source records or of outputs may name a schema.
        routing: Expressions for topic, key, partition and headers; None: there are none.
        partitions: Topic -> its number of partitions, for an expression that names one.
    """

    value: Codec
    key: Codec
    topic: str | None = None
    routes: frozenset[str] = frozenset()
    places: Collection[str] | None = ()
    look_up: LookUp | None = None
    size_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    source_timestamp: bool = False
    operator: str = ""
    schema_ids: bool = False
    routing: Routing | None = None
    partitions: Mapping[str, int] = field(default_factory=dict[str, int])

    def apply(self, flow: Flow) -> Outputs:
        """Encode the entries of a flow; records that cannot be written become faults.

        Returns:
            The outputs of records without a fault; origins are positions in the attempt.

        Raises:
            GroupFault: An output that belongs to all records cannot be written.
            Unavailable: The codec's schema registry is away, or the brokers that know of a topic.
            KafkaEtlError: The pipeline must pause or stop.
        """
        sound = len(flow.faults)
        places: list[Any] | None = None
        if self.routing is not None:
            leave(flow)
            places = self.routing.apply(flow)
        self._put_back(flow)
        given: list[Any] | None = flow.values
        if flow.sheet is not None:
            self._encode_table(flow, flow.sheet)
            given = None
        extras = flow.extras
        topics = self._topics(flow, extras.topics)
        values = self._values(flow, topics)
        if flow.nulls:
            values = [None if v is NULL else v for v in values]
        keys = self._keys(flow, extras.keys)
        headers = self._headers(flow, extras.headers)
        if self.schema_ids:
            headers, values = self._with_schema_ids(flow, headers, given, values, keys)
        outputs = Outputs(
            values=values,
            keys=keys,
            headers=headers,
            timestamps=self._timestamps(flow, extras.timestamps),
            topics=topics,
            partitions=self._partitions(flow, places, topics),
            origins=flow.origins,
        )
        outputs.size = self._size(flow, outputs, plain=not flow.nulls and len(flow.faults) == sound)
        if len(flow.faults) > sound:
            return outputs.take(list(compress(range(len(flow)), flow.sound())))
        return outputs

    def _partitions(
        self, flow: Flow, column: list[Any] | None, topics: list[str | None] | None
    ) -> list[int] | None:
        if column is None:
            return None
        found, bad = checked_partitions(column, topics, self.topic or "", self.partitions)
        for entry, error in bad.items():
            flow.fail(entry, Fault(error, Condition.ENCODE_ERROR, "sink"))
        return found

    def _with_schema_ids(
        self,
        flow: Flow,
        headers: HeaderColumn,
        given: list[Any] | None,
        values: list[Any],
        keys: list[Any],
    ) -> tuple[HeaderColumn, list[Any]]:
        """Drop headers that name the schema of other bytes, and move new schema ids into headers.

        Args:
            flow: The attempt.
            headers: Headers of all outputs.
            given: Values before they were encoded; None: a table was encoded.
            values: Encoded values.
            keys: Encoded keys.

        Returns:
            The new headers and the new values.
        """
        named = names_in(headers)
        if KEY_HEADER in named and flow.extras.keys is not None:
            own = flow.spread(flow.read("key"), None)
            headers = without(headers, KEY_HEADER, list(map(ne, keys, own)))
        if VALUE_HEADER in named:
            own = flow.spread(flow.read("value"), None)
            headers = without(headers, VALUE_HEADER, list(map(ne, values, own)))
        if self.value.headed is None:
            return headers, values
        before = given or repeat(None)
        encoded = [
            isinstance(v, bytes) and v is not old for v, old in zip(values, before, strict=False)
        ]
        return moved_to_headers(headers, values, self.value.headed, encoded)

    def _encode_table(self, flow: Flow, sheet: Sheet) -> None:
        if self.value.for_topic is not None and TO in sheet.table.column_names:
            leave(flow)  # each row may go to another topic, with another schema
        else:
            encode_table(flow, sheet, self.value)

    def _topics(self, flow: Flow, column: Column) -> list[str | None] | None:
        if column is None:
            return None
        if self.topic is None:
            topics, bad = checked_places(column, self.places)
        else:
            topics, bad = checked_topics(column, self.topic, self.routes, self.look_up)
        self._refuse(flow, bad, Condition.OPERATOR_ERROR)
        return topics

    def _refuse(self, flow: Flow, bad: Mapping[int, BaseException], condition: Condition) -> None:
        """Blame these entries: the sink cannot write their topic, headers or timestamp."""
        for entry, error in bad.items():
            flow.fail(entry, Fault(error, condition, flow.set_by or self.operator))

    def _values(self, flow: Flow, topics: Column) -> list[Any]:
        kinds = set(map(type, flow.values)) - {type(NULL)}
        if kinds <= {bytes}:
            return flow.values
        if self.value.for_topic is None or topics is None:
            encode = self._encoder(self.value, kinds)
            return self._each(flow, encode, flow.values, self.value.explain)
        encoders = {topic: self._encoder(self._codec_for(topic), kinds) for topic in set(topics)}
        pairs = list(zip(topics, flow.values, strict=True))
        return self._each(flow, lambda pair: encoders[pair[0]](pair[1]), pairs)

    def _codec_for(self, topic: str | None) -> Codec:
        if topic in {None, self.topic} or self.value.for_topic is None:
            return self.value
        return self.value.for_topic(topic or "")

    @staticmethod
    def _encoder(codec: Codec, kinds: set[type]) -> Callable[[Any], bytes]:
        """One function that encodes values of these types, the codec's own where possible."""
        encoders = {kind: _encoder_of(codec, kind) for kind in kinds}
        if len(set(encoders.values())) == 1:
            return next(iter(encoders.values()))
        return lambda value: encoders[type(value)](value)

    def _each(
        self,
        flow: Flow,
        encode: Callable[[Any], Any],
        column: list[Any],
        explain: Explain | None = None,
    ) -> list[Any]:
        return flow.each(
            _exactly(encode, explain),
            column,
            nulls=False,
            condition=Condition.ENCODE_ERROR,
            operator=f"codec {self.value.name}",
        )

    def _keys(self, flow: Flow, column: Column) -> list[Any]:
        anew = flow.converts_keys
        if column is not None and not anew and flow.keys is None and _are_bytes(column):
            return column
        own = flow.read("key")
        keys: list[Any] = flow.spread(own, None)
        if column is None and not (anew and flow.keys):
            return keys
        chosen: list[int] = []
        objects: list[Any] = []
        for entry, key in enumerate(column or repeat(KEEP, len(flow))):
            is_own = key is KEEP or flow.is_own_key(entry, key)
            if is_own or (anew and type(key) is bytes and key == keys[entry]):
                if not anew or flow.keys is None or keys[entry] is None:
                    continue  # the bytes of the key stay, and the partition with them
                chosen.append(entry)
                objects.append(flow.keys[flow.origin(entry)])
            elif key is None or issubclass(type(key), bytes):
                keys[entry] = key
            else:
                chosen.append(entry)
                objects.append(key)
        self._encode_keys(flow, keys, chosen, objects)
        return keys

    def _encode_keys(
        self, flow: Flow, keys: list[Any], chosen: list[int], objects: list[Any]
    ) -> None:
        encoded, failed = map_each(self.key.encode, len(objects), objects)
        for entry, key in zip(chosen, encoded, strict=True):
            keys[entry] = key
        for at, error in failed:
            if is_nobodys(error):
                raise error
            if self.key is BYTES and type(error) is TypeError:
                error = not_bytes(objects[at], "key")  # noqa: PLW2901 - the same error, of a key
            keys[chosen[at]] = None  # `apply` drops the outputs of failed records at the end
            fault = Fault(error, Condition.ENCODE_ERROR, f"key codec {self.key.name}")
            flow.fail(chosen[at], fault)

    def _size(self, flow: Flow, outputs: Outputs, *, plain: bool) -> int:
        """The bytes of all values; records too large for their topic become faults.

        Args:
            flow: The attempt.
            outputs: The outputs.
            plain: Whether every value is bytes, which is faster to measure.
        """
        values: list[Any] = outputs.values
        if plain:
            lengths = list(map(len, values))
        else:
            lengths = [len(v) if isinstance(v, bytes) else 0 for v in values]
        smallest = min(self.size_limits.values(), default=None)
        if smallest is not None and lengths and max(lengths) + _ROOM > smallest:
            for entry, length in enumerate(lengths):
                if length + _ROOM > smallest and flow.origin(entry) not in flow.faults:
                    self._check_size(flow, outputs, entry, length)
        return sum(lengths)

    def _check_size(self, flow: Flow, outputs: Outputs, entry: int, length: int) -> None:
        topics, lists = outputs.topics, outputs.headers
        topic = (None if topics is None else topics[entry]) or self.topic or ""
        limit = self.size_limits.get(topic)
        headers = sum(
            len(name.encode("utf-8", "replace")) + len(value or b"") + 10
            for name, value in (None if lists is None else lists[entry]) or ()
        )
        total = length + headers + len(outputs.keys[entry] or b"") + _FRAMING
        if limit is not None and total > limit:
            error = ValueError(f"{total:,} bytes, but {topic} takes at most {limit:,}")
            flow.fail(entry, Fault(error, Condition.RECORD_TOO_LARGE))

    def _timestamps(self, flow: Flow, column: Column) -> list[int] | None:
        """The timestamp of each output, in milliseconds since the epoch; None: the sink's own.

        An entry of 0 is the sink's own timestamp as well, as for a source record without one.
        """
        stamps: list[Any] | None = None
        if self.source_timestamp:
            stamps, bad = checked_timestamps(flow.spread(flow.source_timestamps(), -1))
            self._refuse(flow, _unless_set(bad, column), Condition.ENCODE_ERROR)
        if column is None:
            return stamps
        given, bad = checked_timestamps(column)
        self._refuse(flow, bad, Condition.ENCODE_ERROR)
        stamps = stamps or [0] * len(flow)
        return [own if one is KEEP else one for one, own in zip(given, stamps, strict=True)]

    def _headers(self, flow: Flow, changed: Column) -> HeaderColumn:
        """The headers of each output; None where no output has headers."""
        if changed is None:
            own = flow.read("headers")
            return flow.spread(own, None) if any(own) else None
        column = changed
        if set(map(type, changed)) != {list}:
            own = flow.spread(flow.read("headers"), None)
            column = [o if c is KEEP else c for c, o in zip(changed, own, strict=True)]
        checked, bad = checked_headers(column)
        self._refuse(flow, bad, Condition.ENCODE_ERROR)
        return checked if any(checked) else None

    def _put_back(self, flow: Flow) -> None:
        """Replace each value that is still the object made by `decode` with its source bytes."""
        if flow.decoded is None or flow.sheet is not None:
            return
        decoded = flow.spread(flow.decoded, FAILED)
        own = flow.spread(flow.read("value"), None)
        same = list(map(is_, flow.values, decoded))
        if flow.nulls or not all(same):
            own = [
                bytes_ if is_same and value is not NULL else value
                for value, bytes_, is_same in zip(flow.values, own, same, strict=True)
            ]
        flow.values = own


def _are_bytes(keys: list[Any]) -> bool:
    return set(map(type, keys)) <= _KEY_TYPES


def _unless_set(bad: Mapping[int, BaseException], column: Column) -> Mapping[int, BaseException]:
    """The errors without those of entries whose timestamp an operator has set."""
    if column is None:
        return bad
    return {entry: error for entry, error in bad.items() if column[entry] is KEEP}


def _encoder_of(codec: Codec, kind: type) -> Callable[[Any], bytes]:
    if kind is bytes:
        return bytes
    if Record in kind.__mro__:
        return _refusing(TypeError(NESTED_RECORD))
    try:
        return of_class(codec, kind).encode if is_typed(kind) else codec.encode
    except BaseException as error:
        if is_nobodys(error):
            raise
        return _refusing(error)


def _refusing(error: BaseException) -> Callable[[Any], bytes]:
    """An encoder that raises the error for every value: the codec cannot write the class."""

    def refuse(_value: Any) -> bytes:
        raise error

    return refuse


def _exactly(encode: Callable[[Any], Any], explain: Explain | None) -> Apply:
    """A function of type `Apply` that encodes values into bytes of exactly their own size.

    The bytes that `orjson.dumps` returns keep their whole buffer: 4 KB for 100 bytes, 64 KB for
    5,000, in the processor's cache as well. `b"".join` copies each value, which costs 0.04 us and
    makes `produce` faster by as much.
    """

    def apply(_entries: Sequence[int], values: list[Any]) -> Mapped:
        encoded, failed = map_each(b"".join, len(values), zip(map(encode, values), repeat(b"")))
        return encoded, explained(explain, values, failed)

    return apply
