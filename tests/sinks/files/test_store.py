"""The store `files`: its suite, torn commits, and a pipeline that is killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from errno import EMFILE, ENOSPC
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.contracts import Deployment, Move, RefusedRows, StoredOffset, Unreachable
from kafka_etl.envelope import Provenance
from kafka_etl.errors import SinkFailed
from kafka_etl.record import Partition
from kafka_etl.testing import StoreContract, StoreSystem, rows
from kafka_etl_connectors.files import SINK
from tests.kit.daemon import Daemon
from tests.kit.kafka import Kafka
from tests.kit.pages import blocks
from tests.kit.pipeline import Project, orders

PAGE = "docs/sinks/files.md"
SLOW = """
import time
def slowly(order: dict) -> dict:
    time.sleep(0.001)
    return order
"""
PROVENANCE = Provenance("p", "", "g", "w", "host", 1, "0", "3", {})
P0 = Partition("in", 0)


def store_of(base: Path, **more: Any) -> Any:
    deployment = Deployment("p", "m", {}, {}, {}, PROVENANCE, group="g", folder=base)
    settings = SINK.settings.model_validate({"folder": ".", "sync": False, **more})
    SINK.check(settings, deployment)
    return SINK.build(settings, deployment)


def lines(folder: Path) -> list[bytes]:
    return [
        line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()
    ]


class FilesSystem(StoreSystem):
    breaks = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def store(self) -> Any:
        return store_of(self._folder)

    def rows_in_target(self) -> Sequence[Any]:
        return lines(self._folder)

    def refused(self, key: int) -> bytes:
        return b'{"id":%d,\n"bad":true}' % key

    def break_target(self) -> None:
        (self._folder / "in-0.jsonl").mkdir()

    def mend_target(self) -> None:
        (self._folder / "in-0.jsonl").rmdir()


class TestFilesStore(StoreContract):
    @pytest.fixture
    def system(self, tmp_path: Path) -> FilesSystem:
        return FilesSystem(tmp_path)


def opened(folder: Path) -> Any:
    store = store_of(folder)
    store.connect()
    store.place({P0: StoredOffset(0)}, overwrite=False)
    return store


def test_a_commit_that_did_not_end_is_cut_off(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    store._write = lambda *_: (_ for _ in ()).throw(OSError("killed here"))
    with pytest.raises(Unreachable):
        store.commit(rows(b"2", b"3"), {P0: Move(1, 3)}, ())
    assert lines(tmp_path) == [b"1", b"2", b"3"]
    again = opened(tmp_path)
    assert again.offsets([P0])[P0].next == 1
    again.commit(rows(b"2"), {P0: Move(1, 2)}, ())
    assert lines(tmp_path) == [b"1", b"2"]


def test_a_commit_without_lines_cuts_off_as_well(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    with (tmp_path / "in-0.jsonl").open("ab") as file:
        file.write(b"to")
    store.commit(rows(), {P0: Move(1, 2)}, ())
    assert (tmp_path / "in-0.jsonl").read_bytes() == b"1\n"


def test_another_suffix_begins_behind_what_others_wrote(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit(rows(b"1", b"2", b"3"), {P0: Move(0, 3)}, ())
    with (tmp_path / "in-0.jsonl").open("ab") as file:
        file.write(b"torn")
    (tmp_path / "in-0.txt").write_bytes(b"foreign, and longer than all of ours")
    other = store_of(tmp_path, suffix=".txt")
    other.connect()
    other.commit(rows(b"4"), {P0: Move(3, 4)}, ())
    assert (tmp_path / "in-0.txt").read_bytes() == b"foreign, and longer than all of ours\n4\n"
    assert lines(tmp_path) == [b"1", b"2", b"3"]
    store.commit(rows(b"5"), {P0: Move(4, 5)}, ())
    assert lines(tmp_path) == [b"1", b"2", b"3", b"5"]


def test_a_line_of_others_without_an_end_gets_one(tmp_path: Path) -> None:
    (tmp_path / "in-0.jsonl").write_bytes(b"theirs")
    opened(tmp_path).commit(rows(b"1"), {P0: Move(0, 1)}, ())
    assert lines(tmp_path) == [b"theirs", b"1"]


@pytest.mark.parametrize(("sync", "said"), [(True, "exactly_once"), (False, "at_least_once")])
def test_what_the_label_promises(sync: bool, said: str) -> None:
    label = SINK.label(SINK.settings.model_validate({"folder": ".", "sync": sync}))
    assert label.guarantee == said
    assert ("lose or double" in label.because) is not sync


def test_tombstones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedRows) as refused:
        opened(tmp_path).commit(rows(b"1", None), {P0: Move(0, 2)}, ())
    assert set(refused.value.rows) == {1}


@pytest.mark.parametrize("number", [ENOSPC, EMFILE])
def test_a_full_disk_and_too_few_open_files_are_to_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = opened(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store, "_append", full)
    with pytest.raises(Unreachable, match=os.strerror(number)) as away:
        store.commit(rows(b"1"), {P0: Move(0, 1)}, ())
    assert away.value.mend


def test_a_broken_offset_file_begins_nothing_anew(tmp_path: Path) -> None:
    store = opened(tmp_path)
    next(tmp_path.glob(".kafka-etl/*/in-0.json")).write_text("{")
    with pytest.raises(Unreachable, match="is broken") as away:
        store.offsets([P0])
    assert away.value.mend


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SinkFailed, match="no folder"):
        store_of(tmp_path, folder="nix")


def test_whatever_dies_each_record_is_one_line(tmp_path: Path, kafka: Kafka) -> None:
    """The page's pipeline."""
    made = Project(tmp_path, kafka, code=SLOW)
    (text,) = blocks(PAGE, "yaml")
    text = text.replace("sink:", "operators: ['ops:slowly']\nsink:")
    text = text.replace("[orders]", f"[{made.source}]").replace("orders-in-files", made.name)
    made.file.write_text(text + "workers: 2\n")
    (tmp_path / "lines").mkdir()
    ids = 0
    with Daemon(tmp_path, str(made.file), env={"KAFKA": kafka.bootstrap}) as daemon:
        for _ in range(3):
            made.produce(orders(ids + 1000)[ids:])
            ids += 1000
            deadline = time.monotonic() + 60
            while len(lines(tmp_path / "lines")) < ids - 900 or not daemon.workers():
                assert time.monotonic() < deadline, daemon.said()[-5000:]
                time.sleep(0.02)
            os.kill(daemon.workers()[0], signal.SIGKILL)
        daemon.until(lambda _: made.lag() == 0)
        assert daemon.stop() == 0, daemon.said()
    found = sorted(json.loads(line)["id"] for line in lines(tmp_path / "lines"))
    assert found == list(range(ids))
