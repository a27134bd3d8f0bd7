"""The suite that every writer must pass."""
# ruff: noqa: S101 - a suite of tests says what it expects, in plain numbers

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kafka_etl.contracts import Writer
from kafka_etl.invocation import Outputs


class WriterSystem(Protocol):
    """The suite's access to the writer under test; the system owns a target of its own."""

    def writer(self) -> Writer:
        """Return a new writer to the target, not yet open."""
        ...

    def written(self) -> Sequence[bytes | None]:
        """Return the values in the target, in the order of their arrival; None: a tombstone."""
        ...


class WriterContract:
    """`write` returns when the target has acknowledged every output, without any later call.

    The values are JSON, which every writer should accept.
    """

    def test_what_was_written_is_there(self, system: WriterSystem) -> None:
        writer = system.writer()
        writer.open()
        writer.write(outputs(b'{"id":1}', b'{"id":2}'))
        assert list(system.written()) == [b'{"id":1}', b'{"id":2}']
        writer.close()

    def test_nothing_is_an_acknowledged_output_too(self, system: WriterSystem) -> None:
        writer = system.writer()
        writer.open()
        writer.write(Outputs())
        assert list(system.written()) == []
        writer.close()

    def test_outputs_arrive_in_their_order(self, system: WriterSystem) -> None:
        values = [b'{"id":%d}' % number for number in range(1000)]
        writer = system.writer()
        writer.open()
        writer.write(outputs(*values[:1]))
        writer.write(outputs(*values[1:]))
        writer.close()
        assert list(system.written()) == values

    def test_a_tombstone_is_not_an_empty_object(self, system: WriterSystem) -> None:
        writer = system.writer()
        writer.open()
        writer.write(outputs(b"{}", None))
        writer.close()
        assert list(system.written()) == [b"{}", None]

    def test_every_column_is_taken(self, system: WriterSystem) -> None:
        """Keys, headers, timestamps and topics may be absent, present, or present for some."""
        writer = system.writer()
        writer.open()
        writer.write(
            Outputs(
                values=[b"1", b"2", b"3"],
                keys=[b"key", None, b"\xff"],
                headers=[[("name", b"value"), ("name", None)], None, []],
                timestamps=[1, 0, 2],
                topics=[None, None, None],
            )
        )
        writer.close()
        assert list(system.written()) == [b"1", b"2", b"3"]

    def test_an_end_without_a_beginning_is_harmless(self, system: WriterSystem) -> None:
        system.writer().close()

    def test_another_writer_goes_on_where_one_ended(self, system: WriterSystem) -> None:
        for value in (b"1", b"2"):
            writer = system.writer()
            writer.open()
            writer.write(outputs(value))
            writer.close()
        assert list(system.written()) == [b"1", b"2"]


def outputs(*values: bytes | None) -> Outputs:
    """Return outputs with these values, without keys."""
    return Outputs(
        values=list(values),
        keys=[None] * len(values),
        size=sum(len(value) for value in values if value is not None),
    )
