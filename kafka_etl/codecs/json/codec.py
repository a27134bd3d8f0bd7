"""The codec `json`: msgspec and orjson record by record, pyarrow and polars for whole columns.

msgspec decodes: it takes three quarters of orjson's time for a small flat object, and keeps an
integer of more than 64 bits exact, where orjson returns a float. orjson encodes: it refuses sets,
which msgspec writes as lists. Decimals, which JSON lacks, become text or numbers with all their
digits, and bytes become base64 text (`codecs/json/write.py`).

JSON has no NaN and no Infinity. The decoders refuse values that contain them, except in fields that
the setting `schema` leaves out of a table. The encoder of tables refuses them, too. The encoder of
single values writes null for them, as both libraries do: a check would cost each record at least
0.07 us, a twentieth of the whole cost of a record, and a walk through each value with a null.
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
"""Limit of the length of a path in an error, and of the search in a value that contains itself."""

_HOLDERS: Final = (dict, list, tuple)
"""Exact types whose parts the search visits: a user's subclass may run any code when visited."""


class JsonSettings(Settings):
    """Settings of the codec `json`.

    Attributes:
        decimal: JSON form of decimals: `text`, or `number` with the same digits, of which many
            JSON readers keep no more than 15.
        schema_: Field -> type, for operators that take tables; other operators ignore the setting.
            A type is a name (`int64`, `float64`, `string`, `bool`, `timestamp`, ...), a list of
            one type (`[string]`) or a mapping of fields. Fields not named are left out of the
            table; they may hold NaN, but must be UTF-8. None: types follow from the records, and
            a new field becomes a column when the field first appears.
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
    """Return the error with the path to the part that orjson refuses; orjson itself names none."""
    path = ""
    for _ in range(_LONGEST):
        found = _refused_part(value)
        if found is None:
            return TypeError(f"{error}, at {path.removeprefix('.')}") if path else error
        name, value = found
        path += name
    return error  # nested too deep, or the value contains itself


def _refused_part(value: Any) -> tuple[str, Any] | None:
    for name, part in _parts(value):
        try:
            _write(part)
        except TypeError:
            return name, part
    return None


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the parts of a container, each with its piece of a path: `.name` or `[number]`."""
    match value if type(value) in _HOLDERS else None:
        case {**fields}:
            return ((f".{name}", part) for name, part in fields.items() if type(name) is str)
        case [*items]:
            return ((f"[{number}]", part) for number, part in enumerate(items))
        case _:
            return ()


PLUGIN: Final = CodecPlugin(JsonSettings, _build, "JSON, one value per record")
JSON: Final = PLUGIN.build(JsonSettings(), CodecContext("source", "value"))
"""The codec `json` with default settings."""
