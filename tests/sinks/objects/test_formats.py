from __future__ import annotations

import io
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kafka_etl.contracts import Kind, Move, RefusedRows, Rows
from kafka_etl.invocation import Outputs
from kafka_etl.record import Partition
from kafka_etl_connectors.objects.columns import column_of
from kafka_etl_connectors.objects.files import length_of
from kafka_etl_connectors.objects.folders import FolderTemplate
from kafka_etl_connectors.objects.formats import Lines
from tests.sinks.objects.system import DAY, TP, World, record, rows, table_form, take

EVERY_TYPE = {
    "flag": ("bool", True),
    "small": ("int16", -(2**15)),
    "middle": ("int32", 2**31 - 1),
    "large": ("int64", 2**63 - 1),
    "short": ("float32", 0.5),
    "long": ("float64", 0.1),
    "price": ("decimal(12,2)", Decimal("1234567890.12")),
    "name": ("text", "Zoë"),
    "raw": ("bytes", b"\x00\xff"),
    "day": ("date", date(2026, 2, 28)),
    "clock": ("time", time(23, 59, 59, 999_999)),
    "naive": ("timestamp", datetime(2026, 1, 2, 3, 4, 5, 678_901)),  # noqa: DTZ001 - that is what it tests
    "moment": ("timestamptz", datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)),
    "who": ("uuid", UUID(int=7)),
    "doc": ("json", {"a": [1]}),
    "tags": ("text[]", ["a", "b"]),
}
READ_BACK = {
    **{name: value for name, (_, value) in EVERY_TYPE.items()},
    "who": "00000000-0000-0000-0000-000000000007",
    "doc": '{"a":[1]}',
}


@pytest.fixture
def folder(tmp_path):
    return World(f"file://{tmp_path}/lake")


def given(values: list | None, table: pa.Table | None = None) -> Rows:
    count = len(table) if values is None else len(values)
    outputs = Outputs(values=values or [], keys=[None] * count, table=table)
    return Rows(outputs, [record(at, TP, DAY) for at in range(count)], str)


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_duckdb_reads_lines_that_were_written_in_many_frames(folder, compression):
    folder.place()
    store = folder.store(form=Lines("jsonl", compression, None), memory="1KiB")
    for begin in range(0, 1000, 100):
        take(store, begin, begin + 100)
    store.roll(final=True)
    (path,) = folder.files()
    assert path.endswith({"zstd": ".jsonl.zst", "gzip": ".jsonl.gz", "none": ".jsonl"}[compression])
    read = duckdb.read_json(path).fetchall()
    assert [row[0] for row in read] == list(range(1000))
    assert len(list(folder.rows(path))) == 1000


def test_text_is_a_line_for_each_value(folder):
    folder.place()
    store = folder.store(form=Lines("text", "none", None))
    take(store, 0, 2, values=["ä".encode(), b""])
    store.roll(final=True)
    (path,) = folder.files()
    with open(path, "rb") as file:  # noqa: PTH123
        assert file.read() == "ä\n\n".encode()


def test_every_type_comes_back_from_parquet(folder):
    folder.place()
    form = table_form(**{name: text for name, (text, _) in EVERY_TYPE.items()})
    store = folder.store(form=form)
    values = [
        tuple(value for _, value in EVERY_TYPE.values()),
        (None,) * len(EVERY_TYPE),
    ]
    store.commit(given(values), {TP: Move(0, 2)}, [])
    store.roll(final=True)
    (path,) = folder.files()
    first, second = pq.ParquetFile(path).read().to_pylist()
    assert first == READ_BACK
    assert set(second.values()) == {None}


def test_arrow_tables_are_written_as_they_are_and_by_name(folder):
    folder.place()
    store = folder.store(form=table_form(id="int64", name="text"), memory="1KiB")
    for begin in range(0, 5000, 1000):
        table = pa.table(
            {
                "name": pa.array([f"n{n}" for n in range(begin, begin + 1000)], pa.large_string()),
                "id": pa.array(range(begin, begin + 1000), pa.int32()),
            }
        )
        store.commit(given(None, table), {TP: Move(begin, begin + 1000)}, [])
    store.roll(final=True)
    (path,) = folder.files()
    read = duckdb.read_parquet(path).aggregate("count(*), sum(id), max(name)").fetchall()
    assert read == [(5000, sum(range(5000)), "n999")]
    assert pq.ParquetFile(path).schema_arrow == pa.schema({"id": pa.int64(), "name": pa.string()})


def test_an_arrow_table_is_divided_by_day(folder):
    folder.place()
    store = folder.store(form=table_form(id="int64"))
    table = pa.table({"id": pa.array(range(4))})
    outputs = Outputs(keys=[None] * 4, table=table)
    sources = [record(at, TP, DAY * (at % 2)) for at in range(4)]
    store.commit(Rows(outputs, sources, str), {TP: Move(0, 4)}, [])
    store.roll(final=True)
    assert [pq.ParquetFile(path).read()["id"].to_pylist() for path in folder.files()] == [
        [0, 2],
        [1, 3],
    ]


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("int16", 2**15),
        ("int64", 2**63),
        ("int64", "7"),
        ("decimal(4,2)", Decimal("1.234")),
        ("decimal(4,2)", Decimal(1000)),
        ("text", b"\xff"),
        ("text", 7),
        ("date", "tomorrow"),
        ("int64 not null", None),
        ("int64[]", [1, "x"]),
    ],
)
def test_values_that_do_not_fit_are_refused_and_named(folder, kind, bad):
    folder.place()
    store = folder.store(form=table_form(id="int64", it=kind))
    good = None if "not null" not in kind else 1
    values = [(1, good), (2, bad), (3, good), (4, bad)]
    with pytest.raises(RefusedRows) as refused:
        store.commit(given(values), {TP: Move(0, 4)}, [])
    assert sorted(refused.value.rows) == [1, 3]
    verdict = refused.value.rows[1]
    assert verdict.code == "EncodeError"
    assert verdict.message.startswith("it")
    store.commit(given([values[0], values[2]]), {TP: Move(0, 4)}, [])
    store.roll(final=True)
    assert pq.ParquetFile(folder.files()[0]).read()["id"].to_pylist() == [1, 3]


def test_a_deletion_has_no_place_in_a_file(folder):
    folder.place()
    store = folder.store(form=table_form(id="int64"))
    with pytest.raises(RefusedRows) as refused:
        store.commit(given([(1,), None]), {TP: Move(0, 2)}, [])
    assert refused.value.rows[1].code == "Tombstone"
    assert sorted(refused.value.rows) == [1]


def test_a_file_may_be_finished_twice():
    for form in (Lines("jsonl", "zstd", None), table_form(id="int64")):
        file = form.open()
        outputs = rows(0, 1) if isinstance(form, Lines) else given([(1,)])
        file.append(form.encode(outputs)[1]([0]))
        first = file.finish().read()
        content = file.finish()
        assert length_of(content) == len(first)
        assert content.read() == first
        file.close()


def test_large_files_of_lines_go_to_disk_in_frames():
    file = Lines("jsonl", "zstd", None).open()
    line = b"x" * 1000
    for _ in range(2200):
        file.append((line, 1))
    assert file.spilled
    assert file.memory < 1024 * 1024
    content = pa.input_stream(io.BytesIO(file.finish().read()), compression="zstd").read()
    assert content == (line + b"\n") * 2200
    file.close()


# Folders


def folders(text: str, given: Rows, table: str = "t") -> dict[str, list[int]]:
    return FolderTemplate(text, table).groups(TP, given, range(len(given)))


def test_days_hours_and_minutes_are_folders():
    stamps = [0, 59_000, 60_000, 3_600_000, DAY].__getitem__
    assert folders("{topic}/{timestamp}", rows(0, 5, stamps=stamps)) == {
        "orders/1970-01-01/": [0, 1, 2, 3],
        "orders/1970-01-02/": [4],
    }
    assert folders("h={timestamp:%H}", rows(0, 5, stamps=stamps)) == {
        "h=00/": [0, 1, 2, 4],
        "h=01/": [3],
    }
    assert len(folders("{timestamp:%Y%m%dT%H%M}", rows(0, 5, stamps=stamps))) == 4


def test_a_month_is_one_folder_for_all_its_days():
    stamps = [0, DAY, 40 * DAY].__getitem__
    assert folders("{table}/{partition}/{timestamp:%Y/%m}/", rows(0, 3, stamps=stamps)) == {
        "t/0/1970/01/": [0, 1],
        "t/0/1970/02/": [2],
    }


def test_an_own_timestamp_wins_over_the_source_and_none_has_a_folder_too():
    outputs = Outputs(values=[b"", b"", b""], keys=[None] * 3, timestamps=[DAY, 0, 0])
    mixed = Rows(outputs, [record(0, TP, 0), record(1, TP, 0), record(2, TP, None)], str)
    assert folders("dt={timestamp}", mixed) == {
        "dt=1970-01-02/": [0],
        "dt=1970-01-01/": [1],
        "dt=__HIVE_DEFAULT_PARTITION__/": [2],
    }


def test_timestamps_beyond_the_calendar_have_the_folder_of_none():
    assert list(folders("dt={timestamp}", rows(0, 1, stamps=lambda _: 2**62))) == [
        "dt=__HIVE_DEFAULT_PARTITION__/"
    ]


@pytest.mark.parametrize(
    "bad",
    ["", "/", "a//b", "../a", "_offsets/x", ".a", "{topic", "{nobody}", "{topic!r}", "{topic:>5}",
     "{timestamp:%f}", "{timestamp:%}", "a\\b", "{}"],
)  # fmt: skip
def test_templates_that_make_no_folder_are_refused(bad):
    with pytest.raises(ValueError, match=r"\S"):
        FolderTemplate(bad)


@pytest.mark.parametrize("to", ["", "..", "a/../b", "_offsets/app", "a//b", "/a", "x" * 600, "a\n"])
def test_a_destination_that_is_no_folder_is_refused(to):
    template = FolderTemplate("{to}/x")
    sent = rows(0, 1, to=lambda _: to)
    assert template.groups(TP, sent, [0]) == {"": [0]}
    assert template.refusal(sent, 0).code == "BadDestination"


def test_a_template_of_the_partition_alone_looks_at_no_row():
    class Blind:
        def __getattr__(self, name):
            raise AssertionError(name)

    found = FolderTemplate("{topic}/{partition}/").groups(Partition("t", 3), Blind(), [0, 1])
    assert found == {"t/3/": [0, 1]}


# Types


def test_types_are_read():
    assert column_of("a", "decimal(38, 9)").scale == 9
    assert column_of("a", "int64[] not null").many
    assert not column_of("a", "int64[] not null").nullable
    assert column_of("a", "json").kind is Kind.JSON


@pytest.mark.parametrize(
    "bad",
    ["", "int", "int63", "decimal", "decimal(39,0)", "decimal(2,3)", "text(3,4)", "int64 null"],
)
def test_unknown_types_are_refused(bad):
    with pytest.raises(ValueError, match="column a"):
        column_of("a", bad)
