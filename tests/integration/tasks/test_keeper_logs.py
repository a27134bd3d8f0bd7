"""What attempts print, from their processes through the keeper to an owner that is the test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_etl.tasks.keeping import Logged
from tests.kit.keeper import OwnerEnd, RunningKeeper

MIB = 1024 * 1024
CODE = """
    import os, subprocess, sys, time
    from kafka_etl import Context

    def job(value: dict, *, ctx: Context) -> dict | None:
        return globals()[value["do"]](value, ctx)

    def speaks(value, ctx):
        print("to", value["who"])
        sys.stderr.write("an error\\n")
        ctx.log.info("logged %d", 7)
        ctx.log.debug("not shown")
        subprocess.run(["echo", "of a program"])
        os.write(1, b"no line end")
        return {}

    def says_and_sleeps(value, ctx):
        print("begun")
        time.sleep(60)

    def speaks_late(value, ctx):
        time.sleep(0.5)
        print("late")
        open(value["file"], "w").close()
        return {}

    def floods(value, ctx):
        line = b"x" * 99 + b"\\n"
        block = line * 10_000
        for _ in range(1_000):
            sys.stdout.buffer.write(block)
        print("the end")
        return {}

    def prints_lines(value, ctx):
        for number in range(value["lines"]):
            print("line", number)
        return {}
"""


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKeeper]:
    folder = tmp_path_factory.mktemp("keeper")
    more = {"slots": 1, "timeout": 120.0, "stop_grace": 1.0}
    with RunningKeeper(folder, CODE, **more) as running:
        yield running


@pytest.fixture
def owner(keeper: RunningKeeper) -> Iterator[OwnerEnd]:
    end = keeper.owner()
    yield end
    end.close()


def test_what_an_attempt_prints_and_logs_comes_in_streams_of_its_own(owner: OwnerEnd) -> None:
    owner.grant("a", {"do": "speaks", "who": "a"}, partition=2)
    owner.grant("b", {"do": "speaks", "who": "b"})
    owner.last("b")

    assert owner.log("a", "out") == "to a\nof a program\nno line end"
    assert owner.log("a", "err") == "an error\n"
    assert owner.log("a", "log").endswith("Z INFO logged 7\n")
    assert owner.log("b", "out") == "to b\nof a program\nno line end"
    first = owner.logged[0]
    assert (first.task, first.partition, first.attempt) == ("task-a", 2, 1)
    assert abs(first.at_ms / 1000 - time.time()) < 60


def test_a_line_comes_while_the_attempt_runs(owner: OwnerEnd) -> None:
    owner.grant("s", {"do": "says_and_sleeps"})

    assert owner.logs("out") == "begun\n"

    owner.halt("s")
    owner.last("s")
    assert owner.log("s", "out") == "begun\n"


def test_a_gigabyte_costs_a_bounded_log_and_bounded_memory(
    keeper: RunningKeeper, owner: OwnerEnd
) -> None:
    before = memory(keeper.child.pid)
    begun = time.monotonic()
    owner.grant("f", {"do": "floods"})
    owner.last("f", within=110)
    took = time.monotonic() - begun
    said = owner.log("f", "out")

    assert said.endswith("the end\n")
    assert 0.9 * MIB < len(said) <= MIB
    assert "bytes are left out" in owner.log("f", "gap")
    assert len([piece for piece in owner.logged if piece.token == "f"]) < 200
    assert memory(keeper.child.pid) - before < 16 * MIB
    assert took < 60


def test_many_lines_are_printed_without_much_ado(owner: OwnerEnd) -> None:
    begun = time.monotonic()
    owner.grant("l", {"do": "prints_lines", "lines": 200_000})
    owner.last("l", within=60)

    assert time.monotonic() - begun < 30
    assert owner.log("l", "out").endswith("line 199999\n")


def test_logs_wait_for_an_owner(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE, slots=1) as keeper:
        first = keeper.owner()
        first.grant("s", {"do": "speaks_late", "file": str(tmp_path / "said")})
        first.started("s")
        first.close()
        while not (tmp_path / "said").exists():
            time.sleep(0.02)
        second = keeper.owner()
        second.last("s")

        assert second.log("s", "out") == "late\n"


def test_without_logs_nothing_is_sent(tmp_path: Path) -> None:
    with RunningKeeper(tmp_path, CODE, slots=1, log_limit=0) as keeper:
        owner = keeper.owner()
        owner.grant("a", {"do": "speaks", "who": "a"})
        owner.last("a")
        owner.listen(0.5)

        assert not any(isinstance(piece, Logged) for piece in owner.logged)


def memory(pid: int) -> int:
    """Bytes of the resident set."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
