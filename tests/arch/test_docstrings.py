"""What a user or the author of a plug-in imports explains itself."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import kafka_etl
from tests.arch.source import ROOT, Definition, files, shown, tree

FACE = {
    alias.name: f"{node.module}"
    for node in ast.walk(tree(ROOT / "kafka_etl/__init__.py"))
    if isinstance(node, ast.ImportFrom) and f"{node.module}".startswith("kafka_etl")
    for alias in node.names
}
"""Public name of the package -> the module that has it."""


@pytest.mark.parametrize("name", kafka_etl.__all__)
def test_names_of_kafka_etl(name: str) -> None:
    assert documented(ROOT / f"{FACE[name].replace('.', '/')}.py")[name]


def test_kafka_etl_exports_what_it_imports() -> None:
    assert sorted(FACE) == sorted(kafka_etl.__all__)
    for name, home in FACE.items():
        assert getattr(kafka_etl, name) is getattr(import_module(home), name)


def test_names_of_contracts() -> None:
    for path in (ROOT / "kafka_etl/contracts").glob("[a-z]*.py"):
        assert [name for name, has in documented(path).items() if not has] == [], path.name


def test_every_module_says_what_it_is() -> None:
    silent = [shown(path) for path in files() if ast.get_docstring(tree(path)) is None]
    assert silent == []


def documented(path: Path) -> dict[str, bool]:
    """Public name of a module -> whether a docstring is in it, or after it for an assignment."""
    found: dict[str, bool] = {}
    body = [node for node in tree(path).body if not _is_type_variable(node)]
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, Definition):
            found[node.name] = ast.get_docstring(node) is not None
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [t.id for t in targets if isinstance(t, ast.Name)]
            found |= dict.fromkeys(names, _is_text(after))
    return {name: has for name, has in found.items() if not name.startswith("_")}


def _is_type_variable(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("TypeVar(")


def _is_text(node: ast.stmt | None) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
