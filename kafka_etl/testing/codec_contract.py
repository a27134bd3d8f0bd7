"""The suite that every codec must pass."""
# ruff: noqa: S101 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kafka_etl.contracts import Codec


@dataclass(frozen=True, slots=True)
class CodecSystem:
    """A codec and examples of values and bytes for the suite.

    Attributes:
        codec: Codec under test.
        name: Name of the codec in pipeline files.
        values: Values that the codec can encode, none of them bytes.
        undecodable: Bytes for which `decode` must raise.
        unencodable: Values for which `encode` must raise.
    """

    codec: Codec
    name: str
    values: Sequence[Any] = ()
    undecodable: Sequence[bytes] = ()
    unencodable: Sequence[Any] = ()


class CodecContract:
    """A codec turns bytes into values and back, one record at a time."""

    def test_it_goes_by_its_name(self, system: CodecSystem) -> None:
        assert system.codec.name == system.name

    def test_a_value_comes_back_as_it_was(self, system: CodecSystem) -> None:
        for value in system.values:
            assert system.codec.decode(system.codec.encode(value)) == value

    def test_it_encodes_to_bytes_and_nothing_else(self, system: CodecSystem) -> None:
        """The sink takes the length of each encoded value and passes the value to a C client."""
        for value in system.values:
            assert type(system.codec.encode(value)) is bytes

    def test_equal_values_become_equal_bytes(self, system: CodecSystem) -> None:
        """Keys are encoded, too: a key with different bytes would go to a different partition."""
        for value in system.values:
            assert system.codec.encode(value) == system.codec.encode(value)

    def test_what_it_cannot_decode_raises(self, system: CodecSystem) -> None:
        for data in system.undecodable:
            assert _raises(system.codec.decode, data), f"decoded {data!r}"

    def test_what_it_cannot_encode_raises(self, system: CodecSystem) -> None:
        for value in system.unencodable:
            assert _raises(system.codec.encode, value), f"encoded {value!r}"

    def test_any_bytes_are_decoded_or_refused(self, system: CodecSystem) -> None:
        """`decode` returns a value or raises an `Exception` for any bytes, and changes no byte."""
        for data in (b"", b"\x00", b"\xff\xfe", b"{", b"\x80" * 100, b"a" * 10_000):
            before = bytes(bytearray(data))
            _raises(system.codec.decode, data)
            assert data == before


def _raises(function: Any, argument: Any) -> bool:
    try:
        function(argument)
    except Exception:  # noqa: BLE001 - a codec may raise any exception
        return True
    return False
