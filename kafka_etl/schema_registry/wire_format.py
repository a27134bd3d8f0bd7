"""The registry's wire format: a head, which names the schema, and the payload.

A value begins with the head: a byte 0 and the schema's id in four bytes. Newer serializers may put
the head in a header of the record instead: a byte 1 and the schema's GUID in 16 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar
from uuid import UUID

HEAD: Final = 5
"""Length of a head with a numeric id, in bytes."""

VALUE_HEADER: Final = "__value_schema_id"
KEY_HEADER: Final = "__key_schema_id"

_FORM: Final = struct.Struct(">bI")
_MAGIC: Final = 0
_MAGIC_GUID: Final = 1
GUID_HEAD: Final = 17
"""Length of a head with a GUID, in bytes."""

SchemaId = int | UUID
"""A number, which is unique within one registry, or a GUID, which is the same in all registries."""

T = TypeVar("T")


class NotInWireFormat(ValueError):
    """The bytes are not in the registry's wire format."""


def head_of(schema_id: SchemaId) -> bytes:
    """Return the head for a schema's id; a head with a GUID belongs in a header of the record."""
    if isinstance(schema_id, UUID):
        return bytes([_MAGIC_GUID]) + schema_id.bytes
    return _FORM.pack(_MAGIC, schema_id)


def headed(data: bytes) -> tuple[bytes, bytes]:
    """Split an encoded value into its head with a GUID and the payload (see `Codec.headed`)."""
    return data[:GUID_HEAD], data[GUID_HEAD:]


def schema_id_of(head: bytes) -> SchemaId:
    """Return the schema's id in a head.

    Raises:
        NotInWireFormat: The bytes are no head.
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
    """Return the length of the head at the beginning of a value or of a header's value."""
    return GUID_HEAD if begin[:1] == bytes([_MAGIC_GUID]) else HEAD


class ByHead(dict[bytes, T], Generic[T]):
    """Head -> an object made from the schema that the head names; each object is made once.

    The decoders look up each record's head in such a dict.

    Args:
        make: Function that makes the object from the schema's id.
    """

    def __init__(self, make: Callable[[SchemaId], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, head: bytes) -> T:
        made = self[head] = self._make(schema_id_of(head))
        return made


def head_in(headers: Iterable[tuple[str, bytes | None]], part: str) -> bytes | None:
    """Return the head in a record's headers; None: the value or key itself begins with the head.

    Args:
        headers: Headers of the record.
        part: Part of the record: `key` or `value`.
    """
    wanted = KEY_HEADER if part == "key" else VALUE_HEADER
    return next((value for name, value in headers if name == wanted and value), None)
