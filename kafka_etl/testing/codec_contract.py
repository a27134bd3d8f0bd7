"""What every codec promises."""
# ruff: noqa: S101 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kafka_etl.contracts import Codec


@dataclass(frozen=True, slots=True)
class CodecSystem:
    """A codec and what it should do.

    Attributes:
        name: Under which pipelines know it.
        values: Values it can encode, none of them bytes.
        undecodable: Bytes that are nothing to it.
        unencodable: Values it must refuse.
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
        """A sink takes the length of every value and hands it to a C client."""
        for value in system.values:
            assert type(system.codec.encode(value)) is bytes

    def test_equal_values_become_equal_bytes(self, system: CodecSystem) -> None:
        """Keys are encoded, too: another encoding would be another partition."""
        for value in system.values:
            assert system.codec.encode(value) == system.codec.encode(value)

    def test_what_it_cannot_decode_raises(self, system: CodecSystem) -> None:
        for data in system.undecodable:
            assert _raises(system.codec.decode, data), f"decoded {data!r}"

    def test_what_it_cannot_encode_raises(self, system: CodecSystem) -> None:
        for value in system.unencodable:
            assert _raises(system.codec.encode, value), f"encoded {value!r}"

    def test_any_bytes_are_decoded_or_refused(self, system: CodecSystem) -> None:
        """Whatever arrives, the answer is a value or an `Exception`; it never takes the bytes."""
        for data in (b"", b"\x00", b"\xff\xfe", b"{", b"\x80" * 100, b"a" * 10_000):
            before = bytes(bytearray(data))
            _raises(system.codec.decode, data)
            assert data == before


def _raises(function: Any, argument: Any) -> bool:
    try:
        function(argument)
    except Exception:  # noqa: BLE001 - a codec may raise what it likes
        return True
    return False
