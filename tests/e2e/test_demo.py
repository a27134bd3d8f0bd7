"""The demo, as a newcomer runs it."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.daemon import command


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    folder = tmp_path_factory.mktemp("demo")
    return command("demo", cwd=folder, seconds=100)


def test_it_shows_what_came_out(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, demo.stderr
    for step in (
        "Starting Apache Kafka",
        "Writing 200,000 orders, 3 of them bad",
        "Running: KAFKA=",
        "Topic orders-eur has ",
        "Topic orders-eur.dlq has 3 dead letters",
        "Kafka is stopped again",
    ):
        assert step in demo.stderr
    outputs, rate = re.findall(r"has ([\d,]+) records, ([\d,]+) a second", demo.stderr)[0]
    assert int(outputs.replace(",", "")) > 100_000
    assert int(rate.replace(",", "")) > 0
    assert "amount_eur" in demo.stdout


def test_the_dead_letter_has_its_whole_context(demo: subprocess.CompletedProcess[str]) -> None:
    for name in ("topic", "partition", "offset", "condition", "context"):
        assert f"  kafka_etl.{name}: " in demo.stdout
    assert "negative amount" in demo.stdout
    assert '"attempts"' in demo.stdout


def test_the_commands_it_leaves_one_with_exist(demo: subprocess.CompletedProcess[str]) -> None:
    listed = re.findall(r"^  (\S*kafka-etl .*?)   .*$", demo.stdout, re.MULTILINE)
    assert len(listed) == 5
    for line in listed:
        words = [word for word in shlex.split(line)[1:] if word.isalpha()][:2]
        subcommand = words if words[0] == "broker" else words[:1]
        shown = command(*subcommand, "--help", cwd=Path.cwd())
        assert shown.returncode == 0, line


def test_nothing_keeps_running(demo: subprocess.CompletedProcess[str]) -> None:
    bootstrap = re.findall(r"KAFKA=(\S+)", demo.stderr)[0]
    listed = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True)
    left = [line for line in listed.stdout.splitlines() if bootstrap in line]
    assert left == []
    host, port = bootstrap.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


def test_the_demo_of_tasks_stops_one_of_five_and_both_topics_say_so(tmp_path: Path) -> None:
    done = command("demo", "--tasks", cwd=tmp_path, seconds=500)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "films: 5 tasks: 4 Succeeded, 1 Stopped" in done.stdout
    assert re.search(r"^wrong.mov +Running .* of 3600 s", done.stdout, re.MULTILINE)
    assert re.search(r"^wrong.mov +Stopped .* the wrong film$", done.stdout, re.MULTILINE)
    assert re.search(r"^films.failed/.*: stopped by .*: the wrong film$", done.stdout, re.MULTILINE)
    for film in ("a", "b", "c", "d"):
        assert f'{{"film":"{film}.mov","made":"{film}.webm"}}' in done.stdout
    assert '"made":"wrong.webm"' not in done.stdout
    assert processes_in(tmp_path) == []


def processes_in(folder: Path) -> list[str]:
    """Processes whose working directory is the folder."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            if (process / "cwd").readlink() == folder:
                found.append(process.name)
    return found
