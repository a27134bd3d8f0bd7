"""Values of dead letters that are corrected in an editor, and files that an export cannot write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer

from kafka_etl.cli.dlq.bulk import Letters
from kafka_etl.cli.dlq.changes import edited
from kafka_etl.cli.dlq.export import _write  # pyright: ignore[reportPrivateUsage] - needs no Kafka
from kafka_etl.dead_letters.statuses import LetterPlace
from kafka_etl.dlq.selection import Selection
from kafka_etl.errors import SelectionRefused

PLACE = LetterPlace(0, 7)


def corrected(value: bytes | None) -> dict[LetterPlace, bytes]:
    """What the user's editor makes of a value."""
    one = SimpleNamespace(at=SimpleNamespace(id=f"orders.dlq/{PLACE}"), value=value)
    letters: Any = SimpleNamespace(topic="orders.dlq", read=lambda _places: [one])
    selection: Any = SimpleNamespace(letters=[SimpleNamespace(at=PLACE)])
    return edited(cast("Letters", letters), cast("Selection", selection))


@pytest.mark.parametrize(
    ("value", "after"),
    [
        (b'"a bad text"', b'"a good text"'),
        (b"a bad text", b"a good text"),
        (
            b'{"id": 123456789012345678901234, "is": "bad"}',
            b'{"id":123456789012345678901234,"is":"good"}',
        ),
        ('["bad", "é", 1.5]'.encode(), '["good","é",1.5]'.encode()),
    ],
)
def test_json_stays_json_and_text_stays_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: bytes, after: bytes
) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text("#!/bin/sh\nsed -i 's/bad/good/' \"$1\"\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    assert corrected(value) == {PLACE: after}


@pytest.mark.parametrize("editor", ["no-such-editor", "vi 'without an end"])
def test_an_editor_that_cannot_be_run_is_told(monkeypatch: pytest.MonkeyPatch, editor: str) -> None:
    monkeypatch.setenv("EDITOR", editor)
    with pytest.raises(SelectionRefused, match="cannot be run") as refused:
        corrected(b"{}")
    assert "Set EDITOR" in refused.value.next_step


@pytest.mark.parametrize("line", [b'{"id": [], "value": 1}', b"[]", b'{"id": "x"}', b"{"])
def test_a_line_that_is_no_letter_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    (tmp_path / "line").write_bytes(line)
    monkeypatch.setenv("EDITOR", f"cp {tmp_path / 'line'}")
    with pytest.raises(SelectionRefused, match="line 1"):
        corrected(b"{}")


def test_an_export_into_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(typer.BadParameter, match="Not a directory"):
        _write(tmp_path / "file" / "letters.jsonl", iter([]))
