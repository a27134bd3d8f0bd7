"""A replay of dead letters that a signal stops: what becomes of the rest, and what is said."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from kafka_etl.dead_letters.statuses import LetterStatus
from tests.integration.dead_letters.test_replay import THREES, failed, ids, kind, replay, statuses
from tests.kit.daemon import command
from tests.kit.kafka import Kafka
from tests.kit.replaying import Replaying, action_of

STEP = 0.2


def test_a_replay_that_is_stopped_says_how_to_go_on_and_leaves_nothing_running(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = failed(tmp_path, kafka, 1_000)
    arguments = ("--fingerprint", kind(made, THREES))
    left = 100
    for sign, group, times in (
        (signal.SIGINT, True, 1),  # as a terminal does
        (signal.SIGTERM, False, 1),
        (signal.SIGINT, False, 2),
    ):
        before = len(ids(made))
        with Replaying(made, *arguments, "--rate", "10") as under_way:
            under_way.until(lambda least=before + 5: len(ids(made)) >= least)
            for _ in range(times):
                under_way.signal(sign, group=group)
                time.sleep(STEP)
            assert under_way.wait() == 128 + sign, under_way.said()
            assert under_way.members() == []
        left -= len(ids(made)) - before
        said = under_way.said()
        arguments = ("--resume", action_of(made))
        go_on = f"kafka-etl dlq replay {made.file} --resume {action_of(made)}"
        assert f"{left} are left. Go on: {go_on}" in said
        assert "Traceback" not in said
        assert statuses(made) == {
            LetterStatus.REPLAYED: 100 - left,
            LetterStatus.REPLAYING: left,
        }
    done = replay(made, *arguments)
    assert done.returncode == 0, done.stderr
    assert "100 of 100 replayed, 0 failed again" in done.stderr
    assert ids(made) == [n for n in range(1_000) if n % 10 != 7]


def test_a_replay_that_is_stopped_before_its_first_record_says_how_to_go_on(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = failed(tmp_path, kafka, 40)
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTED)
    with Replaying(made, "--where", "True", env={"PYTHONPATH": str(tmp_path)}) as under_way:
        assert under_way.wait() == 130, under_way.said()
    action = action_of(made)
    assert f"8 are left. Go on: kafka-etl dlq replay {made.file} --resume {action}" in (
        under_way.said()
    )
    actions = command("dlq", "actions", str(made.file), cwd=tmp_path).stderr
    assert f"  Go on: kafka-etl dlq replay {made.file} --resume {action}\n" in actions
    done = replay(made, "--resume", action)
    assert done.returncode == 3, done.stderr
    assert ids(made) == [n for n in range(40) if n % 10 != 7]


INTERRUPTED = """
import os, signal
import kafka_etl.dlq.replay as replay

def interrupted(*_):
    os.kill(os.getpid(), signal.SIGINT)

replay.replay_document = interrupted
"""
"""Ctrl-C when the letters are claimed, and the daemon has not begun."""
