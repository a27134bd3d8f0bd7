"""A misspelt operator of a task pipeline is found when the daemon starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kafka_etl.config.load import load
from kafka_etl.config.task_documents import stream_documents
from kafka_etl.errors import ConfigError
from kafka_etl.runtime.tasks.operator_check import OperatorCheck

FILE = """
name: shop
mode: task
kafka: {bootstrap.servers: "localhost:1"}
source: {use: kafka, with: {topics: [uploads], value: json}}
operator: "OPERATOR"
on_success: {use: kafka, with: {topic: done}}
on_failure: {topic: failed}
"""
WORK = "print('imported')\n\ndef work(task: dict) -> dict:\n    return task\n"


def check(folder: Path, operator: str, code: str = WORK) -> None:
    (folder / "ops.py").write_text(code)
    (folder / "p.yaml").write_text(FILE.replace("OPERATOR", operator))
    (document,) = load([folder / "p.yaml"], env=os.environ).documents
    for part in stream_documents(document, []):
        OperatorCheck(part).finish()


def test_a_sound_operator_is_none_of_its_business(tmp_path: Path) -> None:
    check(tmp_path, "ops:work")


@pytest.mark.parametrize(
    ("operator", "code", "said"),
    [
        ("ops:wrok", WORK, "did you mean `work`"),
        ("opps:work", WORK, "no module `opps`"),
        ("ops:work", "import os\nos._exit(7)\n", "exit status 7"),
    ],
)
def test_an_operator_that_cannot_be_built_is_said(
    tmp_path: Path, operator: str, code: str, said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check(tmp_path, operator, code)
    assert said in raised.value.problem.what
    if code is WORK:
        assert "p.yaml:6:" in raised.value.problem.what
