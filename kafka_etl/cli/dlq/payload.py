"""Renders the key and the value of a dead letter's record: as text, JSON, Avro or hex."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from kafka_etl.cli.dlq.forms import Form
from kafka_etl.readable import shown, text_of

if TYPE_CHECKING:
    from kafka_etl.contracts import Codec
    from kafka_etl.record import Headers

_PLAIN: Final = frozenset({"bytes", "text", "json"})
"""Codecs whose bytes are readable as they are."""
_WIRE: Final = 5
"""Bytes of a schema registry's prefix: a zero, and the number of the schema."""
_ROW: Final = 16


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes, as they are shown.

    Attributes:
        form: Name of the form, or of the codec that decoded the bytes; empty: there are none.
        text: The bytes in this form; for a program, JSON where `form` is a codec's or `json`.
        problem: Why the form is not the one that was wanted; empty: it is.
    """

    form: str
    text: str
    problem: str = ""

    @property
    def title(self) -> str:
        notes = f"; {self.problem}" if self.problem else ""
        return f"{self.form or 'none'}{notes}"


def payload_of(
    data: bytes | None, headers: Headers, form: Form | None, codec: Codec | None
) -> Payload:
    """Render bytes.

    Args:
        data: The bytes.
        headers: Headers of their record, for a codec that looks at headers.
        form: The form; None: the best one, which is the codec's where the codec can decode.
        codec: The pipeline's codec of the source; None: no pipeline is known.
    """
    if data is None:
        return Payload("", "(null)")
    match form:
        case Form.HEX:
            return Payload(form, hexdump(data))
        case Form.TEXT:
            return Payload(form, _as_text(data))
        case Form.JSON:
            return _as_json(data)
        case Form.AVRO | None:
            if codec is None or codec.name in _PLAIN:
                return _guessed(data, "")
            return _decoded(data, headers, codec)


def _decoded(data: bytes, headers: Headers, codec: Codec) -> Payload:
    """Decode with the pipeline's codec; bytes that cannot be decoded are shown as they are."""
    try:
        if codec.decode_with is not None:
            value = codec.decode_with(data, headers)
        else:
            value = codec.decode(data)
        return Payload(codec.name, _dumped(value))
    except Exception as error:  # noqa: BLE001 - a codec may raise anything, and is a plug-in's
        from kafka_etl.invocation import described

        return _guessed(data, f"{codec.name} cannot decode it: {described(error, 300)}")


def _guessed(data: bytes, problem: str) -> Payload:
    if text_of(data) is not None:
        is_json = data[:1] in b"{[" and _is_json(data)
        return Payload("json" if is_json else "text", shown(data), problem)
    if not problem and data[:1] == b"\x00" and len(data) > _WIRE:
        number = int.from_bytes(data[1:_WIRE], "big")
        problem = (
            f"begins like a record of schema {number} of a registry, which a pipeline file names"
        )
    return Payload("hex", hexdump(data), problem)


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def _as_json(data: bytes) -> Payload:
    try:
        return Payload("json", _dumped(orjson.loads(data)))
    except orjson.JSONDecodeError as error:
        return _guessed(data, f"no JSON: {error}")


def _as_text(data: bytes) -> str:
    """The bytes as UTF-8; other bytes and control characters as Python escapes them."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or c in "\t\n" else repr(c)[1:-1] for c in text)


def _dumped(value: Any) -> str:
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=_plain, option=options).decode()


def _plain(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return f"hex:{bytes(value).hex()}"
    return str(value)


def hexdump(data: bytes) -> str:
    """Lines of an offset, sixteen bytes in hex, and the bytes as ASCII."""
    return "\n".join(_rows(data))


def _rows(data: bytes) -> Iterator[str]:
    for start in range(0, max(1, len(data)), _ROW):
        row = data[start : start + _ROW]
        ascii_ = "".join(chr(b) if chr(b).isascii() and chr(b).isprintable() else "." for b in row)
        yield f"{start:08x}  {row.hex(' '):<{3 * _ROW - 1}}  {ascii_}"
