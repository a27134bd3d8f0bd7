"""`kafka-etl dlq list` with a real Kafka: kinds, filters, formats, and an index that keeps up."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kafka_etl.dead_letters.statuses import (
    LetterPlace,
    LetterStatus,
    Status,
    status_record,
    status_topic,
)
from kafka_etl.dlq.index import Index, open_index
from kafka_etl.dlq.where import Where
from kafka_etl.envelope import encode_raw
from kafka_etl.expression import ExpressionError
from kafka_etl.invocation import Condition, DeadLetter, ErrorInfo, Failure
from kafka_etl.kafka.cluster.admin import reached
from kafka_etl.testing import StoredRecord
from tests.kit.daemon import command, run_to_end
from tests.kit.kafka import Kafka
from tests.kit.pipeline import PICKY, Project, orders
from tests.unit.dead_letters.test_envelope import ABOUT

ROOT = Path(__file__).parents[3]
Done = subprocess.CompletedProcess[str]
LATE = 4
"""Every fourth letter is of a service that was late; the others have no rate."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path / "cache"))
    return tmp_path


def dead(number: int) -> dict[str, Any]:
    record = StoredRecord(
        b'{"id": %d, "amount": %d}' % (number, number % 10),
        b"k%d" % number,
        [("kind", b"order")],
        timestamp_ms=1_700,
        topic="orders",
        partition=number % 2,
        offset=number,
    )
    late = number % LATE == 0
    condition = Condition.TIMEOUT if late else Condition.OPERATOR_ERROR
    error = ErrorInfo("TimeoutError" if late else "shop.NoRate", f"no rate for {number}", "")
    failure = Failure(0, condition, error, "ask" if late else "to_eur")
    encoded = encode_raw(DeadLetter(record, failure, "i", at_ms=1_800), ABOUT, 1_000_000)
    return {
        "value": encoded.value,
        "key": encoded.key,
        "headers": encoded.headers,
        "partition": number % 2,
    }


def letters(kafka: Kafka, numbers: Iterable[int], topic: str = "") -> str:
    topic = topic or kafka.topic(2)
    kafka.produce(topic, map(dead, numbers))
    return topic


def set_statuses(kafka: Kafka, topic: str, statuses: dict[LetterPlace, LetterStatus]) -> None:
    kafka.produce(
        status_topic(topic),
        [status_record(place, Status(status, 1)) for place, status in statuses.items()],
    )


def opened(kafka: Kafka, topic: str, **more: Any) -> Index:
    return open_index(kafka.client, reached(kafka.client), topic, **more)


def counts(index: Index) -> dict[str, int]:
    (only,) = index.kinds(Where("operator == 'ask'"), status=None)
    return {status.value: count for status, count in only.counts.items()}


def listed(*arguments: str) -> Done:
    return command("dlq", "list", *arguments, cwd=Path.cwd())


def shown(*arguments: str) -> Done:
    return command("dlq", "show", *arguments, cwd=Path.cwd())


def rows(done: Done) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# The command


def test_kinds_of_a_pipeline_with_their_share(folder: Path, kafka: Kafka) -> None:
    project = Project(folder, kafka, code=PICKY, operators=["ops:picky"])
    project.produce(orders(100))
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    done = listed("pipeline.yaml")
    assert done.returncode == 0, done.stderr
    title, _, numbers, failure, example = done.stdout.splitlines()
    assert title == f"{project.letters}: 10 open dead letters of 1 kind"
    assert numbers.split()[:2] == ["10", "100.0%"]
    assert failure.split() == ["OperatorError", "in", "picky:", "ValueError:", "no"]
    place = example.split()[-1]
    assert place.startswith(project.letters)
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "10 dead letters, of any status, are " in done.stderr
    look, replay = [line for line in done.stderr.splitlines() if "kafka-etl dlq" in line]
    assert look.endswith(f"kafka-etl dlq show pipeline.yaml {place}")
    assert f"--fingerprint {numbers.split()[2]} --dry-run" in replay
    assert shown("pipeline.yaml", place).returncode == 0


def test_three_formats_say_the_same(kafka: Kafka) -> None:
    topic = letters(kafka, range(20))
    first, second = rows(listed(topic, "--format", "json"))
    assert (first["letters"], first["share"], first["operator"]) == (15, 0.75, "to_eur")
    assert (second["letters"], second["open"], second["condition"]) == (5, 5, "Timeout")
    assert first["versions"] == ["9f"]
    table = listed(topic).stdout
    assert f"15   75.0%  {first['fingerprint']}" in table
    assert f"for example {second['example']}" in table
    text = listed(topic, "--format", "csv").stdout
    found = list(csv.DictReader(io.StringIO(text)))
    assert [row["fingerprint"] for row in found] == [first["fingerprint"], second["fingerprint"]]
    assert found[0]["error_message"] == first["error_message"]
    assert len(rows(listed(topic, "--format", "json", "-n", "1"))) == 1


def test_letters_one_a_line(kafka: Kafka) -> None:
    topic = letters(kafka, range(20))
    kind = rows(listed(topic, "--format", "json"))[1]["fingerprint"]
    given = (topic, "--each", "--fingerprint", kind)
    found = rows(listed(*given, "--format", "json"))
    assert [row["record"] for row in found] == [f"orders/0/{n}" for n in range(0, 20, LATE)]
    lines = listed(*given, "-n", "2")
    assert [line.split()[0] for line in lines.stdout.splitlines()] == [
        row["id"] for row in found[:2]
    ]
    assert "-n shows more than 2" in lines.stderr
    for row in found:
        assert f"kind {kind}" not in row["id"]
        assert shown(topic, row["id"]).returncode == 0


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("error.type == 'TimeoutError'", [0, 4, 8]),
        ("value.amount > 7", [8, 9]),
        ("value.amount > 7 and condition == 'Timeout'", [8]),
        ("key in ('k3', 'k5') and headers.kind == 'order'", [3, 5]),
        ("time > '1h ago' and source.offset < 3", [0, 1, 2]),
        ("time < '1h ago'", []),
        ("value.missing > 3", []),
    ],
)
def test_a_filter_over_context_and_payload(kafka: Kafka, where: str, numbers: list[int]) -> None:
    topic = letters(kafka, range(10))
    given = (topic, "--where", where)
    found = rows(listed(*given, "--each", "--format", "json"))
    assert sorted(int(row["record"].split("/")[2]) for row in found) == numbers
    kinds = rows(listed(*given, "--format", "json"))
    assert sum(kind["letters"] for kind in kinds) == len(numbers)


def test_letters_without_the_field_of_a_filter_are_counted(kafka: Kafka) -> None:
    topic = letters(kafka, range(10))
    answer = listed(topic, "--where", "value.amuont > 3")
    assert "10 letters have no such field, or one of another type: left out" in answer.stderr
    assert "left out" not in listed(topic, "--where", "value.amount > 3").stderr


def test_a_bad_filter_is_refused_with_its_column(kafka: Kafka) -> None:
    refused = listed("any", "--where", "error.typ == 'a'")
    assert refused.returncode == 2
    said = " ".join(refused.stderr.replace("│", " ").split())
    assert "column 1: `error` has no field `typ`; did you mean `type`?" in said


def test_statuses_choose_letters(kafka: Kafka) -> None:
    topic = letters(kafka, range(8))
    kafka.topic(1, status_topic(topic), cleanup_policy="compact")
    set_statuses(
        kafka,
        topic,
        {LetterPlace(0, 0): LetterStatus.REPLAYED, LetterPlace(1, 0): LetterStatus.DROPPED},
    )
    kinds = rows(listed(topic, "--format", "json"))
    assert sorted(kind["letters"] for kind in kinds) == [1, 5]
    every = rows(listed(topic, "--status", "all", "--format", "json"))
    assert [(k["letters"], k["open"], k["replayed"], k["dropped"]) for k in every] == [
        (6, 5, 0, 1),
        (2, 1, 1, 0),
    ]
    gone = rows(listed(topic, "--status", "dropped", "--each", "--format", "json"))
    assert [(row["id"], row["status"]) for row in gone] == [(f"{topic}/1/0", "dropped")]
    assert "(1 open, 1 replayed)" in listed(topic, "--status", "all").stdout


def test_no_letters_and_no_topic(kafka: Kafka) -> None:
    topic = kafka.topic(2)
    empty = listed(topic)
    assert (empty.returncode, empty.stdout) == (0, "")
    assert "has no open dead letters" in empty.stderr
    missing = listed(kafka.name())
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr


# The index


def test_only_what_is_new_is_read(kafka: Kafka) -> None:
    topic = letters(kafka, range(20))
    told: list[str] = []
    opened(kafka, topic, progress=told.append).close()
    assert told == [f"{topic}: 20 of 20 dead letters read"]
    letters(kafka, range(20, 23), topic)
    told.clear()
    with_new = opened(kafka, topic, progress=told.append)
    assert told == [f"{topic}: 3 of 3 dead letters read"]
    assert sum(kind.letters for kind in with_new.kinds()) == 23
    told.clear()
    opened(kafka, topic, progress=told.append).close()
    assert told == []
    anew = opened(kafka, topic, progress=told.append, rebuild=True)
    assert told == [f"{topic}: 23 of 23 dead letters read"]
    assert [k.letters for k in anew.kinds()] == [k.letters for k in with_new.kinds()]


def test_statuses_come_and_go(kafka: Kafka) -> None:
    topic = letters(kafka, [0, 4, 8])
    assert counts(opened(kafka, topic)) == {"open": 3}
    kafka.topic(1, status_topic(topic), cleanup_policy="compact")
    set_statuses(kafka, topic, {LetterPlace(0, 1): LetterStatus.REPLAYING})
    assert counts(opened(kafka, topic)) == {"open": 2, "replaying": 1}
    set_statuses(kafka, topic, {LetterPlace(0, 1): LetterStatus.REPLAYED})
    kafka.produce(status_topic(topic), [(b"action/7", b"{}"), (b"x", b"y"), (b"0/2", b"junk")])
    assert counts(opened(kafka, topic)) == {"open": 2, "replayed": 1}
    kafka.produce(status_topic(topic), [(b"0/1", None)])
    assert counts(opened(kafka, topic)) == {"open": 3}
    set_statuses(kafka, topic, {LetterPlace(0, 0): LetterStatus.DROPPED})
    assert counts(opened(kafka, topic)) == {"open": 2, "dropped": 1}
    kafka.delete_topic(status_topic(topic))
    deadline = time.monotonic() + 20
    while counts(opened(kafka, topic)) != {"open": 3}:
        assert time.monotonic() < deadline


def test_what_retention_deletes_leaves_the_index(kafka: Kafka) -> None:
    topic = letters(kafka, [0, 4, 8, 1])
    assert counts(opened(kafka, topic)) == {"open": 3}
    kafka.delete_records(topic, 0, before=2)
    assert [row.place for row in opened(kafka, topic).letters()] == [(0, 2), (1, 0)]


def test_a_topic_that_was_made_again_is_another(kafka: Kafka) -> None:
    topic = letters(kafka, range(8))
    opened(kafka, topic).close()
    kafka.delete_topic(topic)
    deadline = time.monotonic() + 20
    while topic in kafka.admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
    kafka.topic(2, topic)
    letters(kafka, [1], topic)
    assert [row.place for row in opened(kafka, topic).letters()] == [(1, 0)]


def test_other_records_and_envelopes_in_the_topic(kafka: Kafka) -> None:
    topic = letters(kafka, range(4))
    document = {
        "timestamp": 5,
        "requestContext": {"condition": "Refused", "approximateInvokeCount": 2},
        "error": {"type": "Down", "message": "no", "fingerprint": "cafe"},
        "pipeline": {"name": "elsewhere"},
    }
    kafka.produce(topic, ["no dead letter", json.dumps(document)])
    found = opened(kafka, topic)
    assert found.strangers == 1
    (kind,) = found.kinds(fingerprint="cafe")
    assert (kind.example.pipeline, kind.example.attempts) == ("elsewhere", 2)
    done = listed(topic)
    assert f"1 records of {topic} are no dead letters, and left out" in done.stderr


def test_two_commands_at_once_agree(kafka: Kafka) -> None:
    topic = letters(kafka, range(3000))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: listed(topic, "--format", "json"), range(3)))
    assert [[kind["letters"] for kind in rows(done)] for done in found] == [[2250, 750]] * 3


def test_wanted_letters_far_apart_are_found_in_order(kafka: Kafka) -> None:
    topic = letters(kafka, range(9000))
    found = opened(kafka, topic)
    wanted = [LetterPlace(1, 4400), LetterPlace(0, 2), LetterPlace(0, 4499)]
    chosen = found.letters(Where("headers.kind == 'order'"), ids=wanted, status=None)
    assert [row.place for row in chosen] == sorted(wanted)


# The page


def page() -> str:
    return (ROOT / "docs/dead-letters/list.md").read_text()


def test_the_commands_of_the_page(kafka: Kafka) -> None:
    topic = letters(kafka, range(20))
    commands = re.findall(r"^\$ kafka-etl dlq list orders\.dlq(.*)$", page(), re.MULTILINE)
    found = [listed(topic, *shlex.split(arguments)) for arguments in commands]
    assert [done.returncode for done in found] == [0] * 5, [done.stderr for done in found]
    every, late, versions, statuses, each = [done.stdout.splitlines() for done in found]
    assert every[0] == f"{topic}: 20 open dead letters of 2 kinds"
    assert late[0] == f"{topic}: 1 open dead letter of 1 kind"
    assert versions[0].startswith("fingerprint,letters,share,")
    assert [json.loads(line)["letters"] for line in statuses] == [15, 5]
    assert len(each) == 20


def test_the_page_names_what_a_filter_may_use() -> None:
    with pytest.raises(ExpressionError) as raised:
        Where("no_such_name")
    names = raised.value.message.split("Names: ")[1].split(", ")
    table = page().split("## The filter")[1].split("## The index")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(names)
