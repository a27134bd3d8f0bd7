"""A suite that fails in an author's project says which values it compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

AUTHORS_TEST = """
import pytest
from kafka_etl.contracts import TAKEN
from kafka_etl.testing import MemoryTarget, MemoryWriter, WriterContract, WriterSystem


class Loses(MemoryWriter):
    def write(self, rows):
        super().write(rows.take([0]))
        return TAKEN


class System(WriterSystem):
    def __init__(self):
        self.target = MemoryTarget()

    def writer(self):
        return Loses(self.target)

    def written(self):
        return self.target.values


class TestLoses(WriterContract):
    @pytest.fixture
    def system(self):
        return System()
"""


def test_a_failing_suite_shows_the_compared_values(tmp_path: Path) -> None:
    (tmp_path / "test_loses.py").write_text(AUTHORS_TEST)
    chosen = "what_was_acknowledged_is_there"
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-W", "error", "-k", chosen, str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert """assert [b'{"id":0}'] == [b'{"id":0}',""" in done.stdout, done.stdout


def test_the_suites_can_be_imported_where_there_is_no_pytest() -> None:
    code = "import sys; sys.modules['pytest'] = None; import kafka_etl.testing"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_suites_import_no_pytest_by_themselves() -> None:
    code = "import kafka_etl.testing, sys; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
