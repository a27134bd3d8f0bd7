"""The codecs `bytes` and `text`, and codecs for objects of a class made from any other codec."""

from __future__ import annotations

from typing import Any, Final

from kafka_etl.contracts import Codec, CodecPlugin, Settings
from kafka_etl.value_classes import typed


def _text_only(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    raise not_bytes(value, "value")


def not_bytes(given: object, part: str) -> TypeError:
    """The error of a value or a key that the codec `bytes` cannot write."""
    what = "returned" if part == "value" else f"returned a {part} of type"
    return TypeError(
        f"the sink's codec is bytes, and the operator {what} {type(given).__name__}: "
        f"return bytes or str, or name a codec, for example `{part}: json`"
    )


BYTES: Final = Codec("bytes", decode=bytes, encode=_text_only)
TEXT: Final = Codec("text", decode=bytes.decode, encode=str.encode)

BYTES_PLUGIN: Final = CodecPlugin(Settings, lambda _settings, _place: BYTES, "bytes as they are")
TEXT_PLUGIN: Final = CodecPlugin(Settings, lambda _settings, _place: TEXT, "UTF-8 text")


def of_class(codec: Codec, cls: type) -> Codec:
    """Return the codec for objects of a class with fields.

    Without a `Codec.of_class` of its own, the codec converts between objects and plain data.
    """
    if codec.of_class is not None:
        return codec.of_class(cls)
    ways, decode_with = typed(cls), codec.decode_with
    return Codec(
        codec.name,
        decode=lambda data: ways.from_plain(codec.decode(data)),
        encode=lambda value: codec.encode(ways.to_plain(value)),
        decode_with=decode_with
        and (lambda data, headers: ways.from_plain(decode_with(data, headers))),
    )
