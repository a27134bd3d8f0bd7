"""No file and no function grows beyond what one can hold in mind: elegance is lost in giants."""

from __future__ import annotations

import ast

from tests.arch.source import files, functions, shown

FILE_LINES = 600
FUNCTION_LINES = 60
"""Without the docstring: nobody saves space by explaining less."""

LARGE = {
    ("kafka_etl/cli/daemon/run.py", "run"): "one parameter for each option of the command",
    ("kafka_etl/cli/dlq/replay.py", "replay"): "one parameter for each option of the command",
    ("kafka_etl/cli/trial/try_out.py", "try_out"): "one parameter for each option of the command",
}


LONG_FILES = {"kafka_etl/errors.py": "one class for each error"}


def test_files() -> None:
    lengths = {
        shown(path): len(path.read_text().splitlines())
        for path in files()
        if shown(path) not in LONG_FILES
    }
    assert {name: n for name, n in lengths.items() if n > FILE_LINES} == {}


def test_functions() -> None:
    lengths = {
        (shown(path), name): _lines(function)
        for path in files()
        for name, function in functions(path)
    }
    large = {place: n for place, n in lengths.items() if n > FUNCTION_LINES}
    assert {place: n for place, n in large.items() if place not in LARGE} == {}
    assert LARGE.keys() <= large.keys(), "an exception nobody needs any more"


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    has_docstring = ast.get_docstring(function) is not None
    return total - ((first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0)
