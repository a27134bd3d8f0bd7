"""The commands of docs/dead-letters/replay.md, as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.kafka import Kafka
from tests.kit.pages import ROOT, blocks

PAGE = "docs/dead-letters/replay.md"
PARTS = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_of_the_page_shows_what_is_written(
    tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA", kafka.bootstrap)
    monkeypatch.setenv("KAFKA_ETL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "pipeline.yaml").write_text(blocks(PAGE, "yaml")[0])
    (tmp_path / "orders.jsonl").write_text(blocks(PAGE, "json")[0])
    count = 0
    for kind, text in PARTS.findall((ROOT / PAGE).read_text()):
        if kind == "python":
            (tmp_path / "ops.py").write_text(text)
            continue
        for listed in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, *shown = listed.splitlines()
            done = subprocess.run(
                ["bash", "-c", f"exec 2>&1; {line}"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}"
            for expected in shown:
                wanted = re.escape(expected).replace(r"\.\.\.", ".*")
                assert re.search(wanted, done.stdout), f"{line}\n{done.stdout}"
            count += 1
    assert count == 10
    for topic in ("orders", "taxed", "taxed.dlq", "taxed.dlq.status"):
        kafka.delete_topic(topic)


def test_the_page_has_every_option_of_replay() -> None:
    text = (ROOT / PAGE).read_text()
    done = subprocess.run(
        [sys.executable, "-m", "kafka_etl", "dlq", "replay", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    options = set(re.findall(r"(--[a-z-]+)", done.stdout)) - {"--help", "--set"}
    assert {option for option in options if option not in text} == set()
