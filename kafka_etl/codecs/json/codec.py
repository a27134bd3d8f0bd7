"""The codec `json`: msgspec and orjson record by record, pyarrow and polars for whole columns.

msgspec reads a small flat object in three quarters of orjson's time, and an integer of more than 64
bits as what it is (orjson makes it a float). It writes sets as if they were JSON, where orjson
refuses them. Of what other codecs read and JSON does not have, decimals become text, in which they
are exact, or numbers with all their digits, and bytes base64 (`codecs/json/write.py`).

JSON has no NaN and no Infinity. What comes with one is refused, but for fields of columns that
`schema` leaves out. Numbers in columns are looked at before they are written. In other values both
libraries write null: to look for it would cost each record 0.07 us at the least, a twentieth of
what it costs in all, and a walk through the value where there is a null.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any, Final

import msgspec
from pydantic import Field

from kafka_etl.codecs.arrow import ArrowType
from kafka_etl.codecs.json.broken import explain_broken
from kafka_etl.codecs.json.columns import table_codec
from kafka_etl.codecs.json.write import Decimals, writer
from kafka_etl.contracts import Codec, CodecContext, CodecPlugin, Settings
from kafka_etl.value_classes import typed

_write: Final = writer("text")
loads: Final = msgspec.json.Decoder().decode

_LONGEST: Final = 20
"""Steps of a path that helps."""

_HOLDERS: Final = (dict, list, tuple)
"""No classes of a user's, whose code may do anything."""


class JsonSettings(Settings):
    """What `json` can be told.

    Attributes:
        decimal: How decimals are written: as `text`, or as a `number` with the same digits, of
            which many readers of JSON keep no more than 15.
        schema_: Field -> type: a name (`int64`, `float64`, `string`, `bool`, `timestamp`, ...), a
            list of one (`[string]`), or a mapping of fields. Other fields are left out: NaN may
            stand there, but nothing that is no UTF-8. Without it types follow from the records: a
            new field is taken in when it first appears. Only operators that take tables look at it.
    """

    decimal: Decimals = "text"
    schema_: dict[str, ArrowType] | None = Field(default=None, alias="schema", min_length=1)


def _of_class(cls: type, decimals: Decimals) -> Codec:
    ways, write = typed(cls), writer(decimals)

    def write_plain(value: Any) -> bytes:
        return write(ways.to_plain(value))

    return Codec(
        "json",
        decode=ways.from_json,
        encode=ways.to_json if decimals == "text" else write_plain,
        explain_bytes=explain_broken,
    )


def _of_container(kind: type, decimals: Decimals) -> Codec:
    decode = msgspec.json.Decoder(kind | None).decode
    return Codec("json", decode=decode, encode=writer(decimals), explain_bytes=explain_broken)


@cache
def _without_columns(decimals: Decimals) -> Codec:
    return Codec(
        "json",
        decode=loads,
        encode=writer(decimals),
        of_class=lambda cls: _of_class(cls, decimals),
        of_container=lambda kind: _of_container(kind, decimals),
        explain=_located,
        explain_bytes=explain_broken,
    )


def _build(settings: JsonSettings, _place: CodecContext) -> Codec:
    table = table_codec(settings.schema_, settings.decimal)
    return replace(_without_columns(settings.decimal), table=table)


def _located(value: Any, error: BaseException) -> BaseException:
    """The error with the path to what orjson refuses, which it does not tell."""
    path = ""
    for _ in range(_LONGEST):
        found = _refused_part(value)
        if found is None:
            return TypeError(f"{error}, at {path.removeprefix('.')}") if path else error
        name, value = found
        path += name
    return error  # nested without end


def _refused_part(value: Any) -> tuple[str, Any] | None:
    for name, part in _parts(value):
        try:
            _write(part)
        except TypeError:
            return name, part
    return None


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    """What stands in it, by name or number."""
    match value if type(value) in _HOLDERS else None:
        case {**fields}:
            return ((f".{name}", part) for name, part in fields.items() if type(name) is str)
        case [*items]:
            return ((f"[{number}]", part) for number, part in enumerate(items))
        case _:
            return ()


PLUGIN: Final = CodecPlugin(JsonSettings, _build, "JSON, one value a record")
JSON: Final = PLUGIN.build(JsonSettings(), CodecContext("source", "value"))
"""As it is without settings."""
