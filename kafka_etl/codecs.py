"""The codecs that need nothing but bytes: bytes, text and json."""

from __future__ import annotations

from typing import Any, Final

import orjson

from kafka_etl.contracts import Codec


def _text_only(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    raise TypeError(
        f"the sink's codec is bytes, and the operator returned {type(value).__name__}: "
        "return bytes or str, or name a codec, for example `value: json`"
    )


BYTES: Final = Codec("bytes", decode=bytes, encode=_text_only)
TEXT: Final = Codec("text", decode=bytes.decode, encode=str.encode)
JSON: Final = Codec("json", decode=orjson.loads, encode=orjson.dumps)
