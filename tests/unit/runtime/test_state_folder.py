"""The daemon's folder: its name, and that it is alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_etl.errors import ConfigError, InstanceInUse, StateFolderUnusable
from kafka_etl.runtime.daemon.state_folder import StateFolder, default_folder, is_running

TAKE = """
import sys
from pathlib import Path
from kafka_etl.errors import InstanceInUse
from kafka_etl.runtime.daemon.state_folder import StateFolder

try:
    print(StateFolder(Path(sys.argv[1]), sys.argv[2] or None).instance)
except InstanceInUse as error:
    print(error.code, error.what)
"""


def take_elsewhere(base: Path, instance: str = "") -> str:
    """What another process gets."""
    command = [sys.executable, "-c", TAKE, str(base), instance]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_name_is_made_once_and_kept(tmp_path: Path) -> None:
    first = StateFolder(tmp_path / "state", None)
    first.close()
    again = StateFolder(tmp_path / "state", None)
    again.close()
    other = StateFolder(tmp_path / "other", None)
    other.close()
    assert first.instance == again.instance
    assert first.instance != other.instance
    assert re.fullmatch(r"[A-Za-z0-9-]+-[0-9a-f]{6}", first.instance)


def test_a_second_daemon_is_refused_in_another_process(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "blue")
    assert take_elsewhere(tmp_path, "blue") == (
        f"E501 another daemon runs as instance blue in {tmp_path}"
    )
    assert take_elsewhere(tmp_path, "green") == "green"
    folder.close()
    assert take_elsewhere(tmp_path, "blue") == "blue"


def test_others_see_whether_a_daemon_runs(tmp_path: Path) -> None:
    assert not is_running(tmp_path, "blue")
    folder = StateFolder(tmp_path, "blue")
    assert is_running(tmp_path, "blue")
    folder.close()
    assert not is_running(tmp_path, "blue")


def test_a_run_beside_a_daemon_has_a_name_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    daemon = StateFolder(tmp_path, None)
    first = StateFolder(tmp_path, None, or_next=True)
    second = StateFolder(tmp_path, None, or_next=True)
    assert first.instance == f"{daemon.instance}-2"
    assert second.instance == f"{daemon.instance}-3"
    assert len({daemon.path, first.path, second.path}) == 3
    first.close()
    again = StateFolder(tmp_path, None, or_next=True)
    assert again.instance == first.instance
    for folder in (daemon, second, again):
        folder.close()


def test_a_run_without_a_daemon_has_the_default_name(tmp_path: Path) -> None:
    kept = StateFolder(tmp_path, None)
    kept.close()
    alone = StateFolder(tmp_path, None, or_next=True)
    assert alone.instance == kept.instance
    alone.close()


def test_a_name_that_was_given_is_never_another(tmp_path: Path) -> None:
    daemon = StateFolder(tmp_path, "blue")
    with pytest.raises(InstanceInUse, match="as instance blue"):
        StateFolder(tmp_path, "blue", or_next=True)
    daemon.close()


def test_a_second_daemon_is_refused_in_this_process_too(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, None)
    with pytest.raises(InstanceInUse, match=folder.instance):
        StateFolder(tmp_path, None)
    folder.close()


def test_recorders_of_all_workers_have_their_own_file(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "blue")
    paths = {folder.recorder(name, number) for name in ("a", "b") for number in range(3)}
    folder.close()
    assert len(paths) == 6
    assert {path.parent for path in paths} == {tmp_path / "blue"}


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", ".", "..", ".hidden", "a b", "a\n", "ä", "-x", "x" * 101]
)
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StateFolder(tmp_path, name)
    assert caught.value.exit_status == 2
    assert caught.value.what == f"`{name}` is no instance name"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 100])
def test_a_name_may_have_letters_digits_and_some_more(tmp_path: Path, name: str) -> None:
    folder = StateFolder(tmp_path, name)
    folder.close()
    assert (folder.instance, folder.path) == (name, tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"\n", b"a/b\n", b"../..", b"\xff\xfe", b"two\nlines\n"])
def test_a_kept_name_that_is_none_is_not_used(tmp_path: Path, content: bytes) -> None:
    """An empty one would make all such daemons one: they would fence each other."""
    (tmp_path / "instance").write_bytes(content)
    with pytest.raises(StateFolderUnusable) as caught:
        StateFolder(tmp_path, None)
    assert str(tmp_path / "instance") in caught.value.what
    assert "delete it" in caught.value.next_step


def test_a_disk_that_fills_up_leaves_no_half_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(StateFolderUnusable, match="No space left on device") as caught:
            StateFolder(tmp_path, None)
    assert caught.value.next_step.startswith("Free some space")
    StateFolder(tmp_path, None).close()


@pytest.mark.parametrize("instance", [None, "blue"])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, instance: str | None) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateFolderUnusable) as caught:
        StateFolder(tmp_path / "file" / "state", instance)
    assert caught.value.code == "E502"
    assert f"{tmp_path}/file/state cannot be used: Not a directory" in caught.value.what
    assert caught.value.next_step == (
        "Make it a folder that this user may write, or choose another one with `--state-dir`."
    )


def test_a_file_system_without_locks_is_not_another_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(StateFolderUnusable, match="No locks available"):
        StateFolder(tmp_path, "blue")


def test_the_default_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "kafka-etl"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_folder() == Path("/home/me/.local/state/kafka-etl")
