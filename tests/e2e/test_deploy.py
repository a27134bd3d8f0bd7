"""What deploy/ holds, run for real: systemd's side of the unit, and the steps of the Dockerfile."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.dockerfile import Build
from tests.kit.daemon import free_port
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project, orders

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/kafka-etl.service"
DOCKERFILE = ROOT / "deploy/Dockerfile"
BIN = Path(sys.executable).parent

DOUBLE = """
    def double(order: dict) -> dict:
        return order | {"amount": order["amount"] * 2}
"""


def make(folder: Path, kafka: Kafka) -> Project:
    folder.mkdir(exist_ok=True)
    project = Project(folder, kafka, code=DOUBLE, operators=["ops:double"], partitions=2)
    project.produce(orders(100))
    return project


# The unit


@pytest.fixture
def unit() -> dict[str, list[str]]:
    """Directive -> its values."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


class Systemd:
    """systemd's end of the notification socket."""

    def __init__(self, folder: str) -> None:
        self.address = f"{folder}/notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(60)

    def hear(self) -> str:
        return self._socket.recv(4096).decode()

    def hear_until(self, wanted: str) -> None:
        while self.hear() != wanted:
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    with tempfile.TemporaryDirectory() as short:  # a socket's path has 107 bytes at most
        manager = Systemd(short)
        yield manager
        manager.close()


def test_the_unit_tells_systemd_how_it_is(
    tmp_path: Path, kafka: Kafka, unit: dict[str, list[str]], systemd: Systemd
) -> None:
    project = make(tmp_path / "pipelines", kafka)
    (state := tmp_path / "state").mkdir()
    (command,) = unit["ExecStart"]
    for path, stand_in in {
        "/opt/kafka-etl/bin": BIN,
        "/etc/kafka-etl": project.folder,
        "/var/lib/kafka-etl": state,
        "127.0.0.1:8321": f"127.0.0.1:{free_port()}",
    }.items():
        assert path in command
        command = command.replace(path, str(stand_in))
    watchdog_s = float(unit["WatchdogSec"][0])
    watched = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": f"{watchdog_s * 1e6:.0f}"}

    daemon = subprocess.Popen(shlex.split(command), cwd=state, env=os.environ | watched)
    try:
        systemd.hear_until("READY=1")
        for _ in range(3):
            since = time.monotonic()
            systemd.hear_until("WATCHDOG=1")
            assert time.monotonic() - since < watchdog_s / 2
        wait_until(lambda: len(project.outputs()) == 100)
        daemon.send_signal(signal.SIGTERM)
        systemd.hear_until("STOPPING=1")
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()


def test_the_unit_is_of_the_type_the_daemon_was_written_for(unit: dict[str, list[str]]) -> None:
    assert unit["Type"] == ["notify"]
    assert unit["KillMode"] == ["mixed"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["Restart"] == ["on-failure"]
    assert unit["User"] == unit["StateDirectory"] == ["kafka-etl"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd on this machine")
def test_systemd_itself_accepts_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/kafka-etl/bin", str(BIN)))
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


# The image


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_image_builds_and_runs_pipelines(tmp_path: Path, kafka: Kafka) -> None:
    image = Build(DOCKERFILE, ROOT, tmp_path)
    assert image.user.isdigit()
    assert image.user != "0"
    project = make(image.root / "pipelines", kafka)
    port = str(free_port())
    command = [image.here(word).replace("8321", port) for word in image.command]
    probe = [word.replace("8321", port) for word in image.health_check]

    container = subprocess.Popen(
        [*image.entrypoint, *command], cwd=image.workdir, env=dict(image.env)
    )
    try:
        wait_until(lambda: run(probe, image.env) == 0)
        wait_until(lambda: len(project.outputs()) == 100)
        container.send_signal(signal.Signals[image.stop_signal])
        assert container.wait(30) == 0
    finally:
        container.kill()
        container.wait()
    assert (image.root / "var/lib/kafka-etl/instance").exists()
    assert run(probe, image.env) != 0


def run(command: list[str], env: dict[str, str]) -> int:
    return subprocess.run(command, env=env, stderr=subprocess.DEVNULL, check=False).returncode


def wait_until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)
