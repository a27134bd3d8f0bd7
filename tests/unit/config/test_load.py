"""Which files are read, and what keeps a file from being read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_etl.config.load import Loaded, load
from kafka_etl.config.report import Mark
from kafka_etl.errors import Code


def loaded(*paths: Path) -> Loaded:
    return load(paths, env={})


def write(path: Path, text: str | bytes = "name: a\n") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "ops.py", "notes.txt"):
        write(tmp_path / name)
    found = loaded(tmp_path)
    assert [document.path.name for document in found.documents] == ["a.yaml", "b.yml"]
    assert not found.findings


def test_hidden_files_of_a_folder_are_no_pipelines(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    write(tmp_path / ".pre-commit-config.yaml", "repos: []\n")
    (tmp_path / ".#a.yaml").symlink_to("me@here.1234")  # as Emacs marks a file that is edited
    found = loaded(tmp_path)
    assert [document.path.name for document in found.documents] == ["a.yaml"]
    assert not found.findings


def test_a_file_may_be_called_anything(tmp_path: Path) -> None:
    assert len(loaded(write(tmp_path / "pipeline.conf")).documents) == 1


def test_an_empty_folder_is_named_even_beside_a_full_one(tmp_path: Path) -> None:
    write(tmp_path / "full" / "a.yaml")
    (tmp_path / "empty").mkdir()
    found = loaded(tmp_path / "full", tmp_path / "empty")
    assert len(found.documents) == 1
    (finding,) = found.findings
    assert (finding.code, finding.path) == (Code.NO_PIPELINE, tmp_path / "empty")


def test_operators_are_looked_for_beside_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "shop" / "a.yaml")
    monkeypatch.chdir(tmp_path)
    (document,) = loaded(Path("shop/a.yaml")).documents
    assert document.folder == tmp_path / "shop"


UNREADABLE = [
    (b"a: 1\nb: \xff\n", "byte 9, in line 2, is not UTF-8"),
    ("a: 1".encode("utf-16"), "it is UTF-16"),
    (b"a: " + b"x" * 1024 * 1024, "it is larger than 1,048,576 bytes"),
]


@pytest.mark.parametrize(("content", "says"), UNREADABLE)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, says: str) -> None:
    found = loaded(write(tmp_path / "a.yaml", content))
    (finding,) = found.findings
    assert not found.documents
    assert finding.code == Code.UNREADABLE_FILE
    assert says in finding.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (finding,) = loaded(tmp_path / "nope.yaml").findings
    assert finding.code == Code.UNREADABLE_FILE
    assert "No such file" in finding.message
    assert "nope.yaml" in finding.render()


def test_a_file_of_just_1_mib_is_read(tmp_path: Path) -> None:
    text = b"a: '".ljust(1024 * 1024 - 1, b"x") + b"'"
    found = loaded(write(tmp_path / "a.yaml", text))
    assert len(text) == 1024 * 1024
    assert len(found.documents) == 1


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just text\n", "5\n", "null\n"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (finding,) = loaded(write(tmp_path / "a.yaml", text)).findings
    assert finding.code == Code.INVALID_YAML
    assert finding.mark == Mark(1, 1)
    assert "one mapping: name, source, operators, sink" in finding.message


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (document,) = loaded(write(tmp_path / "a.yaml", "\ufeffname: a\n")).documents
    assert document.data == {"name": "a"}


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    good = write(tmp_path / "good.yaml")
    bad = write(tmp_path / "bad.yaml", "a: [")
    gone = tmp_path / "gone.yaml"
    found = loaded(bad, good, gone)
    assert [document.path for document in found.documents] == [good]
    assert [finding.path for finding in found.findings] == [bad, gone]
    assert found.findings[0].code == Code.INVALID_YAML


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_folder: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    (finding,) = load([tmp_path], env={}).findings
    assert finding.message == "the folder cannot be read: Permission denied"
