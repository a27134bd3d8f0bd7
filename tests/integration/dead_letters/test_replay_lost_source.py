"""A replay of dead letters whose source topic is gone, or was made anew with fewer partitions."""

from __future__ import annotations

from pathlib import Path

import pytest

from kafka_etl.dead_letters.statuses import LetterStatus
from tests.integration.dead_letters.test_replay import THREES, failed, ids, kind, replay, statuses
from tests.kit.daemon import run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path / "cache"))


def test_a_source_with_fewer_partitions_than_before_keeps_no_letter_from_its_replay(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = failed(tmp_path, kafka, 40)
    threes = kind(made, THREES)
    kafka.delete_topic(made.source)
    kafka.topic(1, made.source)
    refused = replay(made, "--fingerprint", threes, "--to", "source")
    assert refused.returncode == 2
    assert "cannot go back" in refused.stderr
    done = replay(made, "--fingerprint", threes)
    assert done.returncode == 0, done.stderr
    assert statuses(made) == {LetterStatus.REPLAYED: 4}
    assert ids(made) == [n for n in range(40) if n % 10 != 7]


def test_a_letter_whose_parts_are_lost_with_the_source_is_left_open(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = Project(
        tmp_path,
        kafka,
        code="def pick(value: dict) -> dict:\n    raise ValueError('no')\n",
        operators=["ops:pick"],
        partitions=1,
    )
    kafka.topic(1, made.letters, max_message_bytes="20000")
    made.produce(['{"id": 1, "pad": "' + "x" * 100_000 + '"}', '{"id": 2}'])
    assert run_to_end(tmp_path, str(made.file)).process.returncode == 0
    made.write_code("def pick(value: dict) -> dict:\n    return value\n")
    kafka.delete_topic(made.source)
    done = replay(made, "--where", "True")
    assert done.returncode == 3, done.stderr
    assert "the source lacks them" in done.stderr
    assert "1 were left open" in done.stderr
    assert ids(made) == [2]
