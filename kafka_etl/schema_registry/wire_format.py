"""The registry's wire format: a zero byte, the id of the schema in four, and what it describes.

Newer writers may leave the payload alone, and put a byte 1 and the schema's GUID into a header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar
from uuid import UUID

HEAD: Final = 5
"""Bytes before what the schema describes."""

VALUE_HEADER: Final = "__value_schema_id"
KEY_HEADER: Final = "__key_schema_id"

_FORM: Final = struct.Struct(">bI")
_MAGIC: Final = 0
_MAGIC_GUID: Final = 1
GUID_HEAD: Final = 17

SchemaId = int | UUID
"""By number within a registry, or by GUID in any of them."""

T = TypeVar("T")


class NotInWireFormat(ValueError):
    """Bytes that were not written with a schema registry."""


def head_of(schema_id: SchemaId) -> bytes:
    """What payloads of this schema begin with, or, for a GUID, what stands in a header."""
    if isinstance(schema_id, UUID):
        return bytes([_MAGIC_GUID]) + schema_id.bytes
    return _FORM.pack(_MAGIC, schema_id)


def headed(data: bytes) -> tuple[bytes, bytes]:
    """A head with a GUID, and the payload behind it."""
    return data[:GUID_HEAD], data[GUID_HEAD:]


def schema_id_of(head: bytes) -> SchemaId:
    """The id in a payload's first bytes, or the one that stands in a header.

    Raises:
        NotInWireFormat: There is none.
    """
    if len(head) == GUID_HEAD and head[0] == _MAGIC_GUID:
        return UUID(bytes=head[1:])
    if len(head) < HEAD:
        raise NotInWireFormat(
            f"too short for the schema registry's format: {len(head)} bytes, of at least {HEAD}"
        )
    magic, schema_id = _FORM.unpack_from(head)
    if magic != _MAGIC:
        raise NotInWireFormat(
            f"not in the schema registry's format: it begins with byte {head[0]} instead of 0"
        )
    return int(schema_id)


def head_length(begin: bytes) -> int:
    """How much of these first bytes, of a payload or a header, is the id of the schema."""
    return GUID_HEAD if begin[:1] == bytes([_MAGIC_GUID]) else HEAD


class ByHead(dict[bytes, T], Generic[T]):
    """What was made of each schema, by the head of its payloads: one look-up per record.

    Args:
        make: From the id of a schema.
    """

    def __init__(self, make: Callable[[SchemaId], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, head: bytes) -> T:
        made = self[head] = self._make(schema_id_of(head))
        return made


def head_in(headers: Iterable[tuple[str, bytes | None]], part: str) -> bytes | None:
    """The head of a payload that stands in the record's headers; None: in the payload itself."""
    wanted = KEY_HEADER if part == "key" else VALUE_HEADER
    return next((value for name, value in headers if name == wanted and value), None)
