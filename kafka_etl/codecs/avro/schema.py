"""Avro schemas: as self-contained plain data, as fastavro parses them, and as trees of types."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kafka_etl.schema_registry.client import Schema
from kafka_etl.schema_registry.codec_settings import as_json, is_list, is_mapping

PRIMITIVES: Final = frozenset(
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
)
HOLDERS: Final = frozenset(["type", "items", "values", "fields"])
"""The keys of a schema whose values are or contain further schemas."""

_PLAIN: Final = PRIMITIVES - {"bytes"} | {"enum"}
"""The types whose default in a schema is the value itself; bytes, for example, are text there."""

_FORMS: Final = {
    "int": " of 32 bits",
    "long": " of 64 bits",
    "float": " of 32 bits",
    "bytes": ": bytes are wanted, or text in base64",
    "fixed": ": bytes of its size are wanted, or text in base64",
    "decimal": " of its precision and scale: a Decimal, text like '12.50' or a number of at most "
    "15 digits is wanted",
    "uuid": ": a UUID is wanted, or its text",
    "date": ": a date is wanted, text like '2026-01-31', or the number",
    **dict.fromkeys(
        ("time-millis", "time-micros"),
        ": a time without a zone is wanted, text like '12:30:00', or the number",
    ),
    **dict.fromkeys(
        ("timestamp-millis", "timestamp-micros"),
        ": a datetime is wanted, text like '2026-01-31T12:30:00+00:00', or the number",
    ),
    **dict.fromkeys(
        ("local-timestamp-millis", "local-timestamp-micros"),
        ": a datetime is wanted, text without a zone like '2026-01-31T12:30:00', or the number",
    ),
}
"""Type -> the words that follow its name in errors: the accepted forms of its values."""


class NotForColumns(TypeError):
    """No Arrow type can hold the values of this schema."""


def document_of(schema: Schema) -> Any:
    """Return the schema as plain data, with referenced definitions in place of their names.

    The result needs no registry, so any Avro library can parse it.

    Raises:
        ConfigError: The schema, or a schema that it refers to, is no JSON.
    """
    document = as_json(schema.text, "the Avro schema") if _is_json(schema.text) else schema.text
    if not schema.references:
        return document
    texts = [as_json(text, f"the Avro schema {name}") for name, text in schema.references.items()]
    return _inlined(document, {full_name(text): text for text in texts}, "")


def _is_json(text: str) -> bool:
    """Whether a schema's text is JSON, not the bare name of a primitive type such as `string`."""
    return text.strip() not in PRIMITIVES


def fastavro() -> Any:
    """Return the module `fastavro`, an extra that is imported on first use."""
    import fastavro  # noqa: PLC0415

    return fastavro


def parsed(document: Any) -> Any:
    """Return fastavro's parsed schema of a schema given as plain data."""
    return fastavro().parse_schema(interned(document))


def interned(document: Any) -> Any:
    """Return the schema with interned strings, which Python compares by identity, so faster."""
    if is_list(document):
        return [interned(inner) for inner in document]
    if is_mapping(document):
        return {key: interned(inner) for key, inner in document.items()}
    return sys.intern(document) if isinstance(document, str) else document


def misfit(path: str, value: Any, kind: str, symbols: Sequence[str] = ()) -> str:
    """Return the error's text for a value that is not of its type.

    Args:
        path: Path of the field; empty for the whole value.
        value: Value that does not fit.
        kind: Avro type or logical type that is expected.
        symbols: Symbols of an enum; empty for other types.
    """
    if value is None:
        return f"field {path} is null and must not be" if path else "null is not what is wanted"
    field = f"field {path}: " if path else ""
    if symbols:
        return f"{field}{value!r:.80} is none of the symbols {', '.join(symbols):.80}"
    return f"{field}{value!r:.80} is no Avro {kind}{_FORMS.get(kind, '')}"


def full_name(document: Any, namespace: str = "") -> str:
    """Return the full name of a named type, namespace included; empty for other types."""
    if not is_mapping(document) or "name" not in document:
        return ""
    name, own = str(document["name"]), str(document.get("namespace", namespace))
    return name if "." in name or not own else f"{own}.{name}"


def _inlined(document: Any, definitions: dict[str, Any], namespace: str) -> Any:
    """Return the schema with each definition in place of the first use of its name.

    Definitions that have been used are removed from `definitions`.
    """
    if is_list(document):
        return [_inlined(branch, definitions, namespace) for branch in document]
    if is_mapping(document):
        within = full_name(document, namespace).rpartition(".")[0] or namespace
        return {
            key: _inlined(value, definitions, within) if key in HOLDERS else value
            for key, value in document.items()
        }
    name = document if "." in document or not namespace else f"{namespace}.{document}"
    if document in PRIMITIVES or name not in definitions:
        return document
    absolute = {"namespace": "", **definitions.pop(name)}  # not the namespace around the name
    return _inlined(absolute, definitions, "")


@dataclass(frozen=True, slots=True)
class AvroType:
    """An Avro type with all names replaced by their definitions.

    Attributes:
        kind: Primitive type, `record`, `enum`, `fixed`, `array`, `map` or `union`.
        nullable: Whether null is allowed; a union of null and one other type is the other type,
            nullable.
        logical: Logical type; empty: none.
        parts: Pairs of name and type: fields of a record, branches of a union, items of an array,
            values of a map.
        size: Size in bytes of a fixed; else 0.
        precision: Number of digits of a decimal; else 0.
        scale: Number of digits after the decimal point; else 0.
        again: Whether the schema uses the name of a type defined earlier.
        default: Default of the field if a plain value (text, number or boolean); else None.
    """

    kind: str
    nullable: bool = False
    logical: str = ""
    parts: tuple[tuple[str, AvroType], ...] = ()
    size: int = 0
    precision: int = 0
    scale: int = 0
    again: bool = False
    default: str | float | None = None

    def walk(self) -> Iterator[AvroType]:
        """Yield this type and all types within it."""
        yield self
        for _, part in self.parts:
            yield from part.walk()


def type_of(document: Any) -> AvroType:
    """Return the tree of types of a schema given as plain data.

    Raises:
        NotForColumns: A type contains itself.
        TypeError: The schema is no Avro schema, or uses a name that it does not define.
    """
    return _Resolver().resolve(document, "")


class _Resolver:
    """Builds a tree of types; knows the names defined so far, and those being defined."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, str]] = {}
        self._open: set[str] = set()

    def resolve(self, document: Any, namespace: str) -> AvroType:
        if is_list(document):
            return self._union(document, namespace)
        if is_mapping(document):
            inner = document.get("type")
            if isinstance(inner, str):
                return self._defined(inner, document, namespace)
            return self.resolve(inner, namespace)
        if document in PRIMITIVES:
            return AvroType(document, nullable=document == "null")
        if isinstance(document, str):
            return self._named_before(document, namespace)
        raise TypeError(f"no Avro schema: {document!r}")

    def _field(self, field: Mapping[str, Any], namespace: str) -> AvroType:
        found, default = self.resolve(field["type"], namespace), field.get("default")
        is_plain = (
            found.kind in _PLAIN and not found.logical and isinstance(default, str | float | int)
        )
        return replace(found, default=default) if is_plain else found

    def _union(self, branches: list[Any], namespace: str) -> AvroType:
        types = [self.resolve(branch, namespace) for branch in branches]
        others = [t for t in types if t.kind != "null"]
        nullable = len(others) < len(types)
        if len(others) == 1:
            return replace(others[0], nullable=True) if nullable else others[0]
        parts = tuple((t.kind, t) for t in others)
        return AvroType("union", nullable=nullable, parts=parts)

    def _named_before(self, name: str, namespace: str) -> AvroType:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        full = full if full in self._known else name
        if full in self._open:
            raise NotForColumns(f"the Avro schema's type {full} holds itself, as no column can")
        if full not in self._known:
            raise TypeError(f"the Avro schema does not define {name}")
        document, within = self._known[full]
        found = self._defined(str(document["type"]), document, within)
        return replace(found, again=True)

    def _defined(self, kind: str, document: Mapping[str, Any], namespace: str) -> AvroType:
        name = full_name(document, namespace)
        within = name.rpartition(".")[0] if name else namespace
        if name:
            self._known[name] = (document, namespace)
            self._open.add(name)
        parts: list[tuple[str, AvroType]] = []
        match kind:
            case "record":
                parts = [(f["name"], self._field(f, within)) for f in document["fields"]]
            case "array":
                parts = [("items", self.resolve(document["items"], within))]
            case "map":
                parts = [("values", self.resolve(document["values"], within))]
            case "enum" | "fixed":
                pass
            case _ if kind not in PRIMITIVES:
                return self._named_before(kind, namespace)
            case _:
                pass
        self._open.discard(name)
        return AvroType(
            kind,
            nullable=kind == "null",
            logical=str(document.get("logicalType", "")),
            parts=tuple(parts),
            size=int(document.get("size", 0)),
            precision=int(document.get("precision", 0)),
            scale=int(document.get("scale", 0)),
        )
