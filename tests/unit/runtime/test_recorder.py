"""The flight recorder: what it says after its writer is gone, whatever state its file is in."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_etl.errors import StateFolderUnusable
from kafka_etl.record import Partition
from kafka_etl.runtime import recorder as recorder_module
from kafka_etl.runtime.recorder import PHASES, Recorder, RecorderFile

ORDERS = Partition("orders", 3)
SIZE = 256 * 1024

partitions = st.builds(Partition, st.text(min_size=1, max_size=249), st.integers(0, 2**31 - 1))
offsets = st.integers(0, 2**63 - 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "instance" / "orders.0.recorder"


def test_a_state_that_is_read_while_it_is_written_is_never_old(path: Path) -> None:
    """One that looked older than it is would cost a healthy worker its life."""
    code = "import sys; from pathlib import Path; from kafka_etl.runtime.recorder import Recorder\n"
    code += "recorder = Recorder(Path(sys.argv[1]))\nwhile True: recorder.phase('idle')"
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
        try:
            file = RecorderFile(path)
            while file.state()[0] != writer.pid:
                time.sleep(0.01)
            seen = [file.state() for _ in range(30_000)]
        finally:
            writer.kill()
    assert {phase for _, phase, _, _ in seen} == {"idle"}
    assert max(seconds for *_, seconds in seen) < 10


def test_without_a_file_the_worker_has_ended_well(path: Path) -> None:
    recording = RecorderFile(path).read()
    assert (recording.phase, recording.pid) == ("closed", 0)
    assert not recording.ranges
    assert recording.hand is None


def test_it_makes_its_folder_and_begins_as_starting(path: Path) -> None:
    Recorder(path)
    pid, phase, stage, seconds = RecorderFile(path).state()
    assert (pid, phase, stage) == (os.getpid(), "starting", 0)
    assert 0 <= seconds < 5
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_is_read_back(path: Path, phase: str) -> None:
    Recorder(path).phase(phase)
    assert RecorderFile(path).state()[1] == phase


@pytest.mark.parametrize(("stage", "read"), [(0, 0), (1, 1), (255, 255), (300, 255)])
def test_user_code_is_a_phase_with_a_stage(path: Path, stage: int, read: int) -> None:
    Recorder(path).entering(stage)
    assert RecorderFile(path).state()[1:3] == ("operator", read)


def test_closed_is_said_last(path: Path) -> None:
    recorder = Recorder(path)
    recorder.operating({ORDERS: (5, 9)})
    recorder.entering(1)
    recorder.close()
    assert RecorderFile(path).read().phase == "closed"


@given(
    ranges=st.dictionaries(partitions, st.tuples(offsets, offsets), max_size=5),
    hand=st.none() | st.tuples(partitions, offsets),
)
def test_ranges_and_the_record_in_hand_are_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    ranges: Mapping[Partition, tuple[int, int]],
    hand: tuple[Partition, int] | None,
) -> None:
    path = tmp_path_factory.mktemp("recorder") / "r"
    recorder = Recorder(path)
    recorder.operating(ranges)
    if hand is not None:
        recorder.in_hand(*hand)
    recording = RecorderFile(path).read()
    assert recording.ranges == ranges
    assert recording.hand == hand


@given(st.dictionaries(st.tuples(st.text(), st.text()), st.floats(0, 1e15), max_size=50))
def test_counts_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, counters: Mapping[tuple[str, str], float]
) -> None:
    path = tmp_path_factory.mktemp("recorder") / "r"
    recorder = Recorder(path)
    assert RecorderFile(path).read().counters == {}
    recorder.operating({ORDERS: (5, 9)})
    recorder.count(counters)
    recording = RecorderFile(path).read()
    assert recording.counters == counters
    assert recording.ranges == {ORDERS: (5, 9)}
    Recorder(path)
    assert RecorderFile(path).read().counters == {}


def test_the_next_batch_replaces_ranges_and_hand(path: Path) -> None:
    recorder = Recorder(path)
    recorder.operating({ORDERS: (5, 9), Partition("orders", 4): (1, 2)})
    recorder.in_hand(ORDERS, 5)
    recorder.operating({ORDERS: (9, 12)})
    recording = RecorderFile(path).read()
    assert recording.ranges == {ORDERS: (9, 12)}
    assert recording.hand is None


def test_a_new_worker_forgets_what_the_last_one_had_in_hand(path: Path) -> None:
    Recorder(path).operating({ORDERS: (5, 9)})
    Recorder(path)
    recording = RecorderFile(path).read()
    assert not recording.ranges
    assert recording.phase == "starting"


def test_a_phase_has_lasted_since_it_was_entered_or_ticked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100 * 10**9
    monkeypatch.setattr(recorder_module, "monotonic_ns", lambda: now)
    recorder = Recorder(path)
    recorder.entering(2)
    now += 7 * 10**9
    assert RecorderFile(path).state() == (os.getpid(), "operator", 2, 7.0)
    recorder.tick()
    now += 10**9
    assert RecorderFile(path).state() == (os.getpid(), "operator", 2, 1.0)


def test_ten_thousand_partitions_fit(path: Path) -> None:
    """Without them a death is blamed on nothing, and the record that kills does so for ever."""
    ranges = {
        Partition("t" * 240 + str(n % 10), n): (2**62 + n, 2**62 + n + 10) for n in range(10_000)
    }
    recorder = Recorder(path)
    recorder.operating(ranges)
    recorder.in_hand(ORDERS, 5)
    recording = RecorderFile(path).read()
    assert recording.ranges == ranges
    assert recording.hand == (ORDERS, 5)


def test_the_record_in_hand_is_written_without_the_ranges(path: Path) -> None:
    """Careful mode writes it once a record."""
    recorder = Recorder(path)
    recorder.operating({ORDERS: (5, 9)})
    written: list[int] = []

    class Counting(mmap.mmap):
        def __setitem__(self, where: Any, text: Any) -> None:
            written.append(where.start)
            super().__setitem__(where, text)

    with path.open("r+b") as file:
        recorder._map = Counting(file.fileno(), SIZE)
    recorder.in_hand(ORDERS, 6)
    assert written
    assert max(written) < 2048
    assert RecorderFile(path).read().ranges == {ORDERS: (5, 9)}


def test_more_partitions_than_fit_are_left_out(path: Path) -> None:
    """A death is then blamed on nothing: better than on a record that was not there."""
    recorder = Recorder(path)
    recorder.operating({ORDERS: (5, 9)})
    recorder.entering(1)
    recorder.operating({Partition("t" * 200, n): (2**62, 2**62) for n in range(20_000)})
    recording = RecorderFile(path).read()
    assert recording.phase == "operator"
    assert not recording.ranges
    recorder.operating({ORDERS: (9, 12)})
    assert RecorderFile(path).read().ranges == {ORDERS: (9, 12)}


def test_a_file_that_is_kept_open_may_be_cut_short(path: Path) -> None:
    """The daemon reads it: whoever cuts it short must not take the daemon along."""
    recorder = Recorder(path)
    file = RecorderFile(path)
    assert file.state()[0] == os.getpid()
    os.truncate(path, 10)
    assert file.state() == (0, "closed", 0, 0.0)
    file.close()
    path.unlink()
    Recorder(path).phase("idle")
    assert file.state()[1] == "idle"
    file.close()
    del recorder


HAND_WRITES = 3
"""Each text is written in three: no length, the text, its length."""


class DiesWhileWriting(mmap.mmap):
    """Half of a text gets into it."""

    writes = 0

    def __setitem__(self, where: Any, text: Any) -> None:
        self.writes -= 1
        if self.writes:
            super().__setitem__(where, text)
            return
        half = len(text) // 2
        super().__setitem__(slice(where.start, where.start + half), text[:half])
        raise InterruptedError


@pytest.mark.parametrize("dies_at", range(1, 2 * HAND_WRITES))
def test_a_worker_that_dies_while_writing_leaves_nothing_half_said(
    path: Path, dies_at: int
) -> None:
    recorder = Recorder(path)
    recorder.operating({ORDERS: (5, 9)})
    with path.open("r+b") as file:
        recorder._map = dying = DiesWhileWriting(file.fileno(), SIZE)
        dying.writes = dies_at
    with pytest.raises(InterruptedError):
        recorder.operating({Partition("others", 3): (5, 9)})
    recording = RecorderFile(path).read()
    assert recording.ranges == ({} if dies_at > HAND_WRITES else {ORDERS: (5, 9)})
    assert recording.hand is None


@given(st.integers(0, 200), st.binary(min_size=1, max_size=40))
def test_a_file_that_is_torn_or_overwritten_says_something_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, position: int, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("recorder") / "r"
    recorder = Recorder(path)
    recorder.operating({ORDERS: (5, 9)})
    recorder.entering(1)
    whole = path.read_bytes()
    path.write_bytes(whole[:position])
    assert RecorderFile(path).read().phase in PHASES
    path.write_bytes(whole[:position] + junk + whole[position + len(junk) :])
    assert RecorderFile(path).read().phase in PHASES


def test_a_phase_nobody_knows_is_no_recording(path: Path) -> None:
    Recorder(path).operating({ORDERS: (5, 9)})
    whole = path.read_bytes()
    path.write_bytes(whole[:16] + b"\xc8" + whole[17:])
    assert RecorderFile(path).state()[1] == "closed"


def test_its_blocks_are_there_before_they_are_needed(path: Path) -> None:
    """A mapped file with holes kills its writer when the disk is full."""
    Recorder(path)
    assert path.stat().st_size == SIZE
    assert path.stat().st_blocks * 512 >= SIZE


@pytest.mark.parametrize("content", [b"", b"kafkaetl", bytes(SIZE), b"\xff" * SIZE])
def test_a_file_of_something_else_is_no_recording(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert RecorderFile(path).state()[1] == "closed"
    assert not RecorderFile(path).read().ranges


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from kafka_etl.errors import StateFolderUnusable
    from kafka_etl.runtime.recorder import Recorder

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        Recorder(Path(sys.argv[1]))
    except StateFolderUnusable as error:
        print(error.code, error.what)
"""


def test_a_full_disk_is_found_before_the_first_record(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"E502 {path} cannot be written: File too large\n"
    assert done.stderr == ""


@pytest.mark.parametrize("where", ["a file/r", "a folder"])
def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path, where: str) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    with pytest.raises(StateFolderUnusable, match=f"{where} cannot be written"):
        Recorder(tmp_path / where)


def test_it_survives_the_death_of_its_writer(path: Path) -> None:
    code = """
        import os, signal, sys
        from pathlib import Path
        from kafka_etl.record import Partition
        from kafka_etl.runtime.recorder import Recorder

        recorder = Recorder(Path(sys.argv[1]))
        recorder.operating({Partition("orders", 3): (5, 9)})
        recorder.in_hand(Partition("orders", 3), 6)
        recorder.entering(1)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    with subprocess.Popen(command) as process:
        process.wait()
    recording = RecorderFile(path).read()
    assert recording.pid == process.pid
    assert (recording.phase, recording.stage) == ("operator", 1)
    assert recording.ranges == {ORDERS: (5, 9)}
    assert recording.hand == (ORDERS, 6)
