"""`${VAR}`, `${VAR:-default}`, `${file:PATH}` in pipeline files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.config.load import Loaded, load
from kafka_etl.config.report import Mark
from kafka_etl.errors import Code

ENV = {"HOST": "broker", "PORT": "9092", "EMPTY": "", "YAML": "{a: [b, *c]}", "REF": "${HOST}"}


def loaded(folder: Path, text: str, env: Mapping[str, str] = ENV) -> Loaded:
    path = folder / "a.yaml"
    path.write_text(text)
    return load([path], env=env)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${HOST}", "broker"),
        ("${HOST}:${PORT}", "broker:9092"),
        ("'${PORT}'", "9092"),
        ("${PORT}", "9092"),
        ("${NOPE:-localhost}", "localhost"),
        ("${NOPE:-}", ""),
        ("${HOST:-localhost}", "broker"),
        ("${EMPTY:-default}", "default"),
        ("${NOPE:-a:-b}", "a:-b"),
        ("$${HOST}", "${HOST}"),
        ("$$${HOST}", "$${HOST}"),
        ("$HOST $$ {HOST}", "$HOST $$ {HOST}"),
        ("[a, {b: '${HOST}'}]", ["a", {"b": "broker"}]),
        # what a variable holds is never looked at again: not as YAML, not as a variable
        ("${YAML}", "{a: [b, *c]}"),
        ("${REF}", "${HOST}"),
    ],
)
def test_a_variable_becomes_text(tmp_path: Path, written: str, read: Any) -> None:
    found = loaded(tmp_path, f"a: {written}\n")
    assert not found.findings
    assert found.documents[0].data == {"a": read}


def test_keys_are_not_touched(tmp_path: Path) -> None:
    found = loaded(tmp_path, "'${HOST}': 1\n")
    assert found.documents[0].data == {"${HOST}": 1}


def test_a_file_is_read_relative_to_the_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "password").write_text("a: ${HOST}\n")
    monkeypatch.chdir("/")
    found = loaded(tmp_path, "a: ${file:secrets/password}\n")
    assert found.documents[0].data == {"a": "a: ${HOST}"}


MISTAKES = [
    ("${NOPE}", "the environment variable `NOPE` is not set", "write `${NOPE:-default}`"),
    ("${EMPTY}", "the environment variable `EMPTY` is empty", "write `${EMPTY:-default}`"),
    ("${}", "`${}` is not a variable", "${file:PATH}"),
    ("${1ST}", "`${1ST}` is not a variable", "write $${ for a literal ${"),
    ("${A B:-c}", "`${A B:-c}` is not a variable", "${NAME:-default}"),
    ("${HOST", "`${HOST` is not closed", "${NAME}"),
    ("${NOPE:-${HOST}}", "variables do not nest", "${NAME}"),
]


@pytest.mark.parametrize(("written", "says", "hint"), MISTAKES)
def test_a_mistake_names_its_place_and_the_remedy(
    tmp_path: Path, written: str, says: str, hint: str
) -> None:
    found = loaded(tmp_path, f"x: 1\na:\n  - b\n  - '{written}'\n")
    finding = found.findings[0]
    assert finding.code == Code.VARIABLE_NOT_SET
    assert finding.mark == Mark(4, 5)
    assert says in finding.message
    assert hint in finding.hint


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("nope", None, "No such file"),
        (".", None, "Is a directory"),
        ("bytes", b"\xff", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_full(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    (finding,) = loaded(tmp_path, f"a: ${{file:{name}}}\n").findings
    assert finding.code == Code.VARIABLE_NOT_SET
    assert str(tmp_path / name) in finding.message
    assert reason in finding.message


def test_all_variables_that_are_not_set_are_named_at_once(tmp_path: Path) -> None:
    found = loaded(tmp_path, "a: ${A}${B}\nc: ${C}\n")
    assert [f.message.split("`")[1] for f in found.findings] == ["A", "B", "C"]
