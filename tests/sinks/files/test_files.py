"""Files that are not as the store left them, and folders that several pipelines share."""

from __future__ import annotations

import fcntl
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
