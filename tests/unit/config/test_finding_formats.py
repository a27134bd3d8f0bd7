"""Findings for programs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from kafka_etl.config.finding_formats import FORMATS, github
from kafka_etl.config.report import Finding, Mark
from kafka_etl.errors import Code
from tests.kit.daemon import command

FINDING = Finding(
    Code.UNKNOWN_KEY,
    "unknown key `a:b`, 100%\nor so",
    Path("p,1.yaml"),
    ("sink", "with"),
    Mark(3, 5),
    hint="did you mean `ab`?",
)
UNREAD = Finding(Code.UNKNOWN_KEY, "it cannot be read", Path("q.yaml"))


def test_json_has_a_line_for_each() -> None:
    first, second = map(json.loads, FORMATS["json"]([FINDING, UNREAD]).splitlines())
    assert first == {
        "code": "E104",
        "message": FINDING.message,
        "path": "p,1.yaml",
        "line": 3,
        "column": 5,
        "place": "sink.with",
        "hint": "did you mean `ab`?",
    }
    assert (second["line"], second["column"], second["hint"]) == (None, None, None)


def test_what_github_would_misread_is_escaped() -> None:
    assert github([FINDING]) == (
        "::error file=p%2C1.yaml,line=3,col=5,title=E104::"
        "unknown key `a:b`, 100%25%0Aor so. did you mean `ab`?"
    )


def test_a_sarif_log_of_nothing_closes_alerts() -> None:
    found = json.loads(FORMATS["sarif"]([FINDING, UNREAD]))["runs"][0]
    assert [result["ruleId"] for result in found["results"]] == ["E104", "E104"]
    assert [rule["id"] for rule in found["tool"]["driver"]["rules"]] == ["E104"]
    assert json.loads(FORMATS["sarif"]([]))["runs"][0]["results"] == []


@pytest.mark.parametrize("form", FORMATS)
def test_standard_output_has_nothing_else(tmp_path: Path, form: str) -> None:
    (tmp_path / "p.yaml").write_text("name: x\nsorce: {}\n")
    done = command("validate", "p.yaml", "--format", form, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    assert "E104" in done.stdout


def test_a_file_that_changes_is_checked_again(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("name: x\nsorce: {}\n")
    (tmp_path / ".#p.yaml").symlink_to("me@here.1234")  # as Emacs marks a file that is edited
    with subprocess.Popen(
        [sys.executable, "-m", "kafka_etl", "validate", "-w", "p.yaml"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stderr is not None
        try:
            until(watching.stderr, "unknown key `sorce`")
            time.sleep(0.05)  # another time of change
            file.write_text("name: x\nsorces: {}\n")
            until(watching.stderr, "unknown key `sorces`")
        finally:
            watching.kill()


def until(said: Iterable[str], text: str) -> None:
    for line in said:
        if text in line:
            return
    raise AssertionError(text)
