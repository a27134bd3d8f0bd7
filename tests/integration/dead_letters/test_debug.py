"""`dlq debug` on real Kafka: one dead letter run again, before and after its operator is mended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.integration.test_commands import Done, folder, lines
from tests.kit.daemon import COMMAND, command, run_to_end
from tests.kit.kafka import Kafka, Stored
from tests.kit.pipeline import Project

__all__ = ["folder"]

RATES = """
    class Grumpy:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    def to_eur(order: dict) -> dict:
        grumpy = Grumpy()
        rates = {"USD": 0.9, "secret": "hunter2-from-the-file"}
        long = "x" * 100_000
        print("looking up", order["currency"])
        return {**order, "eur": order["amount"] * rates[order["currency"]]}
"""
MENDED = RATES.replace('"USD": 0.9', '"USD": 0.9, "XAU": 2000.0')
ORDER = b'{"id": 1, "amount": 2, "currency": "XAU"}'


def failed(folder: Path, kafka: Kafka, code: str = RATES, **more: object) -> Project:
    """A project whose one record has become a dead letter."""
    project = Project(folder, kafka, code=code, operators=["ops:to_eur"], **more)  # type: ignore[arg-type]
    project.produce([{"value": ORDER, "key": b"k", "headers": [("h", b"\xff")]}])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    return project


def one(project: Project) -> Stored:
    (letter,) = project.dead_letters()
    found: Stored = letter
    return found


def debug(folder: Path, *arguments: str) -> Done:
    return command("dlq", "debug", "pipeline.yaml", *arguments, cwd=folder)


def test_a_record_fails_until_its_operator_is_mended(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    letter = one(project)
    before = kafka.ends(project.sink), kafka.ends(project.letters)
    fails = debug(folder, f"{letter.partition}/{letter.offset}")
    assert (fails.returncode, fails.stdout) == (1, "")
    assert "It still fails: OperatorError in to_eur: KeyError: 'XAU' is not there" in fails.stderr
    assert "has changed since" not in fails.stderr
    assert "looking up XAU" in fails.stderr
    project.write_code(MENDED)
    passes = debug(folder, f"{letter.partition}/{letter.offset}", "--json")
    (output,) = lines(passes)
    assert output["value"] == {"id": 1, "amount": 2, "currency": "XAU", "eur": 4000.0}
    assert (output["topic"], output["key"]) == (project.sink, "k")
    assert output["headers"] == [{"name": "h", "value_hex": "ff"}]
    assert "to_eur has changed since" in passes.stderr
    assert "It passes now: 1 output. Nothing was written." in passes.stderr
    assert (kafka.ends(project.sink), kafka.ends(project.letters)) == before


def test_the_traceback_has_the_values_of_variables(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    letter = one(project)
    of_record = f"{project.source}[{letter.header('kafka_etl.partition')}]@0"
    text = debug(folder, of_record, "--letters", project.letters).stderr
    assert "      order = {'amount': 2, 'currency': 'XAU', 'id': 1}" in text
    assert "      grumpy = <repr raised RuntimeError>" in text
    assert f'File "{folder / "ops.py"}", line ' in text
    assert "engine/" not in text
    assert max(map(len, text.splitlines())) < 1000


@pytest.mark.parametrize("given", ["${RATES_PASSWORD}", "hunter2-from-the-file"])
def test_secrets_of_the_configuration_are_not_shown(
    folder: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("RATES_PASSWORD", "hunter2-from-the-file")
    code = """
        def to_eur(order: dict, *, password: str, url: str) -> dict:
            login = {"deep": [("user", password)], "bytes": password.encode()}
            raise ValueError(f"{url} refuses {password}")
    """
    told = {"password": given, "url": "http://me:from-url@host/"}
    project = Project(folder, kafka, code=code, operators=[{"use": "ops:to_eur", "with": told}])
    project.produce([ORDER])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    said = debug(folder, "0")
    assert said.returncode == 1, said.stderr
    assert "hunter2" not in said.stderr
    assert "from-url" not in said.stderr
    assert "      login = {'bytes': " in said.stderr


def test_another_failure_than_before_is_said(folder: Path, kafka: Kafka) -> None:
    project = failed(folder, kafka)
    project.write_code("def to_eur(order: dict) -> dict:\n    return order['nothing']\n")
    said = debug(folder, "0")
    assert said.returncode == 1
    assert "It fails, in another way than before: OperatorError in to_eur: KeyError" in said.stderr


def test_a_record_that_could_not_be_decoded(folder: Path, kafka: Kafka) -> None:
    project = Project(folder, kafka, code=MENDED, operators=["ops:to_eur"])
    project.produce([b"{no json"])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    said = debug(folder, "0")
    assert said.returncode == 1
    assert "It still fails: DecodeError in json: " in said.stderr
    project.spec["source"]["with"]["value"] = "text"
    project.spec["sink"]["with"]["value"] = "json"
    project.write_code("def to_eur(order: str) -> dict:\n    return {'text': order}\n")
    project.write()
    assert lines(debug(folder, "0", "--json"))[0]["value"] == {"text": "{no json"}


def test_a_value_that_was_cut_is_read_from_the_source(folder: Path, kafka: Kafka) -> None:
    value = b'{"id": 1, "amount": 2, "currency": "XAU", "pad": "' + b"x" * 100_000 + b'"}'
    project = Project(folder, kafka, code=RATES, operators=["ops:to_eur"], partitions=1)
    kafka.topic(1, project.letters, max_message_bytes="20000")
    project.produce([value])
    assert run_to_end(folder, "pipeline.yaml").process.returncode == 0
    assert (one(project).value or b"").startswith(b'{"reference"')
    assert "It still fails: OperatorError in to_eur" in debug(folder, "0/0").stderr
    project.write_code(MENDED)
    assert lines(debug(folder, "0/0", "--json"))[0]["value"]["eur"] == 4000.0
    kafka.delete_records(project.source, 0, before=1)
    gone = debug(folder, "0/0")
    assert gone.returncode == 1
    assert "error[E333]" in gone.stderr
    assert "retention has taken the record" in gone.stderr


def test_the_debugger_opens_where_it_failed(folder: Path, kafka: Kafka) -> None:
    failed(folder, kafka)
    said = subprocess.run(
        [*COMMAND, "dlq", "debug", "pipeline.yaml", "0", "--pdb"],
        cwd=folder,
        input="p order['currency'] * 3\nq\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "XAUXAUXAU" in said.stdout
    assert said.returncode == 1
