"""Rows for programs, as CSV."""

from __future__ import annotations

import csv
import io

from kafka_etl.cli.dlq.kind_table import csv_lines


def test_a_cell_of_several_lines_is_one_cell() -> None:
    rows = [
        {"id": "a/0/1", "error": "line 1\nline 2", "versions": ["1", "2"]},
        {"id": "a/0/2", "error": 'a\r"b", c', "versions": []},
        {"id": "a/0/3", "error": "", "versions": None},
    ]
    text = "".join(f"{line}\n" for line in csv_lines(rows))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["id", "error", "versions"],
        ["a/0/1", "line 1\nline 2", "1 2"],
        ["a/0/2", 'a\r"b", c', ""],
        ["a/0/3", "", ""],
    ]
