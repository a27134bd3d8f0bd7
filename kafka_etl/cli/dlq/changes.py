"""Changes to the values of dead letters before a replay: by hand, or by an operator."""

from __future__ import annotations

import difflib
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
import typer

from kafka_etl.cli.dlq.bulk import Letters, tell

if TYPE_CHECKING:  # imported when the command runs: `--help` must not wait for them
    from kafka_etl.dead_letters.statuses import LetterPlace
    from kafka_etl.dlq.replay import ReplayOrder
    from kafka_etl.dlq.selection import Selection

_BY_HAND: Final = 100
_SAMPLE: Final = 5
_EDITOR: Final = "vi"


def edited(letters: Letters, selection: Selection) -> dict[LetterPlace, bytes]:
    """Have the user correct values in `$EDITOR`; show the differences, and return what has changed.

    The file has one JSON object a line: the letter's id, and its value as JSON, or as text.

    Raises:
        SelectionRefused: There are too many letters, a value is no text, or a line is not readable.
    """
    from kafka_etl.errors import SelectionRefused

    if len(selection.letters) > _BY_HAND:
        raise SelectionRefused(
            f"{len(selection.letters):,} values are too many to edit; at most {_BY_HAND}",
            "Select fewer, or change them with --transform OPERATOR.",
        )
    found = {
        letter.at.id: letter.value for letter in letters.read({one.at for one in selection.letters})
    }
    places = {f"{letters.topic}/{one.at}": one.at for one in selection.letters}
    before = {name: _as_json(name, found.get(name)) for name in places}
    after = _from_editor(before)
    changes = {name: value for name, value in after.items() if value != before[name]}
    for name, value in changes.items():
        _show_difference(name, before[name], value)
    return {
        places[name]: _as_bytes(value, in_place_of=found.get(name))
        for name, value in changes.items()
    }


def show_transformed(
    file: Path,
    overrides: dict[str, str],
    letters: Letters,
    selection: Selection,
    order: ReplayOrder,
) -> None:
    """Show what the operators of `--transform` make of some of the letters."""
    from kafka_etl.cli.daemon.run import read_pipelines
    from kafka_etl.cli.trial.rendering import RealClock
    from kafka_etl.dead_letters.replayed import ReplayedRecord
    from kafka_etl.dlq.replay import transform_document
    from kafka_etl.trial.run import built_for_trial, run_trial

    ((document, spec),) = read_pipelines([file], overrides)
    found = list(letters.read({one.at for one in selection.letters[:_SAMPLE]}))
    with built_for_trial(transform_document(document, spec, order)) as pipeline:
        for letter in found:
            trial = run_trial(pipeline, [ReplayedRecord(letter, letter.at)], RealClock())
            outputs = [_read(value) for value in trial.settlement.outputs.values]
            failures = [
                f"{dead.failure.error.type}: {dead.failure.error.message}"
                for dead in trial.settlement.dead_letters
            ]
            after: Any = (outputs[0] if len(outputs) == 1 else outputs) if outputs else None
            _show_difference(letter.at.id, _read(letter.value), after)
            for failure in failures:
                tell(f"  fails: {failure}")


def _from_editor(before: dict[str, Any]) -> dict[str, Any]:
    from kafka_etl.errors import SelectionRefused

    lines = [_dumped({"id": name, "value": value}) for name, value in before.items()]
    with tempfile.TemporaryDirectory(prefix="kafka-etl-") as folder:
        path = Path(folder) / "letters.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
        editor = os.environ.get("EDITOR") or _EDITOR
        try:
            status = subprocess.call([*shlex.split(editor), str(path)])  # noqa: S603 - the user's
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            raise SelectionRefused(
                f"the editor `{editor}` cannot be run: {said}",
                "Set EDITOR to the command of an editor that is installed here.",
            ) from error
        if status != 0:
            raise SelectionRefused(f"{editor} has not ended well: nothing was taken over")
        after: dict[str, Any] = {}
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                entry = _loaded(line)
                name, value = entry["id"], entry["value"]
                is_known = name in before
            except (ValueError, LookupError, TypeError) as error:
                raise SelectionRefused(f"line {number} of the edited letters: {error}") from error
            if not is_known:
                raise SelectionRefused(f"line {number}: {name} is none of the letters")
            after[name] = value
    return after


def _as_json(name: str, value: bytes | None) -> Any:
    """A value as JSON, or as text.

    Raises:
        SelectionRefused: The value is neither.
    """
    from kafka_etl.errors import SelectionRefused

    if value is None:
        return None
    try:
        return _loaded(value)
    except ValueError:
        pass
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise SelectionRefused(
            f"the value of {name} is no text",
            "Values such as Avro cannot be edited by hand: change them with --transform OPERATOR.",
        ) from error


def _as_bytes(value: Any, *, in_place_of: bytes | None) -> bytes:
    """What the user has written: text as it is, where there was no JSON; anything else as JSON."""
    if isinstance(value, str):
        try:
            _loaded(in_place_of or b"")
        except ValueError:
            return value.encode()
    return _dumped(value)


def _loaded(data: bytes) -> Any:
    """The value of JSON, with each integer as it is, however large.

    Raises:
        ValueError: It is no JSON.
    """
    orjson.loads(data)  # is strict, and makes large integers floats
    return json.loads(data)


def _dumped(value: Any, indent: int | None = None) -> bytes:
    separators = (",", ": " if indent else ":")
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators).encode()


def _read(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value.decode("utf-8", "replace")


def _show_difference(name: str, before: Any, after: Any) -> None:
    typer.echo(f"{name}:", err=True)
    for line in _difference(_lines(before), _lines(after)):
        typer.echo(f"  {line}", err=True)


def _difference(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    found = list(difflib.ndiff(before, after))
    if before == after:
        yield "unchanged"
        return
    yield from (line.rstrip() for line in found if not line.startswith("?"))


def _lines(value: Any) -> list[str]:
    return _dumped(value, indent=2).decode().splitlines()
