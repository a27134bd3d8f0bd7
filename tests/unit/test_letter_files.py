"""Dead letters in files: each at its line, and a bad line costs nothing but itself."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from kafka_etl.dead_letters import Place
from kafka_etl.dlq.files import LetterFile, letter_files
from kafka_etl.envelope import encode_failure
from kafka_etl.errors import NoSuchLetter
from tests.unit.test_envelope import ABOUT, ERROR, PLENTY, letter

LINES = [encode_failure(letter(b"%d" % n, headers=[("h", b"\xff")]), ABOUT, PLENTY) for n in (1, 2)]


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_each_letter_is_at_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "dead.jsonl", LINES)
    file = LetterFile(path)
    one, two = file
    assert (one.at, two.at) == (Place(str(path), 0, 1), Place(str(path), 0, 2))
    assert (one.value, two.value, one.key) == (b"1", b"2", b"k1")
    assert (one.source, one.headers) == (Place("orders", 3, 42), [("h", b"\xff")])
    assert one.error == "shop.NoRate: no rate for XAU"
    assert one.traceback == ERROR.traceback
    assert (file.bad, file.told) == (0, "")


def test_bad_lines_are_counted_and_told(tmp_path: Path) -> None:
    bad = [b"{", b"", b"  ", b"\xff\xfe", b'{"a": 1}', b"[1]"]
    file = LetterFile(written(tmp_path / "dead.jsonl", [LINES[0], *bad, LINES[1]]))
    assert [found.at.offset for found in file] == [1, 8]
    assert (file.bad, file.first_bad) == (4, 2)
    assert file.told == f"{file.path}: 4 lines are no dead letters (the first: line 2)"
    assert [found.at.offset for found in file] == [1, 8]
    assert file.bad == 4


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_files_are_read_and_cut_ones_up_to_the_cut(tmp_path: Path, ending: str) -> None:
    data = b"\n".join(LINES * 500)
    path = tmp_path / f"dead.jsonl{ending}"
    whole = (
        gzip.compress(data) if ending == ".gz" else pa.Codec("zstd").compress(data, asbytes=True)
    )
    path.write_bytes(whole)
    file = LetterFile(path)
    assert [found.at.offset for found in file] == list(range(1, 1001))
    assert file.told == ""
    path.write_bytes(whole[: len(whole) // 2])
    assert len(list(file)) < 1000
    assert file.bad >= 1
    path.write_bytes(b"no such thing at all")
    assert list(file) == []
    assert file.told == f"{path}: 1 line is no dead letter (the first: line 1)"


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "2026").mkdir()
    written(tmp_path / "2026" / "b.jsonl", LINES)
    written(tmp_path / "a.jsonl", LINES[:1])
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    found = letter_files(tmp_path)
    assert [file.path.name for file in found] == ["b.jsonl", "a.jsonl"]
    assert sum(len(list(file)) for file in found) == 3
    (one,) = letter_files(tmp_path / "a.jsonl")
    assert one.path == tmp_path / "a.jsonl"


@pytest.mark.parametrize("name", ["none.jsonl", "empty"])
def test_no_file_is_an_error_with_a_next_step(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSuchLetter, match="no file of dead letters") as error:
        letter_files(tmp_path / name)
    assert "JSON lines" in error.value.next_step


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        list(LetterFile(tmp_path / "gone.jsonl"))
