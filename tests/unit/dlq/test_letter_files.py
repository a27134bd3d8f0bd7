"""Dead letters in files: each at its line, and a bad line costs nothing but itself."""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from kafka_etl.cli.dlq.finding import find_source, find_topic
from kafka_etl.dead_letters import Place, StoredLetter
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.statuses import LetterStatus
from kafka_etl.dlq.exchange import LetterLine, as_letter, line_of, lines_in
from kafka_etl.dlq.files import LetterFiles
from kafka_etl.dlq.index import Index, index_in_memory
from kafka_etl.dlq.where import Where
from kafka_etl.envelope import encode_failure, encode_raw
from kafka_etl.errors import BrokersUnreachable, NoSuchLetter
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import ABOUT, ERROR, PLENTY, letter

LINES = [encode_failure(letter(b"%d" % n, headers=[("h", b"\xff")]), ABOUT, PLENTY) for n in (1, 2)]


def written(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def index_of_files(files: LetterFiles) -> Index:
    return index_in_memory(
        files.name, files.ranges, lambda ranges: map(as_letter, files.read(ranges))
    )


def letters(files: LetterFiles) -> list[StoredLetter]:
    return list(filter(None, map(decode_letter, files.read(files.ranges))))


def offsets(files: LetterFiles) -> list[int]:
    return [found.at.offset for found in letters(files)]


def test_each_letter_is_at_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "dead.jsonl", LINES)
    one, two = letters(LetterFiles(path))
    assert (one.at, two.at) == (Place(str(path), 0, 1), Place(str(path), 0, 2))
    assert (one.value, two.value, one.key) == (b"1", b"2", b"k1")
    assert (one.source, one.headers) == (Place("orders", 3, 42), [("h", b"\xff")])
    assert one.error == "shop.NoRate: no rate for XAU"
    assert one.traceback == ERROR.traceback


def test_a_range_is_a_part_of_the_lines(tmp_path: Path) -> None:
    files = LetterFiles(written(tmp_path / "dead.jsonl", LINES * 3))
    (file,) = files.ranges
    assert [line.number for line in files.read({file: (2, 5)})] == [2, 3, 4]


def test_bad_lines_are_counted_and_stop_nothing(tmp_path: Path) -> None:
    bad = [b"{", b"", b"  ", b"\xff\xfe", b'{"a": 1}', b"[1]"]
    files = LetterFiles(written(tmp_path / "dead.jsonl", [LINES[0], *bad, LINES[1]]))
    assert offsets(files) == [1, 8]
    index = index_of_files(files)
    assert [row.offset for row in index.letters()] == [1, 8]
    assert index.strangers == 4


def test_a_filter_reads_the_values_of_lines(tmp_path: Path) -> None:
    files = LetterFiles(written(tmp_path / "dead.jsonl", LINES))
    index = index_of_files(files)
    assert [row.offset for row in index.letters(Where("value == 2 and headers.h != null"))] == [2]
    (kind,) = index.kinds(Where("error.type == 'shop.NoRate'"))
    assert kind.letters == 2


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_files_are_read_and_cut_ones_up_to_the_cut(tmp_path: Path, ending: str) -> None:
    data = b"\n".join(LINES * 500)
    path = tmp_path / f"dead.jsonl{ending}"
    whole = (
        gzip.compress(data) if ending == ".gz" else pa.Codec("zstd").compress(data, asbytes=True)
    )
    path.write_bytes(whole)
    files = LetterFiles(path)
    assert offsets(files) == list(range(1, 1001))
    path.write_bytes(whole[: len(whole) // 2])
    assert len(offsets(files)) < 1000
    assert index_of_files(files).strangers >= 1
    path.write_bytes(b"no such thing at all")
    assert letters(files) == []
    assert index_of_files(files).strangers == 1


def test_a_folder_is_its_files_by_name(tmp_path: Path) -> None:
    for name in ("2026", ".kafka-etl", "_offsets"):
        (tmp_path / name).mkdir()
    for name in (".kafka-etl", "_offsets"):
        written(tmp_path / name / "orders-0.json", [b"{}"])
    written(tmp_path / "2026" / "b.jsonl", LINES)
    written(tmp_path / "a.jsonl", LINES[:1])
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    files = LetterFiles(tmp_path)
    found = [(found.at.partition, found.at.offset) for found in letters(files)]
    assert found == [(0, 1), (0, 2), (1, 1)]
    places = [files.place(line) for line in files.read(files.ranges)]
    assert places[-1] == f"{tmp_path / 'a.jsonl'}, line 1"
    (line,) = (one := LetterFiles(tmp_path / "a.jsonl")).read(one.ranges)
    assert one.place(line) == "line 1"


def test_the_rows_of_an_export_are_the_letters_they_were(tmp_path: Path) -> None:
    record = in_topic(encode_raw(letter(b"v", b"k", [("own", b"\xff")]), ABOUT, PLENTY))
    found = decode_letter(record)
    assert found is not None
    row = msgspec.json.encode(line_of(record, found, LetterStatus.REPLAYED))
    files = LetterFiles(written(tmp_path / "export.jsonl", [row, b'{"id": 1}']))
    exported, other = map(as_letter, files.read(files.ranges))
    assert (exported.key(), exported.value()) == (record.key(), record.value())
    assert exported.headers() == record.headers()
    back = decode_letter(exported)
    assert back is not None
    assert msgspec.structs.replace(back, at=found.at) == found
    assert other.content == b'{"id": 1}'
    assert index_of_files(files).strangers == 1


def test_documents_of_sinks_are_rows_of_an_import(tmp_path: Path) -> None:
    path = written(tmp_path / "dead.jsonl", [*LINES, b'{"a": 1}'])
    *rows, (place, problem) = lines_in(path)
    assert (place, isinstance(problem, str)) == ("line 3", True)
    for (_, row), line in zip(rows, LINES, strict=True):
        assert isinstance(row, LetterLine)
        assert row.source_topic == "orders"
        encoded = row.encoded()
        assert (encoded.key, encoded.value, encoded.headers) == (b"k1", line, [])


@pytest.mark.parametrize("name", ["none.jsonl", "empty"])
def test_no_file_is_an_error_with_a_next_step(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSuchLetter, match="no file of dead letters") as error:
        LetterFiles(tmp_path / name)
    assert "JSON lines" in error.value.next_step


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    files = LetterFiles(written(tmp_path / "gone.jsonl", LINES))
    (tmp_path / "gone.jsonl").unlink()
    with pytest.raises(OSError, match="No such file"):
        letters(files)


def test_a_folder_without_files_of_lines_hides_no_topic_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("orders.dlq", "my dead"):
        (tmp_path / name).mkdir()
    (tmp_path / "orders.dlq" / "notes.md").touch()
    written(tmp_path / "my dead" / "orders-0.jsonl", LINES)
    with pytest.raises(BrokersUnreachable):
        find_topic("orders.dlq", "127.0.0.1:1", None, {})
    for given in ("orders.dlq/", "./none.jsonl"):
        with pytest.raises(NoSuchLetter, match="no file of dead letters"):
            find_source(given, None, None, {})
    assert len(list(find_source("my dead", None, None, {}).letters())) == 2
    with pytest.raises(NoSuchLetter, match="statuses are kept in Kafka only") as error:
        find_topic("my dead", None, None, {})
    assert "kafka-etl dlq import 'my dead' -t TOPIC" in error.value.next_step
