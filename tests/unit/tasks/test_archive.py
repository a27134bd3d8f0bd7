"""Archives: heads of final tasks in a file, which counts only if it fits the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from kafka_etl.engine.tasks import archive
from kafka_etl.engine.tasks.archive import Archive, Archives, Place, Row

NOW = 1_000_000_000_000


def archives(folder: Path, identity: str = "cluster/journal", now: int = NOW) -> Archives:
    return Archives(folder, identity, lambda: now)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with the archive of partition 3, which goes up to offset 50."""
    made = archives(tmp_path).open(3, 0, 0)
    made.change([Row("done", NOW + 5, succeeded=True, head=b"1"), Row("open", None, False, b"2")])
    made.save(Place(50, b"mark"), NOW)
    made.close()
    return tmp_path


def known(made: Archive) -> tuple[int, list[str]]:
    with closing(made):
        return made.place.position, [t for t in ("done", "open") if made.get(t) is not None]


def test_what_was_saved_is_there_again(saved: Path) -> None:
    with closing(archives(saved).open(3, 0, 60)) as again:
        assert again.place == Place(50, b"mark")
        assert (again.get("done"), again.get("other")) == (b"1", None)
        assert list(again.open_heads()) == [("open", b"2")]
        assert again.finals == 1


def _deleted(file: Path) -> None:
    archive.remove(file)


def _garbage(file: Path) -> None:
    archive.remove(file)
    file.write_bytes(b"no base of anything" * 1000)


def _cut(file: Path) -> None:
    data = file.read_bytes()
    archive.remove(file)
    file.write_bytes(data[: len(data) // 2])


def _of_another_format(file: Path) -> None:
    with closing(sqlite3.connect(file)) as base:
        base.execute("PRAGMA user_version = 99")


def _of_another_start(file: Path) -> None:
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("UPDATE notes SET value = 'cluster/journal before' WHERE name = 'identity'")


def _never_saved(file: Path) -> None:
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("DELETE FROM notes")


@pytest.mark.parametrize(
    "happens", [_deleted, _garbage, _cut, _of_another_format, _of_another_start, _never_saved]
)
def test_a_file_that_is_no_good_is_made_anew(saved: Path, happens: Callable[[Path], None]) -> None:
    happens(saved / "3.sqlite")
    assert known(archives(saved).open(3, 0, 60)) == (0, [])
    assert known(archives(saved).open(4, 0, 60)) == (0, [])


@pytest.mark.parametrize(
    ("identity", "begin", "end", "now"),
    [
        ("cluster/another", 0, 60, NOW),
        ("another/journal", 0, 60, NOW),
        ("cluster/journal", 0, 49, NOW),
        ("cluster/journal", 51, 60, NOW),
        ("cluster/journal", 0, 60, NOW + 13 * 3_600_000),
    ],
    ids=["topic", "cluster", "beyond the end", "before the beginning", "old"],
)
def test_a_file_that_does_not_fit_the_journal_is_made_anew(
    saved: Path, identity: str, begin: int, end: int, now: int
) -> None:
    assert known(archives(saved, identity, now).open(3, begin, end)) == (0, [])


def test_what_was_not_saved_is_read_again(saved: Path) -> None:
    made = archives(saved).open(3, 0, 60)
    made.change([Row("later", NOW, succeeded=True, head=b"3")], ["done"])
    made.close()
    assert known(archives(saved).open(3, 0, 60)) == (50, ["done", "open"])


def test_an_archive_that_another_process_holds_is_left_to_it(saved: Path) -> None:
    with closing(archives(saved).open(3, 0, 60)) as first:
        first.change([Row("late", NOW, succeeded=True, head=b"3")])
        with closing(archives(saved).open(3, 0, 60)) as second:
            assert second.get("late") is None
            first.save(Place(70, b"mark"), NOW)
            second.save(Place(60, b"mark"), NOW)
    assert known(archives(saved).open(3, 0, 80)) == (60, [])


def test_without_a_place_for_files_it_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with closing(archives(tmp_path / "file" / "folder").open(3, 0, 60)) as made:
        made.change([Row("done", NOW, succeeded=True, head=b"1")])
        assert made.get("done") == b"1"


def test_the_oldest_are_those_that_have_succeeded_before_others() -> None:
    with closing(Archive()) as made:
        made.change(Row(f"f{n}", NOW + n, n % 2 == 0, b"") for n in range(6))
        made.change([Row("open", None, succeeded=False, head=b"")])
        assert made.oldest(2) == ["f0", "f2"]
        assert made.oldest(9) == ["f0", "f2", "f4", "f1", "f3", "f5"]
        assert made.due(NOW + 3, 10) == ["f0", "f1", "f2", "f3"]


def test_the_oldest_are_found_without_a_look_at_all_others(tmp_path: Path) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    made = archives(tmp_path).open(3, 0, 0)
    failed = (Row(f"f{n}", NOW + n, succeeded=False, head=b"") for n in range(5_000))
    made.change([*failed, Row("s", NOW + 9_000, succeeded=True, head=b"")])
    made.save(Place(50, b"mark"), NOW)
    with closing(made):
        made._base.set_progress_handler(step, 10)  # pyright: ignore[reportPrivateUsage] - its work
        assert made.oldest(3) == ["s", "f0", "f1"]
    assert steps < 50
