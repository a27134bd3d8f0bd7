"""A process that dies at any line of the store, and a successor that goes on."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from kafka_etl.contracts import Move, StoredOffset
from kafka_etl.record import Partition
from kafka_etl.testing import deployment, rows
from kafka_etl_connectors.files import SINK, store

P0 = Partition("in", 0)
DEAD = 9


def run(folder: Path, suffix: str, until: int) -> None:
    """Commit the records that are missing, two at a time."""
    settings = SINK.settings.model_validate({"folder": ".", "sync": False, "suffix": suffix})
    opened: Any = SINK.build(settings, deployment(folder=folder))
    opened.connect()
    opened.place({P0: StoredOffset(0)}, overwrite=False)
    at = opened.offsets([P0])[P0].next
    while at < until:
        following = min(at + 2, until)
        lines = [b"%d" % number for number in range(at, following)]
        opened.commit(rows(*lines), {P0: Move(at, following)}, ())
        at = following
    opened.commit(rows(), {P0: Move(at, at)}, ())


def dies(step: int, folder: Path, suffix: str, until: int) -> bool:
    """Whether a process dies at this step of the store, before its end."""
    steps = count()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != store.__file__:
            return None
        if event == "line" and next(steps) == step:
            os._exit(DEAD)
        return trace

    child = os.fork()
    if child == 0:
        try:
            sys.settrace(trace)
            run(folder, suffix, until)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, DEAD}
    return code == DEAD


def test_wherever_a_process_dies_each_record_is_one_line_and_no_other_is_touched(
    tmp_path: Path,
) -> None:
    for step in count():
        folder = tmp_path / str(step)
        folder.mkdir()
        for name in ("in-0.jsonl", "in-0.txt"):
            (folder / name).write_bytes(b"theirs")
        run(folder, ".jsonl", 1)
        died = dies(step, folder, ".txt", 4)
        run(folder, ".txt", 5)
        found = [(folder / name).read_bytes() for name in ("in-0.jsonl", "in-0.txt")]
        assert found == [b"theirs\n0\n", b"theirs\n1\n2\n3\n4\n"], step
        if not died:
            break
    assert step > 100
