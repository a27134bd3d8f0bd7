"""`kafka-etl try` on records of a file: of a pipeline, and of one operator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kit.daemon import command
from tests.unit.trial.test_cases import SHOP, folder

__all__ = ["folder"]

LINES = [
    {"id": 1, "amount": 10.0, "currency": "USD"},
    {"id": 2, "currency": "EUR"},
    {"id": 3, "amount": -1, "currency": "USD"},
]


@pytest.fixture
def lines(folder: Path) -> Path:
    pipeline = (folder / "pipeline.yaml").read_text()
    (folder / "pipeline.yaml").write_text(f"{pipeline}dead_letter: {{topic: eur.dlq}}\n")
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return folder


def test_what_comes_of_the_lines_of_a_file(lines: Path) -> None:
    done = command("try", "pipeline.yaml", "-f", "in.jsonl", "--repeat", "3", cwd=lines)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == [1]
    assert 'dropped orders[0]@1  {"id": 2, "currency": "EUR"}\n' in done.stderr
    assert "OperatorError in to_eur: kafka_etl.errors.Permanent: negative amount\n" in done.stderr
    assert (
        "    goes to topic eur.dlq, format raw:\n        kafka_etl.topic: orders\n" in done.stderr
    )
    assert "3 records in, 1 out, 1 dropped, 1 dead letters. Nothing was written.\n" in done.stderr
    assert "3 rounds: " in done.stderr.splitlines()[-1]
    assert done.stderr.count("order 3\n") == 4
    assert f"    at      {lines / 'shop.py'}:17, in __call__\n" in done.stderr


def test_a_routed_output_shows_its_topic(lines: Path) -> None:
    (lines / "in.jsonl").write_text('{"id": 1, "amount": 101}\n{"id": 2, "amount": 1}\n')
    done = command("try", "shop:to_eur", "-f", "in.jsonl", "--with", "rate=1", cwd=lines)
    routed, own = done.stdout.splitlines()
    assert routed.startswith('to large: {"id":1,')
    assert json.loads(own)["id"] == 2


def test_an_operator_that_ends_the_process_is_told(lines: Path) -> None:
    code = "import os\ndef leave(order: dict) -> dict:\n    os._exit(0)\n"
    (lines / "bad.py").write_text(code)
    done = command("try", "bad:leave", "-f", "in.jsonl", cwd=lines)
    assert done.returncode == 1
    assert done.stderr == (f"the operator ended the process: os._exit(0) at {lines / 'bad.py'}:3\n")


def test_dead_letters_as_json_are_whole(lines: Path) -> None:
    done = command("try", "pipeline.yaml", "-f", "in.jsonl", "--json", cwd=lines)
    letter = next(json.loads(line) for line in done.stderr.splitlines() if line.startswith("{"))
    assert (letter["topic"], letter["value"]) == ("eur.dlq", LINES[2])
    headers = {one["name"]: one["value"] for one in letter["headers"]}
    assert headers["kafka_etl.error.message"] == "negative amount"
    assert json.loads(headers["kafka_etl.context"])["operator"]["name"] == "to_eur"


def test_an_operator_on_records(lines: Path) -> None:
    record = {"key": "k", "value": LINES[0], "headers": [{"name": "h", "value": "1"}]}
    (lines / "records.jsonl").write_text(json.dumps(record))
    (lines / "shop.py").write_text(SHOP.replace("order.to", "str"))
    arguments = ("-f", "records.jsonl", "--records", "--with", "rate=2", "--json")
    done = command("try", "shop:to_eur", *arguments, cwd=lines)
    assert done.returncode == 0, done.stderr
    (output,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (output["key"], output["headers"]) == ("k", record["headers"])
    assert output["value"]["amount_eur"] == 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shop:to_eur",), "an operator has no topic: name a file, -f FILE, or --topic TOPIC"),
        (("shop:to_eur", "-f", "in.jsonl"), "`rate` is missing"),
        (("shop:to_euro", "-f", "in.jsonl"), "did you mean `to_eur`?"),
        (("filtr", "-f", "in.jsonl"), "did you mean `filter`?"),
        (("pipeline.yaml", "-f", "nope"), "nope: No such file or directory"),
        (("pipeline.yaml", "-f", "in.jsonl", "--records"), "in.jsonl:1: "),
        (("pipeline.yaml", "-f", "in.jsonl", "--earliest"), "from a file or from Kafka"),
        (("pipeline.yaml", "--with", "rate=1"), "a pipeline takes --set"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_a_mistake_is_told(lines: Path, words: tuple[str, ...], said: str) -> None:
    done = command("try", *words, cwd=lines)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
