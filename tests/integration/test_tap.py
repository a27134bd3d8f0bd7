"""What goes into a running pipeline and comes out, as a bystander sees it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from kafka_etl.config.secrets import redacted
from tests.kit.daemon import COMMAND, Daemon, command
from tests.kit.kafka import Kafka
from tests.kit.pipeline import Project

CODE = """
def op(order: dict) -> dict:
    return {"double": 2 * order["amount"]}
"""


def test_records_are_shown_by_kind_and_kept_without_secrets(tmp_path: Path, kafka: Kafka) -> None:
    project = Project(tmp_path, kafka, code=CODE, operators=["ops:op"], partitions=1)
    fixture = tmp_path / "fixture.jsonl"
    ends = ["-n", "6", "--for", "60"]
    with Daemon(tmp_path, str(project.file)) as daemon:
        daemon.until(lambda p: p["state"] == "running" and p["partitions"] == 1)
        with (
            _tap(
                project.name, *ends, "--record", str(fixture), "--redact", "mail", at=tmp_path
            ) as tap,
            _tap(str(project.file), *ends, at=None) as tap_of_file,
        ):
            time.sleep(1)  # the readers stand at the ends
            orders = [{"amount": 1, "mail": "a@b", "password": "x"}, {"amount": 2}, {"none": 3}]
            project.produce([{"value": json.dumps(order)} for order in orders[:2]])
            daemon.until(lambda p: p["counts"]["records_out"] == 2)
            project.produce([{"value": json.dumps(orders[2])}])
            shown, _ = tap.communicate(timeout=60)
            shown_of_file, _ = tap_of_file.communicate(timeout=60)
        unknown = command("tap", "nobody", "--state-dir", str(tmp_path / "state"), cwd=tmp_path)
    kinds = [line.split()[0] for line in shown.splitlines() if not line.startswith(" ")]
    assert sorted(kinds) == ["dead", "in", "in", "in", "out", "out"]
    assert '"double":2' in shown
    assert sorted(shown_of_file.splitlines()) == sorted(shown.splitlines())
    assert unknown.returncode == 1
    assert f"the daemon runs no pipeline `nobody`, but {project.name}" in unknown.stderr
    kept = [json.loads(line)["value"] for line in fixture.read_text().splitlines()]
    assert kept == [{"amount": 1, "mail": "***", "password": "***"}, {"amount": 2}, {"none": 3}]
    tried = command("try", str(project.file), "-f", str(fixture), "--records", cwd=tmp_path)
    assert '"double":2' in tried.stdout, tried.stderr


@contextmanager
def _tap(*words: str, at: Path | None) -> Generator[subprocess.Popen[str]]:
    """`tap` in the background, once it stands at the ends.

    Args:
        words: Arguments.
        at: Folder of the daemon; None: no daemon is asked.
    """
    daemon = [] if at is None else ["--state-dir", str(at / "state")]
    with subprocess.Popen(
        [*COMMAND, "tap", *words, *daemon],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tap:
        assert tap.stderr is not None
        assert "tapping" in tap.stderr.readline()
        yield tap


def test_headers_that_are_secrets_are_hidden_too() -> None:
    headers = [
        {"name": "Authorization", "value": "x"},
        {"name": "api-token", "value_hex": "00ff"},
        {"name": "id", "value": "1"},
    ]
    assert redacted({"headers": headers}, []) == {
        "headers": [
            {"name": "Authorization", "value": "***"},
            {"name": "api-token", "value": "***"},
            {"name": "id", "value": "1"},
        ]
    }
