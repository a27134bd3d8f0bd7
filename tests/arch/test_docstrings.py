"""What a user or the author of a plug-in imports explains itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import kafka_etl
from tests.arch.source import ROOT, Definition, files, shown, tree

FACE = tree(ROOT / "kafka_etl/__init__.py")


@pytest.mark.parametrize("name", kafka_etl.__all__)
def test_names_of_kafka_etl(name: str) -> None:
    (home,) = [
        node.module
        for node in FACE.body
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}
    ]
    assert documented(ROOT / f"{str(home).replace('.', '/')}.py")[name]


def test_kafka_etl_exports_what_it_imports() -> None:
    imported = {a.name for n in FACE.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert sorted(imported) == sorted(kafka_etl.__all__)


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
