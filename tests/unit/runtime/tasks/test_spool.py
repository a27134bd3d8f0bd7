"""The last words on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kafka_etl.runtime.tasks.keeper import spool as module
from kafka_etl.runtime.tasks.keeper.spool import Spool
from kafka_etl.tasks.keeping import Said


def said(token: str, size: int = 10) -> Said:
    return Said(1, f"task-{token}", b"x" * size, [("k", b"result")], token)


def filled(folder: Path, *tokens: str) -> Spool:
    spool = Spool(folder)
    for token in tokens:
        spool.add(said(token))
    spool.sync()
    return spool


def left(folder: Path) -> list[str]:
    spool = Spool(folder)
    spool.close()
    return [word.last for word in spool.words()]


def test_words_are_there_again_until_they_are_acknowledged(tmp_path: Path) -> None:
    spool = filled(tmp_path, "a", "b", "c")
    spool.acknowledge("b")
    spool.acknowledge("unknown")
    spool.close()

    again = Spool(tmp_path)
    assert again.words() == [said("a"), said("c")]
    again.add(said("d"))
    again.acknowledge("a")
    again.write()
    assert left(tmp_path) == ["c", "d"]


@pytest.mark.parametrize("torn", range(1, 40, 6))
def test_a_torn_end_costs_its_own_word_and_no_later_one(tmp_path: Path, torn: int) -> None:
    filled(tmp_path, "a", "b").close()
    path = tmp_path / "last-words"
    os.truncate(path, path.stat().st_size - torn)

    spool = Spool(tmp_path)
    assert spool.words() == [said("a")]
    spool.add(said("c"))
    spool.write()
    assert left(tmp_path) == ["a", "c"]


def test_zeros_after_a_power_cut_are_no_words(tmp_path: Path) -> None:
    filled(tmp_path, "a").close()
    with (tmp_path / "last-words").open("ab") as file:
        file.write(bytes(4096))

    assert left(tmp_path) == ["a"]
    assert left(tmp_path) == ["a"]


def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL", 1_000)
    monkeypatch.setattr(module, "_LARGE", 10_000)
    spool = filled(tmp_path, "stays")
    sizes: set[int] = set()
    for number in range(500):
        spool.add(said(str(number), 100))
        spool.write()
        spool.acknowledge(str(number))
        sizes.add((tmp_path / "last-words").stat().st_size)

    spool.write()
    assert max(sizes) < 11_000
    assert left(tmp_path) == ["stays"]
    spool.acknowledge("stays")
    spool.add(said("last"))
    spool.write()
    assert left(tmp_path) == ["last"]


def test_a_full_disk_costs_no_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(tmp_path, "a")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", full)
        broken.setattr(os, "fdatasync", full)
        spool.add(said("b"))
        spool.sync()
        spool.acknowledge("a")

    assert spool.words() == [said("b")]
    assert left(tmp_path) == ["a"], "which has been acknowledged, and may be said again"


def test_a_word_that_kafka_has_soon_is_never_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    spool = Spool(tmp_path)
    assert spool.sync_at is None
    spool.add(said("a"))
    spool.write()
    assert spool.sync_at == pytest.approx(100.5)
    spool.acknowledge("a")
    assert spool.sync_at is None
    spool.add(said("b"))
    now = 100.2
    spool.add(said("c"))
    assert spool.sync_at == pytest.approx(100.5), "the oldest counts"
    spool.sync()
    assert spool.sync_at is None


def test_a_full_disk_costs_no_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(module, "_LARGE", 0)
    spool = filled(tmp_path, *"abcdefgh")
    before = len(list(Path("/dev/fd").iterdir()))
    monkeypatch.setattr(os, "fdatasync", full)
    for token in "abcdefg":
        spool.acknowledge(token)
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert [word.last for word in spool.words()] == ["h"]


def test_a_file_that_was_written_in_part_takes_nobodys_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(file: int, data: bytes, at: int) -> int:
        return write(file, data[: len(data) // 2], at)

    write = os.pwrite
    monkeypatch.setattr(module, "_LARGE", 0)
    spool = filled(tmp_path, "a", "b", "c")
    monkeypatch.setattr(os, "pwrite", half)
    spool.acknowledge("a")
    monkeypatch.undo()
    assert {"b", "c"} <= set(left(tmp_path))
