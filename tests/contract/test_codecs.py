from __future__ import annotations

from dataclasses import replace

import pytest

from kafka_etl.codecs import BYTES, JSON, TEXT
from kafka_etl.contracts import CodecContext
from kafka_etl.plugins import PluginRegistry
from kafka_etl.testing import CodecContract, CodecSystem

SYSTEMS = [
    CodecSystem(BYTES, "bytes", values=(), unencodable=[{"a": 1}, 5, None, "\ud800"]),
    CodecSystem(
        TEXT,
        "text",
        values=["", "a", "é€😀", "\x00\n"],
        undecodable=[b"\xff", b"\xed\xa0\x80"],
        unencodable=[5, {}, "\ud800"],
    ),
    CodecSystem(
        JSON,
        "json",
        values=[None, True, 0, -1, 2**63 - 1, 1.5, "", "é😀", [], [1, [2]], {"a": {"b": None}}],
        undecodable=[b"", b"{", b"nul", b"\xff", b"1 2", b"NaN", b"[" * 10_000],
        unencodable=[{1, 2}, object(), 2**64, "\ud800", {1: 2}],
    ),
]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
class TestCodecs(CodecContract):
    """The codecs that need nothing but bytes."""

    def test_it_is_installed(self, system: CodecSystem) -> None:
        plugin = PluginRegistry.installed().codec(system.name)
        built = plugin.build(plugin.settings(), CodecContext("source", "value"))
        assert replace(built, table=None) == replace(system.codec, table=None)


def test_an_integer_of_any_size_is_read_as_it_is_written() -> None:
    order = JSON.decode(b'{"id": 18446744073709551617}')
    assert order == {"id": 2**64 + 1}
    with pytest.raises(TypeError):  # which costs this record a dead letter, and not its digits
        JSON.encode(order)
