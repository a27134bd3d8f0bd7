"""Ways to put dead letters back: topics, stores, changed values; and what a bulk action refuses."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from kafka_etl.dead_letters.statuses import LetterStatus
from tests.integration.dead_letters.test_replay import (
    MENDED,
    PICKY,
    failed,
    ids,
    kind,
    replay,
    statuses,
)
from tests.kit.daemon import command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project

ALL = ("--where", "True")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path / "cache"))


def dlq(made: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command("dlq", *arguments, cwd=made.folder, seconds=90)


def test_back_to_the_source_a_record_keeps_its_place_key_and_history(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = failed(tmp_path, kafka, 40)
    done = replay(made, *ALL, "--to", "source")
    assert done.returncode == 0, done.stderr
    back = made.kafka.read(made.source)
    assert len(back) == 48
    partitions = {record.key: {record.partition} for record in back if not record.headers}
    for record in back:
        if record.headers:
            assert record.partition in partitions[record.key]
    assert run_to_end(tmp_path, str(made.file)).process.returncode == 0
    assert ids(made) == [n for n in range(40) if n % 10 != 7]
    again = [json.loads(letter.header("kafka_etl.context")) for letter in made.dead_letters()]
    assert Counter(len(context["history"]) for context in again) == {0: 8, 1: 4}


def test_to_another_topic_the_records_are_as_they_were(tmp_path: Path, kafka: Kafka) -> None:
    made = failed(tmp_path, kafka, 40)
    other = kafka.topic(2)
    done = replay(made, "--fingerprint", kind(made, "amount"), "--to", other, "--reset-attempts")
    assert done.returncode == 0, done.stderr
    found = kafka.read(other)
    assert sorted(json.loads(record.value or b"")["id"] for record in found) == [7, 17, 27, 37]
    assert all(record.headers == [] for record in found)
    assert len(made.outputs()) == 32


def test_through_the_pipeline_into_a_store_each_row_is_there_once(
    tmp_path: Path, kafka: Kafka
) -> None:
    file = tmp_path / "orders.db"
    made = _stored(tmp_path, kafka, file)
    done = replay(made, "--where", "'ends with 3' in error.message")
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(file) as database:
        rows = [row[0] for row in database.execute("select id from orders order by id")]
    assert rows == [n for n in range(40) if n % 10 != 7]
    assert statuses(made) == {LetterStatus.REPLAYED: 4}
    assert run_to_end(tmp_path, str(made.file)).process.returncode == 0


def _stored(folder: Path, kafka: Kafka, file: Path) -> Project:
    made = Project(folder, kafka, operators=["ops:pick"], retry={"max_attempts": 1})
    made.spec["sink"] = {
        "use": "sqlite",
        "with": {
            "path": str(file),
            "table": "orders",
            "create": True,
            "types": {"id": "INTEGER"},
        },
    }
    made.write()
    made.write_code(PICKY)
    made.produce([(str(n), json.dumps({"id": n})) for n in range(40)])
    assert run_to_end(folder, str(made.file)).process.returncode == 0
    made.write_code(MENDED)
    return made


def test_an_operator_changes_values_before_and_the_dry_run_shows_how(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = failed(tmp_path, kafka, 40)
    (tmp_path / "fixes.py").write_text(
        "def fix(value: dict) -> dict:\n    return {**value, 'id': value['id'] + 1000}\n"
    )
    given = ("--fingerprint", kind(made, "amount"), "--transform", "fixes:fix")
    shown = replay(made, *given, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert '-   "id": 7' in shown.stderr
    assert '+   "id": 1007' in shown.stderr
    assert statuses_of_none(made)
    done = replay(made, *given)
    assert done.returncode == 3, done.stderr  # 1007 ends with 7 as well
    assert "4 of 4 replayed, 4 failed again" in done.stderr


def statuses_of_none(made: Project) -> bool:
    found = dlq(made, "actions", str(made.file))
    return found.returncode == 0 and found.stdout == ""


def test_values_are_corrected_by_hand(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = failed(tmp_path, kafka, 20)
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i \'s/"id":7/"id":5001/\' "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    done = replay(made, "--fingerprint", kind(made, "amount"), "--edit")
    assert done.returncode == 3, done.stderr
    assert '+   "id": 5001' in done.stderr
    assert 5001 in ids(made)
    assert "2 of 2 replayed, 1 failed again" in done.stderr


def test_an_action_takes_what_its_dry_run_has_shown_and_no_letter_that_came_later(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = failed(tmp_path, kafka, 40)
    shown = replay(made, *ALL, "--dry-run")
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("replay 8 dead letters of ")
    plan = lines[-1].removeprefix("plan: ")
    made.produce([("9", json.dumps({"id": 9_007}))])
    assert run_to_end(tmp_path, str(made.file)).process.returncode == 0
    refused = replay(made, "--plan", plan, "--to", "source")
    assert refused.returncode == 2
    assert f"plan {plan} was for something else" in refused.stderr
    done = replay(made, "--plan", plan)
    assert "8 of 8 replayed, 4 failed again" in done.stderr, done.stderr
    second = replay(made, "--plan", plan)
    assert second.returncode == 2
    assert "letters have changed since the preview: 8 replayed before" in second.stderr


def test_many_letters_need_a_confirmation(tmp_path: Path, kafka: Kafka) -> None:
    made = failed(tmp_path, kafka, 1_000)
    refused = replay(made, *ALL)
    assert refused.returncode == 2
    assert "200 dead letters need a confirmation" in refused.stderr
    nothing = replay(made)
    assert nothing.returncode == 2
    assert "no dead letters are named" in nothing.stderr
    unknown = replay(made, f"{made.letters}/0/999999")
    assert unknown.returncode == 2
    assert "has no letter" in unknown.stderr
    assert statuses_of_none(made)


def test_dropped_letters_stay_and_the_account_says_who_and_why(
    tmp_path: Path, kafka: Kafka
) -> None:
    made = failed(tmp_path, kafka, 40)
    first = made.dead_letters()[0]
    done = dlq(
        made,
        *("drop", str(made.file), f"{made.letters}/{first.partition}/{first.offset}"),
        *("--reason", "test data"),
    )
    assert done.returncode == 0, done.stderr
    assert statuses(made) == {LetterStatus.DROPPED: 1}
    account = json.loads(dlq(made, "actions", str(made.file), "--json").stdout)
    assert (account["kind"], account["reason"], account["count"]) == ("drop", "test data", 1)
    assert "@" in account["actor"]
    rest = replay(made, *ALL)
    assert "7 of 7 replayed" in rest.stderr, rest.stderr
    assert len(made.dead_letters()) >= 8
