"""Control groups in a folder that stands for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl.runtime.tasks.keeper.control_groups import FOLDER, ControlGroups
from kafka_etl.tasks.limits import Limits, Usage

LIMITS = Limits(memory=2**30, cpu=5.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def test_a_group_has_the_memory_limit_and_is_killed_as_one(folder: Path) -> None:
    groups = ControlGroups.delegated(LIMITS)
    assert groups is not None
    group = groups.make("one")
    group.add(4711)

    assert (folder / "cgroup.subtree_control").read_text() == "+memory"
    written = {path.name: path.read_text() for path in (folder / "one").iterdir()}
    assert written == {
        "memory.max": str(2**30),
        "memory.oom.group": "1",
        "memory.swap.max": "0",
        "cgroup.procs": "4711",
    }
    group.kill()
    assert (folder / "one" / "cgroup.kill").read_text() == "1"


def test_a_group_tells_what_its_processes_use(folder: Path) -> None:
    groups = ControlGroups.delegated(LIMITS)
    assert groups is not None
    group = groups.make("one")
    assert group.usage() == Usage(0, 0.0)
    assert not group.was_out_of_memory
    (folder / "one" / "memory.current").write_text("123456\n")
    (folder / "one" / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    (folder / "one" / "memory.events").write_text("low 0\noom 3\noom_kill 1\n")

    assert group.usage() == Usage(123_456, 2.5)
    assert group.was_out_of_memory


def test_without_a_limit_of_memory_the_kernel_gets_none(folder: Path) -> None:
    groups = ControlGroups.delegated(Limits(cpu=5.0))
    assert groups is not None
    groups.make("one")

    assert not (folder / "one" / "memory.max").exists()


@pytest.mark.parametrize("controllers", ["cpu pids", ""])
def test_a_folder_whose_groups_cannot_limit_memory_is_not_used(
    folder: Path, controllers: str
) -> None:
    (folder / "cgroup.controllers").write_text(controllers)

    assert ControlGroups.delegated(LIMITS) is None


def test_what_is_not_delegated_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, "/nowhere")

    assert ControlGroups.delegated(LIMITS) is None
