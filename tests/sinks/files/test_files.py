"""Files that are not as the store left them, and folders that several pipelines share."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.contracts import Deployment, Move, StoredOffset, Unreachable
from kafka_etl.envelope import Provenance
from kafka_etl.record import Partition
from kafka_etl.testing import rows
from kafka_etl_connectors.files import SINK

P0, P1 = Partition("in", 0), Partition("in", 1)
PROVENANCE = Provenance("p", "", "g", "w", "host", 1, "0", "3", {})


def opened(base: Path, group: str = "g", **more: Any) -> Any:
    deployment = Deployment("p", "m", {}, {}, {}, PROVENANCE, group=group, folder=base)
    store = SINK.build(
        SINK.settings.model_validate({"folder": ".", "sync": False, **more}), deployment
    )
    store.connect()
    store.place({P0: StoredOffset(0)}, overwrite=False)
    return store


def test_a_file_that_lost_lines_is_not_filled_up_with_zeros(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(rows(b"1", b"2"), {P0: Move(0, 2)}, ())
    (tmp_path / "in-0.jsonl").write_bytes(b"1\n")
    with pytest.raises(Unreachable, match="shorter") as away:
        store.commit(rows(b"3"), {P0: Move(2, 3)}, ())
    assert away.value.mend
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n"
    (tmp_path / "in-0.jsonl").write_bytes(b"1\n2\n")
    store.commit(rows(b"3"), {P0: Move(2, 3)}, ())
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n2\n3\n"


def test_lines_that_were_there_before_are_kept(tmp_path: Path) -> None:
    (tmp_path / "in-0.jsonl").write_bytes(b"old\n")
    opened(tmp_path).commit(rows(b"1"), {P0: Move(0, 1)}, ())
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"old\n1\n"


def test_two_pipelines_do_not_cut_off_each_others_lines(tmp_path: Path) -> None:
    opened(tmp_path).commit(rows(b"1"), {P0: Move(0, 1)}, ())
    with pytest.raises(Unreachable, match="another pipeline") as away:
        opened(tmp_path, "h")
    assert away.value.mend
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n"


def test_a_row_of_a_partition_that_does_not_move_is_not_lost(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.place({P1: StoredOffset(0)}, overwrite=False)
    store.commit(rows(b"1"), {P1: Move(0, 1)}, ())
    assert (tmp_path / "in-1.jsonl").read_bytes() == b"1\n"


def test_a_process_that_holds_a_partition_is_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_etl_connectors.files.store._PATIENCE", 0.2)
    store = opened(tmp_path)
    (lock,) = tmp_path.glob(".kafka-etl/**/in-0.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Unreachable, match="another process") as away:
            store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    assert not away.value.mend
    store.commit(rows(b"1"), {P0: Move(0, 1)}, ())


def killed_before_the_offsets(store: Any, values: tuple[bytes, ...], move: Move) -> None:
    """The lines of a commit are written, and its offset is not."""
    kept = store._write

    def dies(tp: Partition, standing: Any) -> None:
        if standing.next == move.next:
            raise OSError("killed here")
        kept(tp, standing)

    store._write = dies
    with pytest.raises(Unreachable):
        store.commit(rows(*values), {P0: move}, ())
    store._write = kept


def test_a_first_commit_with_another_suffix_that_did_not_end_comes_once(tmp_path: Path) -> None:
    opened(tmp_path).commit(rows(b"1"), {P0: Move(0, 1)}, ())
    (tmp_path / "in-0.txt").write_bytes(b"theirs\n")
    killed_before_the_offsets(opened(tmp_path, suffix=".txt"), (b"2", b"3"), Move(1, 3))
    assert (tmp_path / "in-0.txt").read_bytes() == b"theirs\n2\n3\n"
    opened(tmp_path, suffix=".txt").commit(rows(b"2"), {P0: Move(1, 2)}, ())
    assert (tmp_path / "in-0.txt").read_bytes() == b"theirs\n2\n"
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n"


def test_a_first_commit_behind_an_unended_line_that_did_not_end_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "in-0.jsonl").write_bytes(b"theirs")
    killed_before_the_offsets(opened(tmp_path), (b"1", b"2"), Move(0, 2))
    opened(tmp_path).commit(rows(b"1"), {P0: Move(0, 1)}, ())
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"theirs\n1\n"


def test_what_others_write_before_the_first_line_is_kept(tmp_path: Path) -> None:
    (tmp_path / "in-0.jsonl").write_bytes(b"old\n")
    store = opened(tmp_path)
    with (tmp_path / "in-0.jsonl").open("ab") as file:
        file.write(b"late")
    store.commit(rows(), {P0: Move(0, 1)}, ())
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"old\nlate"
    store.commit(rows(b"1"), {P0: Move(1, 2)}, ())
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"old\nlate\n1\n"


def test_offsets_alone_touch_no_file_of_others(tmp_path: Path) -> None:
    (tmp_path / "in-0.jsonl").write_bytes(b"theirs")
    store = opened(tmp_path)
    store.place({P0: StoredOffset(5, 1)}, overwrite=True)
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"theirs"


def test_another_file_in_the_place_of_ours_is_not_cut(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(rows(b"1", b"2"), {P0: Move(0, 2)}, ())
    (tmp_path / "in-0.jsonl").write_bytes(b"somebody else's line\n")
    again = opened(tmp_path)
    again.offsets([P0])
    with pytest.raises(Unreachable, match="not as the pipeline left") as away:
        again.commit(rows(b"3"), {P0: Move(2, 3)}, ())
    assert away.value.mend
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"somebody else's line\n"


def test_a_new_owner_cuts_off_a_torn_commit_before_any_record_comes(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    killed_before_the_offsets(store, (b"2",), Move(1, 2))
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n2\n"
    assert opened(tmp_path).offsets([P0])[P0].next == 1
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n"


def test_who_asks_for_offsets_cuts_no_commit_that_is_under_way(tmp_path: Path) -> None:
    store, reader = opened(tmp_path), opened(tmp_path)
    store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    kept, seen = store._write, []

    def asked(tp: Partition, standing: Any) -> None:
        seen.append((reader.offsets([P0])[P0].next, (tmp_path / "in-0.jsonl").read_bytes()))
        kept(tp, standing)

    store._write = asked
    store.commit(rows(b"2"), {P0: Move(1, 2)}, ())
    assert seen == [(1, b"1\n2\n")]
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n2\n"


def test_a_process_that_was_forked_in_a_commit_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_etl_connectors.files.store._PATIENCE", 0.2)
    store = opened(tmp_path)
    kept, inherited = fcntl.flock, []

    def lock(file: Any, how: int) -> None:
        inherited.append(os.dup(file.fileno()))
        kept(file, how)

    monkeypatch.setattr(fcntl, "flock", lock)
    try:
        store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
        store.commit(rows(b"2"), {P0: Move(1, 2)}, ())
    finally:
        for descriptor in inherited:
            os.close(descriptor)


def test_the_disk_knows_whose_lines_they_are_before_it_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines whose offset file a crash of the machine has cost would be taken for others'."""
    data, kept = tmp_path / "in-0.jsonl", os.fsync
    synced: list[tuple[int, int]] = []

    def sync(fd: int) -> None:
        synced.append((os.fstat(fd).st_ino, data.stat().st_size if data.exists() else 0))
        kept(fd)

    monkeypatch.setattr(os, "fsync", sync)
    opened(tmp_path, sync=True).commit(rows(b"1"), {P0: Move(0, 1)}, ())
    ours = tmp_path / ".kafka-etl"
    for folder in (tmp_path, ours, ours / "g"):
        assert (folder.stat().st_ino, 0) in synced, folder
    assert synced.index((data.stat().st_ino, 2)) < synced.index((tmp_path.stat().st_ino, 2))


def test_a_name_of_dots_leaves_no_offsets_among_the_lines(tmp_path: Path) -> None:
    opened(tmp_path, offsets={"name": ".."}).commit(rows(b"1"), {P0: Move(0, 1)}, ())
    assert {path.name for path in tmp_path.iterdir()} == {".kafka-etl", "in-0.jsonl"}


def test_a_topic_whose_name_is_too_long_for_a_file_is_to_be_mended(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="too long") as away:
        opened(tmp_path).place({Partition("t" * 249, 0): StoredOffset(0)}, overwrite=False)
    assert away.value.mend
