"""The reference of the Python that others import, told by the source as its authors wrote it."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kafka_etl.docstrings import summary_of

_ROOT: Final = Path(__file__).parents[2]
_SECTION: Final = re.compile(r"^(\w+):\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
_ENTRY: Final = re.compile(r"^([\w*]+): (.*(?:\n {4}.*)*)", re.MULTILINE)
_ERRORS: Final = ("KafkaEtlError", "ProgramFailed", "SinkFailed", "Stopped", "TryEnded")
"""Of `kafka_etl.errors`: what authors of operators, plug-ins and tests raise or catch."""
_TOLD: Final = {"kafka_etl", "kafka_etl.errors"}
"""Modules about which the page has said enough."""
_UNTOLD: Final = {"ABC", "BaseModel", "Generic", "NamedTuple", "msgspec.Struct"}
_VALUES: Final = {"NamedTuple", "msgspec.Struct"}
"""Bases that say nothing to a reader, and those whose fields are arguments."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class _Found:
    """A public name: its definition, the text behind an assignment, and the module around it."""

    name: str
    node: ast.stmt
    text: str
    module: ast.Module


def python_page(made: str) -> str:
    """The page; `made` says how it was made."""
    parts = {
        "kafka_etl: for operators": _exported("kafka_etl"),
        "kafka_etl.errors: those that code raises or catches": _named("kafka_etl.errors", _ERRORS),
        "kafka_etl.contracts: for sinks, sources and codecs": _exported("kafka_etl.contracts"),
        "kafka_etl.table_settings: for sinks of tables": _public("kafka_etl.table_settings"),
        "kafka_etl.testing: for tests": _exported("kafka_etl.testing"),
    }
    begin = (
        f"# Python\n\n{made}\nAn [operator](../operators.md) is a function, which "
        "[tests](../testing.md) call or run; [write your own](../sinks/write-your-own.md) builds "
        "a sink from an empty folder. [Errors](../errors.md) lists all errors by their codes.\n"
    )
    sections = [
        "\n".join([f"## {title}\n", *_about(title.partition(":")[0]), *map(_entry, names)])
        for title, names in parts.items()
    ]
    return "\n".join([begin, *sections])


def _about(module: str) -> Iterator[str]:
    """What a module says of itself, up to the code of an example."""
    text, _, example = (ast.get_docstring(_module(module)) or "").partition("::")
    if module not in _TOLD:
        yield f"{summary_of(text)}{'.' if example else ''}\n"


def _exported(package: str) -> list[_Found]:
    """The names that a package imports from its modules, and has in `__all__`."""
    homes = {
        alias.name: f"{node.module}"
        for node in ast.walk(_module(package))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    (exported,) = (
        ast.literal_eval(node.value)
        for node in _module(package).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    names = sorted(exported, key=str.lower)
    return [found for name in names for found in _named(homes[name], (name,))]


def _public(module: str) -> list[_Found]:
    """The classes and functions of a module without `__all__`, in their order."""
    body = _names(_module(module))
    return _named(module, tuple(name for name, _, _ in body if not name.startswith("_")))


def _named(module: str, names: tuple[str, ...]) -> list[_Found]:
    tree = _module(module)
    body = {name: (node, text) for name, node, text in _names(tree)}
    return [_Found(name, *body[name], tree) for name in names]


def _module(name: str) -> ast.Module:
    path = _ROOT / name.replace(".", "/")
    package = path / "__init__.py"
    text = (package if package.exists() else path.with_suffix(".py")).read_text()
    return _Plain().visit(ast.parse(text))  # type: ignore[no-any-return]


class _Plain(ast.NodeTransformer):
    """Types without the checks that go with them: `Annotated[float, …]` is `float`."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        match node:
            case ast.Subscript(value=ast.Name("Annotated"), slice=ast.Tuple(elts=[kind, *_])):
                return kind
            case _:
                return node


def _names(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.stmt, str]]:
    """What a module or class defines: name, definition, and the text that describes it."""
    for node, after in zip(scope.body, [*scope.body[1:], ast.Pass()], strict=True):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, node, ast.get_docstring(node) or ""
            case ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]):
                text = after.value if isinstance(after, ast.Expr) else None
                told = text.value if isinstance(text, ast.Constant) else ""
                yield name, node, inspect.cleandoc(told) if isinstance(told, str) else ""
            case _:
                pass


def _entry(found: _Found) -> str:
    node = found.node
    lines = [f"### {found.name}", "", _shown(found), "", summary_of(found.text), ""]
    lines += [f"- {line}" for line in _sections(found.text, _types(node))]
    if isinstance(node, ast.ClassDef):
        lines += [line for member in _members(node, found.module) for line in _member(*member)]
    return "\n".join(lines).strip() + "\n"


def _shown(found: _Found) -> str:
    """The name with its signature, or with its value."""
    match found.node:
        case ast.ClassDef() as node:
            bases = (
                f"; base: {', '.join(f'`{base}`' for base in shown)}"
                if (shown := [base for base in _bases(node) if base not in _UNTOLD])
                else ""
            )
            return f"`{node.name}{_construction(node)}`{bases}"
        case ast.FunctionDef() | ast.AsyncFunctionDef() as node:
            return f"`{_signature(node)}`"
        case ast.Assign(value=value) if not ast.unparse(value).startswith("_"):
            return f"`{found.name} = {ast.unparse(value)}`"
        case _:
            return f"`{found.name}`"


def _bases(node: ast.ClassDef) -> list[str]:
    """The public bases, without what is in their brackets."""
    bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
    return [base for base in bases if not base.startswith("_")]


def _construction(node: ast.ClassDef) -> str:
    """The arguments that make an object: those of `__init__`, or the fields of a value."""
    for name, member, _ in _names(node):
        if name == "__init__" and isinstance(member, Function):
            return _arguments(member)
    decorators = " ".join(map(ast.unparse, node.decorator_list))
    if "dataclass" not in decorators and not _VALUES & {*_bases(node)}:
        return ""
    return f"({', '.join(f'{name}: {kind}' for name, kind in _fields(node).items())})"


def _fields(node: ast.ClassDef) -> dict[str, str]:
    """Name -> annotation and default."""
    return {
        name: f"{ast.unparse(member.annotation)}{_default(member.value)}"
        for name, member, _ in _names(node)
        if isinstance(member, ast.AnnAssign) and "ClassVar" not in ast.unparse(member.annotation)
    }


def _types(node: ast.stmt) -> dict[str, str]:
    """The fields of a class that its arguments do not tell."""
    return _fields(node) if isinstance(node, ast.ClassDef) and not _construction(node) else {}


def _default(value: ast.expr | None) -> str:
    match value:
        case None:
            return ""
        case ast.Call(func=ast.Name("cast"), args=[_, given]):
            return _default(given)
        case ast.Call(func=ast.Name("field" | "Field"), keywords=keywords):
            given = {keyword.arg: keyword.value for keyword in keywords}
            made = given.get("default_factory")
            if made is not None:
                return " = …" if isinstance(made, ast.Lambda) else f" = {ast.unparse(made)}()"
            return _default(given.get("default"))
        case ast.Lambda():
            return " = …"
        case _:
            shown = ast.unparse(value)
            return " = …" if shown.startswith("_") else f" = {shown}"


def _arguments(node: Function) -> str:
    """The arguments without `self` and `cls`."""
    text = re.sub(r"^(?:self|cls)(?:, )?", "", ast.unparse(node.args))
    return f"({text.replace('=', ' = ')})"


def _signature(node: Function) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    wait = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{wait}{node.name}{_arguments(node)}{returns}"


def _members(node: ast.ClassDef, module: ast.Module) -> Iterator[tuple[str, ast.stmt, str]]:
    """The public members of a class, those of its private bases among them.

    A suite has its tests, and what they use, for itself. What a base has told is not told again.
    """
    own = {name: (member, text) for name, member, text in _names(node)}
    if any(name.startswith("test_") for name in own):
        return
    derived = bool({*_bases(node)} - _UNTOLD)
    around = {name: found for name, found, _ in _names(module)}
    for base in map(ast.unparse, node.bases):
        inherited = around.get(base.partition("[")[0])
        if base.startswith("_") and isinstance(inherited, ast.ClassDef):
            yield from (one for one in _members(inherited, module) if one[0] not in own)
    for name, (member, text) in own.items():
        repeated = derived and isinstance(member, Function) and not text
        if not (repeated or name.startswith("_") or isinstance(member, ast.ClassDef)):
            yield name, member, text


def _member(name: str, member: ast.stmt, text: str) -> Iterator[str]:
    """A line for a method, a property or a described value, with indented lines of its sections.

    Fields are told by the class's `Attributes`.
    """
    if isinstance(member, Function):
        decorators = {ast.unparse(one) for one in member.decorator_list}
        shown = _signature(member)
        if "property" in decorators:
            shown = f"{name}: {ast.unparse(member.returns)}" if member.returns else name
    elif isinstance(member, ast.Assign) and name.isupper():
        shown = f"{name} = {ast.unparse(member.value)}"
    elif text and isinstance(member, ast.AnnAssign):
        shown = f"{name}: {ast.unparse(member.annotation)}{_default(member.value)}"
    else:
        return
    first, *others = summary_of(text).split("\n\n")
    yield f"- `{shown}`{f': {first}' if first else ''}"
    yield from (f"\n  {other}" for other in others)
    yield from (f"  - {line}" for line in _sections(text, {}))


def _sections(text: str, types: Mapping[str, str]) -> Iterator[str]:
    """The arguments, attributes, results and errors of a docstring, a line each."""
    for title, section in _SECTION.findall(text + "\n"):
        told = textwrap.dedent(section)
        if title == "Returns":
            yield f"returns: {' '.join(told.split())}"
        for name, about in _ENTRY.findall(told) if title != "Returns" else ():
            shown = f"{name}: {types[name]}" if name in types else name
            yield f"{'raises ' if title == 'Raises' else ''}`{shown}`: {' '.join(about.split())}"
