"""The suite that every writer must pass, and what the suite cannot know."""

from pathlib import Path

import pytest
from kafka_etl.contracts import TAKEN, Refused, Unreachable, Writer
from kafka_etl.testing import WriterContract, WriterSystem, rows

from my_project import LineSettings, LineWriter


class LineSystem(WriterSystem):
    """The suite's access to the file."""

    refused = b"two\nlines"
    tombstones = False

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lines"

    def writer(self) -> Writer:
        return LineWriter(LineSettings(path=self._path))

    def written(self) -> list[bytes]:
        return self._path.read_bytes().splitlines() if self._path.exists() else []


class TestLines(WriterContract):
    @pytest.fixture
    def system(self, tmp_path: Path) -> LineSystem:
        return LineSystem(tmp_path)


def test_a_bad_row_does_not_stop_the_others(tmp_path: Path) -> None:
    writer = LineWriter(LineSettings(path=tmp_path / "lines"))
    writer.connect()
    answer = writer.write(rows(b"a", b"b\nc", b"d"))
    assert answer is not TAKEN
    assert answer == {1: Refused("NoLine", "the value is no single line")}
    assert (tmp_path / "lines").read_bytes() == b"a\nd\n"


def test_a_missing_folder_makes_the_pipeline_wait(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="does not exist"):
        LineWriter(LineSettings(path=tmp_path / "nope/lines")).connect()
