"""The tables and files of the index of dead letters, without Kafka."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import pytest

from kafka_etl.cli.dlq.bulk import Request
from kafka_etl.dead_letters.decode import decode_letter
from kafka_etl.dead_letters.statuses import LetterPlace, LetterStatus, Status, status_record
from kafka_etl.dlq import index as dlq_index
from kafka_etl.dlq.index import Index, open_index
from kafka_etl.dlq.rows import Group, Own, row_of
from kafka_etl.dlq.store import Store
from kafka_etl.dlq.where import Where
from kafka_etl.envelope import Encoded
from kafka_etl.errors import IndexUnusable, SelectionRefused
from kafka_etl.index_files import IndexFiles, default_folder
from kafka_etl.kafka.cluster.admin import Admin
from kafka_etl.kafka.cluster.topics import Ranges
from kafka_etl.record import Headers, Partition, SourceRecord
from kafka_etl.testing import StoredRecord
from tests.unit.dead_letters.test_dead_letters import in_topic
from tests.unit.dead_letters.test_envelope import encode, letter

EUR = Group("aa", "OperatorError", "to_eur", "v1", "NoRate", "shop", "orders", "kafka_etl")
EUR_2 = EUR._replace(version="v2")
LATE = Group("bb", "Timeout", "ask", "v1", "TimeoutError", "shop", "orders", "kafka_etl")


def own(partition: int, offset: int, *, at: int = 0) -> Own:
    return Own(partition, offset, at or 1000 + offset, partition, 10 * offset, 3, 9, f"no {offset}")


def at(partition: int, offset: int) -> LetterPlace:
    return LetterPlace(partition, offset)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "index.sqlite")
    made.add([(EUR, own(0, 0)), (LATE, own(0, 1)), (EUR_2, own(1, 0, at=5000)), (EUR, own(1, 2))])
    made.commit()
    return made


def index(store: Store) -> Index:
    return Index("dlq", store, lambda _ranges: iter(()))


def counted(store: Store) -> dict[str, dict[str, int]]:
    return {
        kind.fingerprint: {status.value: n for status, n in kind.counts.items()}
        for kind in index(store).kinds(status=None)
    }


def test_a_status_topic_that_has_lost_records_takes_no_letter_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path))
    dlq, told = Partition("dlq", 0), Partition("dlq.status", 0)
    replayed = Status(LetterStatus.REPLAYED, 1)
    records: dict[Partition, list[SourceRecord]] = {
        dlq: [at_offset(encode(letter()), "dlq", offset) for offset in range(3)],
        told: [said(at(0, n % 3), replayed, n) for n in range(5)],
    }
    serve(monkeypatch, dlq, records)
    admin = cast("Admin", FakeAdmin())
    assert len(list(open_index({}, admin, "dlq").letters(status=LetterStatus.REPLAYED))) == 3
    del records[told][2:]
    found = open_index({}, admin, "dlq")
    assert [row.status for row in found.letters(status=None)] == ["replayed", "replayed", "open"]


def test_statuses_of_another_partition_than_the_one_that_has_lost_records_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path))
    dlq, lossy, whole = Partition("dlq", 0), Partition("dlq.status", 0), Partition("dlq.status", 1)
    replayed = Status(LetterStatus.REPLAYED, 1)
    records: dict[Partition, list[SourceRecord]] = {
        dlq: [at_offset(encode(letter()), "dlq", offset) for offset in range(3)],
        lossy: [said(at(0, 0), replayed, 0), said(at(0, 1), replayed, 1)],
        whole: [said(at(0, 2), replayed, 0, partition=1)],
    }
    serve(monkeypatch, dlq, records)
    admin = cast("Admin", FakeAdmin(statuses=2))
    assert len(list(open_index({}, admin, "dlq").letters(status=LetterStatus.REPLAYED))) == 3
    del records[lossy][1:]
    found = open_index({}, admin, "dlq")
    assert [row.status for row in found.letters(status=None)] == ["replayed", "open", "replayed"]


def serve(
    monkeypatch: pytest.MonkeyPatch,
    dlq: Partition,
    records: Mapping[Partition, Sequence[SourceRecord]],
) -> None:
    """Have the index read these records in place of a cluster's."""

    def read(_settings: object, ranges: Ranges) -> Iterator[SourceRecord]:
        for tp, (begin, end) in ranges.items():
            yield from records[tp][begin:end]

    monkeypatch.setattr(dlq_index, "existing_partitions", lambda *_: [dlq])
    monkeypatch.setattr(dlq_index, "whole", lambda _, tps: {t: (0, len(records[t])) for t in tps})
    monkeypatch.setattr(dlq_index, "read_ranges", read)


def said(letter_at: LetterPlace, status: Status, offset: int, partition: int = 0) -> SourceRecord:
    """A record of the status topic."""
    encoded = Encoded(*status_record(letter_at, status), [])
    return at_offset(encoded, "dlq.status", offset, partition)


class FakeAdmin:
    """A cluster with a dead-letter topic and its statuses."""

    cluster = "c"
    topic_ids: Final = {"dlq": "1", "dlq.status": "2"}

    def __init__(self, statuses: int = 1) -> None:
        self._statuses = statuses

    def topics(self, names: list[str], _right: str) -> dict[str, int]:
        return dict.fromkeys(names, self._statuses)


def at_offset(encoded: Encoded, topic: str, offset: int, partition: int = 0) -> SourceRecord:
    return StoredRecord(
        encoded.value, encoded.key, encoded.headers, topic=topic, partition=partition, offset=offset
    )


# Rows


@pytest.mark.parametrize("limit", [1_000_000, 1])
def test_the_row_says_what_the_letter_says(limit: int) -> None:
    record = in_topic(encode(letter(headers=[("own", b"1"), ("own", None)]), limit))
    row, read = row_of(record), decode_letter(record)
    assert row is not None
    assert read is not None
    group, its = row
    assert group == Group(
        read.fingerprint,
        read.condition,
        read.operator,
        read.version,
        read.error_type,
        read.pipeline,
        read.source.topic,
        read.family,
    )
    assert its == Own(
        read.at.partition,
        read.at.offset,
        read.written_ms,
        read.source.partition,
        read.source.offset,
        read.attempts,
        len(record.key() or b"") + len(record.value() or b""),
        read.error_text,
    )


def test_a_record_that_is_no_dead_letter_has_no_row() -> None:
    assert row_of(StoredRecord(b"1", b"k", [("own", b"1")])) is None
    assert row_of(StoredRecord(None)) is None


@pytest.mark.parametrize("junk", [b"", b"\xff\x00", b"9" * 30, b"-9" * 10, None])
def test_a_row_of_junk_can_be_stored(store: Store, junk: bytes | None) -> None:
    names = ("condition", "partition", "offset", "attempts", "error.message", "fingerprint")
    headers: Headers = [(f"kafka_etl.{name}", junk) for name in names]
    row = row_of(in_topic(Encoded(None, None, headers)))
    assert row is not None
    store.add([row])
    assert len(list(index(store).letters())) == 5


def test_an_envelope_that_claims_huge_numbers_can_be_stored(store: Store) -> None:
    document = (
        b'{"timestamp": 9999999999999999999, "requestContext": {"condition": "Timeout"},'
        b' "error": {"message": "\\ud800"}}'
    )
    row = row_of(in_topic(Encoded(None, document, [])))
    if row is not None:  # orjson refuses lone surrogates, others may not
        store.add([row])
        store.commit()


# Counts and questions


def test_kinds_count_letters_of_all_versions(store: Store) -> None:
    eur, late = index(store).kinds()
    assert (eur.fingerprint, eur.letters, eur.versions) == ("aa", 3, {"v1", "v2"})
    assert (eur.first_ms, eur.last_ms, eur.example.place) == (1000, 5000, at(1, 0))
    assert (late.letters, late.example.error) == (1, "TimeoutError: no 1")


def test_kinds_know_how_many_texts_their_letters_have(store: Store) -> None:
    eur, late = index(store).kinds()
    assert (eur.other_texts, eur.is_sampled) == (1, False)  # "no 0" twice, and "no 2"
    assert late.other_texts == 0
    (by_rows, _) = index(store).kinds(Where("attempts > 0"))
    assert (by_rows.other_texts, by_rows.is_sampled) == (1, False)
    store.add([(LATE, own(3, n)) for n in range(1000)])
    many = index(store).kinds()[0]
    assert (many.letters, many.other_texts, many.is_sampled) == (1001, 99, True)


def test_the_newest_letters_of_a_status_come_first(store: Store) -> None:
    def newest(count: int, status: LetterStatus | None) -> list[tuple[int, int]]:
        return [row.place for row in index(store).newest(count, status)]

    store.set_statuses({at(0, 1): LetterStatus.REPLAYED})
    assert newest(9, LetterStatus.OPEN) == [(1, 0), (1, 2), (0, 0)]
    assert newest(3, None) == [(1, 0), (1, 2), (0, 1)]
    assert newest(9, LetterStatus.REPLAYED) == [(0, 1)]
    assert newest(9, LetterStatus.DROPPED) == []


def test_a_status_moves_a_letter_from_one_count_to_another(store: Store) -> None:
    store.set_statuses({at(1, 0): LetterStatus.REPLAYED, at(0, 1): LetterStatus.DROPPED})
    assert counted(store) == {"aa": {"open": 2, "replayed": 1}, "bb": {"dropped": 1}}
    (eur,) = index(store).kinds()
    assert (eur.letters, eur.last_ms, eur.example.place) == (2, 1002, at(1, 2))
    store.set_statuses({at(1, 0): LetterStatus.OPEN})
    assert counted(store) == {"aa": {"open": 3}, "bb": {"dropped": 1}}


def test_a_status_waits_for_its_letter(store: Store) -> None:
    store.set_statuses({at(7, 7): LetterStatus.REPLAYED, at(7, 9): LetterStatus.DROPPED})
    assert "replayed" not in counted(store)["aa"]
    store.add([(EUR, own(7, 7)), (EUR, own(7, 8))])
    assert counted(store)["aa"] == {"open": 4, "replayed": 1}


def test_what_retention_deletes_is_forgotten(store: Store) -> None:
    store.add_strangers([at(1, 1)])
    store.set_statuses({at(1, 0): LetterStatus.REPLAYED})
    store.forget_before(1, 2)
    store.forget_before(0, 1)
    assert counted(store) == {"aa": {"open": 1}, "bb": {"open": 1}}
    assert [row.place for row in index(store).letters()] == [at(0, 1), at(1, 2)]
    assert index(store).strangers == 0


def test_another_status_topic_opens_all_letters(store: Store) -> None:
    store.set_positions("dlq.status", {0: 5})
    store.set_statuses({at(1, 0): LetterStatus.REPLAYED, at(9, 9): LetterStatus.REPLAYED})
    store.forget_statuses("dlq.status")
    store.add([(EUR, own(9, 9))])
    assert counted(store) == {"aa": {"open": 4}, "bb": {"open": 1}}
    assert store.positions("dlq.status") == {}


def test_what_was_not_committed_is_as_if_it_had_not_been(store: Store) -> None:
    new = EUR._replace(fingerprint="cc")
    store.add([(new, own(5, 5))])
    store.roll_back()
    assert counted(store) == {"aa": {"open": 3}, "bb": {"open": 1}}
    store.add([(new, own(5, 5))])
    assert counted(store)["cc"] == {"open": 1}


def test_letters_are_selected_by_kind_status_place_and_filter(store: Store) -> None:
    store.set_statuses({at(1, 2): LetterStatus.DROPPED})
    found = index(store)

    def places(where: str | None = None, **selection: object) -> list[tuple[int, int]]:
        test = None if where is None else Where(where)
        return [row.place for row in found.letters(test, **selection)]  # type: ignore[arg-type]

    assert places() == [(0, 0), (0, 1), (1, 0)]
    assert places(fingerprint="aa") == [(0, 0), (1, 0)]
    assert places(fingerprint="aa", status=None) == [(0, 0), (1, 0), (1, 2)]
    assert places(status=LetterStatus.DROPPED) == [(1, 2)]
    assert places(ids=[at(1, 2), at(1, 0), at(0, 0), at(4, 4)]) == [(0, 0), (1, 0)]
    assert places(ids=[at(1, 0), at(0, 1)], fingerprint="bb") == [(0, 1)]
    assert places("operator.version == 'v2'") == [(1, 0)]
    assert places("operator.version == 'v1' and source.offset > 0") == [(0, 1)]
    assert places("status == 'dropped'", status=None) == [(1, 2)]
    assert places("time > 1 / 0") == []


def test_kinds_of_a_filter_are_those_of_its_letters(store: Store) -> None:
    (kind,) = index(store).kinds(Where("at.partition == 1"))
    assert (kind.fingerprint, kind.letters, kind.versions) == ("aa", 2, {"v1", "v2"})
    (kind,) = index(store).kinds(Where("condition == 'Timeout'"))
    assert kind.fingerprint == "bb"


def test_letters_go_on_over_pages(store: Store) -> None:
    store.add([(LATE, own(3, n)) for n in range(12_000)])
    rows = list(index(store).letters(fingerprint="bb"))
    assert [row.place for row in rows] == sorted(row.place for row in rows)
    assert len(rows) == len(set(rows)) == 12_001


def test_a_letter_is_found_by_its_own_place_and_by_its_record(store: Store) -> None:
    found = index(store)
    assert [r.place for r in found.find("dlq", 1, 2)] == [at(1, 2)]
    assert [r.place for r in found.find("orders", 1, 20)] == [at(1, 2)]
    assert [r.place for r in found.find(None, 0, 0)] == [at(0, 0)]
    assert [r.place for r in found.find(None, None, 0)] == [at(0, 0), at(1, 0)]
    assert found.find("dlq", 1, 20) == []


# Files


def test_an_id_that_names_letters_of_several_records_is_refused(store: Store) -> None:
    store.add([(EUR, own(0, 10))])  # the letter of record 0/100; that of record 0/10 is 0/1
    with pytest.raises(SelectionRefused, match="`0/10` may be any of dlq/0/1, dlq/0/10"):
        Request(["0/10"]).places(index(store))
    assert Request(["dlq/0/10", "orders/0/10"]).places(index(store)) == [at(0, 10), at(0, 1)]


def files(tmp_path: Path, topic_id: str = "id-1") -> IndexFiles[Store]:
    return IndexFiles(Store, "dead letters", tmp_path / "dead-letters", "cluster", "dlq", topic_id)


def made(tmp_path: Path) -> Path:
    with files(tmp_path).locked(lambda: None):
        store = files(tmp_path).open(anew=False)
        store.add([(EUR, own(0, 0))])
        store.commit()
        store.close()
    (path,) = tmp_path.rglob("*.sqlite")
    return path


def letters_in(found: IndexFiles[Store], *, anew: bool = False) -> int:
    with found.locked(lambda: None):
        store = found.open(anew=anew)
    number = len(list(store.rows()))
    store.close()
    return number


def test_the_file_is_found_again(tmp_path: Path) -> None:
    made(tmp_path)
    assert letters_in(files(tmp_path)) == 1


@pytest.mark.parametrize("contents", [b"", b"junk" * 5000, None])
def test_a_damaged_file_is_made_anew(tmp_path: Path, contents: bytes | None) -> None:
    path = made(tmp_path)
    path.write_bytes(path.read_bytes()[:60] + b"junk" * 2000 if contents is None else contents)
    assert letters_in(files(tmp_path)) == 0


def test_a_file_of_another_format_is_made_anew(tmp_path: Path) -> None:
    path = made(tmp_path)
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()
    assert letters_in(files(tmp_path)) == 0
    assert letters_in(files(tmp_path)) == 0
    assert len(list(tmp_path.rglob("*.sqlite"))) == 1


def test_a_topic_made_again_has_another_file_and_the_old_one_goes(tmp_path: Path) -> None:
    made(tmp_path)
    assert letters_in(files(tmp_path, "id-2")) == 0
    assert len(list(tmp_path.rglob("*.sqlite"))) == 1


def test_who_reads_while_the_index_is_made_anew_reads_on(tmp_path: Path) -> None:
    made(tmp_path)
    with files(tmp_path).locked(lambda: None):
        reader = files(tmp_path).open(anew=False)
    assert letters_in(files(tmp_path), anew=True) == 0
    assert len(list(reader.rows())) == 1
    reader.close()
    assert letters_in(files(tmp_path)) == 0


def test_a_folder_that_cannot_be_used_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "dead-letters").write_text("a file")
    with pytest.raises(IndexUnusable, match="cannot be used"):
        letters_in(files(tmp_path))


def test_nobody_else_can_read_the_texts_of_errors(tmp_path: Path) -> None:
    assert made(tmp_path).parent.stat().st_mode & 0o077 == 0


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_ETL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert default_folder() == Path("/c/kafka-etl")
    monkeypatch.setenv("KAFKA_ETL_CACHE", "/own")
    assert default_folder() == Path("/own")


def add_many(folder: Path, partition: int) -> None:
    """As a command of its own: reads its position under the lock, adds from there."""
    for _ in range(10):
        with files(folder).locked(lambda: None):
            store = files(folder).open(anew=False)
            begin = store.positions("dlq").get(0, 0)
            time.sleep(0.002)
            store.add([(EUR, own(0, begin + n)) for n in range(50)])
            store.set_positions("dlq", {0: begin + 50})
            store.commit()
            store.close()


def test_two_processes_never_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=add_many, args=(tmp_path, n)) for n in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    store = files(tmp_path).open(anew=False)
    assert counted(store) == {"aa": {"open": 1000}}
    assert store.positions("dlq") == {0: 1000}
