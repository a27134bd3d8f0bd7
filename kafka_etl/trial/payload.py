"""Values and keys as data: those of given records encoded, those of outputs decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import orjson

from kafka_etl.codecs.json.write import writer
from kafka_etl.config.build import Pipeline
from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.contracts import Codec, Unavailable
from kafka_etl.errors import KafkaEtlError
from kafka_etl.invocation import Outputs
from kafka_etl.readable import shown, text_of
from kafka_etl.record import Headers, Record

PLAIN: Final = frozenset({"bytes", "text"})
"""Codecs that know no data but text."""

_TOPIC: Final = "in"


def source_topic(pipeline: Pipeline) -> str:
    """Return the first topic of the source; `in`: the source names none."""
    topics: tuple[str, ...] = getattr(pipeline.source_settings, "topics", ())
    pattern = getattr(pipeline.source_settings, "pattern", None)
    return topics[0] if topics and pattern is None else _TOPIC


def encoded(value: Any, codec: Codec, topic: str) -> bytes | None:
    """Encode a value that a source gives; bytes stay as they are, and None is a tombstone.

    For the codecs `bytes` and `text`, data that is no text is written as JSON.

    Raises:
        Exception: Whatever the codec raises for this value.
    """
    if value is None or isinstance(value, bytes):
        return value
    if codec.name in PLAIN:
        return value.encode() if isinstance(value, str) else orjson.dumps(value)
    return (codec if codec.for_topic is None else codec.for_topic(topic)).encode(value)


def decoded(data: Any, codec: Codec, headers: Headers) -> Any:
    """Decode a value or a key of an output; bytes that the codec refuses come back as they are.

    The codec `bytes` leaves open what bytes mean: an object or a list in JSON, else text.
    """
    if not isinstance(data, bytes):
        return data
    if codec.name == "bytes":
        with suppress(ValueError):
            found: Any = orjson.loads(data)
            if is_mapping(found) or is_list(found):
                return found
        text = text_of(data)
        return data if text is None else text
    try:
        return codec.decode(data) if codec.decode_with is None else codec.decode_with(data, headers)
    except (Unavailable, KafkaEtlError):
        raise
    except Exception:  # noqa: BLE001 - an operator may write bytes that the codec does not know
        return data


def outputs_of(pipeline: Pipeline, outputs: Outputs) -> Iterator[Record]:
    """Yield the outputs as records with decoded values and keys."""
    topics = pipeline.sink_settings.topics
    main = topics[0] if topics else None
    for row, value in enumerate(outputs.values):
        headers = (outputs.headers[row] if outputs.headers else None) or []
        yield Record(
            value=decoded(value, pipeline.codecs.sink_value, headers),
            key=decoded(outputs.keys[row], pipeline.codecs.sink_key, headers),
            headers=headers,
            timestamp=outputs.timestamps[row] if outputs.timestamps else -1,
            destination=(outputs.topics[row] if outputs.topics else None) or main,
        )


def plain(value: Any) -> Any:
    """Return a decoded value as the data that its JSON form holds, to compare and to show."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return shown(value)
    try:
        return orjson.loads(writer("text")(value))
    except (TypeError, ValueError):
        return repr(value)
