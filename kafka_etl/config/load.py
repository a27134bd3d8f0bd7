"""Reading pipeline files: YAML with positions, variables, and `--set`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from kafka_etl.config.document import Document
from kafka_etl.config.report import Finding, Loc, Mark
from kafka_etl.config.variables import interpolate
from kafka_etl.errors import Code

_MAX_FILE: Final = 1024 * 1024
_MAX_NODES: Final = 100_000  # aliases may multiply what a small file holds


@dataclass(slots=True)
class Loaded:
    """What came of reading: documents, and what is wrong with the files."""

    documents: list[Document] = field(default_factory=list[Document])
    findings: list[Finding] = field(default_factory=list[Finding])


def load(
    paths: Iterable[Path], *, env: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Loaded:
    """Read pipeline files, and all `*.yaml` and `*.yml` of folders.

    Args:
        paths: Files and folders.
        env: For `${VAR}`.
        overrides: `source.with.batch.max_records` -> YAML text of the value.
    """
    loaded = Loaded()
    files = list(_files(paths, loaded))
    for file in files:
        document = _read(file, loaded)
        if document is not None:
            document = _override(document, overrides or {}, loaded)
            loaded.documents.append(interpolate(document, env, loaded.findings))
    if not files and not loaded.findings:
        for path in paths:
            message = "there is no pipeline file (*.yaml or *.yml) here"
            loaded.findings.append(Finding(Code.NO_PIPELINE, message, path))
    return loaded


def _files(paths: Iterable[Path], loaded: Loaded) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml"})
        elif path.exists():
            yield path
        else:
            loaded.findings.append(
                Finding(Code.UNREADABLE_FILE, "there is no such file or folder", path)
            )


def _read(path: Path, loaded: Loaded) -> Document | None:
    try:
        if path.stat().st_size > _MAX_FILE:
            raise ValueError(f"it is larger than {_MAX_FILE:,} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"the file cannot be read: {reason}"
        loaded.findings.append(Finding(Code.UNREADABLE_FILE, message, path))
        return None
    lines = text.splitlines()
    try:
        tree = _parse(text, "rt")
    except MarkedYAMLError as error:
        loaded.findings.append(_yaml_finding(error, path, lines))
        return None
    except YAMLError as error:
        loaded.findings.append(Finding(Code.INVALID_YAML, str(error), path))
        return None
    if not _is_mapping(tree):
        message = "a pipeline file holds one mapping: name, source, operators, sink"
        loaded.findings.append(Finding(Code.INVALID_YAML, message, path, (), Mark(1, 1)))
        return None
    try:
        return _document(path, tree, lines)
    except _TooLarge:
        message = f"it holds more than {_MAX_NODES:,} values once its aliases are resolved"
        loaded.findings.append(Finding(Code.INVALID_YAML, message, path, (), Mark(1, 1)))
        return None


def _parse(text: str, kind: str) -> Any:
    yaml: Any = YAML(typ=kind, pure=True)
    return yaml.load(StringIO(text))


class _TooLarge(Exception):
    pass


def _yaml_finding(error: Any, path: Path, lines: Sequence[str]) -> Finding:
    at = error.problem_mark or error.context_mark
    mark = Mark(at.line + 1, at.column + 1) if at else None
    source = lines[mark.line - 1] if mark and mark.line <= len(lines) else ""
    if _is_duplicate(error):
        problem = (error.problem or "").splitlines()[0]
        return Finding(Code.INVALID_YAML, problem, path, (), mark, source, hint="keep one of them")
    problem = " ".join(part for part in (error.context, error.problem) if part)
    hint = "YAML indents with spaces, not tabs" if "'\\t'" in problem else ""
    return Finding(Code.INVALID_YAML, f"not YAML: {problem}", path, (), mark, source, hint=hint)


def _document(path: Path, tree: Any, lines: Sequence[str]) -> Document:
    keys: dict[Loc, Mark] = {}
    values: dict[Loc, Mark] = {}
    nodes = 0

    def plain(node: Any, loc: Loc) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > _MAX_NODES:
            raise _TooLarge
        if _is_mapping(node):
            for key in node:
                _remember(keys, (*loc, str(key)), node.lc.key, key)
                _remember(values, (*loc, str(key)), node.lc.value, key)
            return {str(key): plain(child, (*loc, str(key))) for key, child in node.items()}
        if _is_sequence(node):
            for index in range(len(node)):
                _remember(keys, (*loc, index), node.lc.item, index)
                _remember(values, (*loc, index), node.lc.item, index)
            return [plain(child, (*loc, index)) for index, child in enumerate(node)]
        return _scalar(node)

    return Document(path, plain(tree, ()), keys, values, lines)


def _is_duplicate(error: Any) -> bool:
    return isinstance(error, DuplicateKeyError)


def _is_mapping(node: Any) -> bool:
    return isinstance(node, CommentedMap)


def _is_sequence(node: Any) -> bool:
    return isinstance(node, CommentedSeq)


def _remember(marks: dict[Loc, Mark], loc: Loc, position: Any, part: Any) -> None:
    try:
        line, column = position(part)
    except (KeyError, TypeError):  # a key merged in with `<<` stands elsewhere
        return
    marks[loc] = Mark(line + 1, column + 1)


def _scalar(node: Any) -> Any:
    """Scalars as plain Python: ruamel keeps how a number was written."""
    if isinstance(node, datetime):  # ruamel has turned it into UTC already
        return node.replace(tzinfo=UTC).isoformat()
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _override(document: Document, overrides: Mapping[str, str], loaded: Loaded) -> Document:
    data = document.data
    for place, text in overrides.items():
        try:
            value = _parse(text, "safe")
            data = _replaced(data, _place(place), value)
        except (YAMLError, ValueError, TypeError, IndexError):
            message = f"--set {place}={text}: there is no such place, or the value is not YAML"
            loaded.findings.append(document.finding(Code.INVALID_VALUE, message))
    return replace(document, data=data)


def _place(text: str) -> Loc:
    """`operators.0.with.rate`; client settings have dots of their own."""
    first, _, rest = text.partition(".")
    if first in {"kafka", "consumer", "producer"} and rest:
        return (first, rest)
    return tuple(int(part) if part.isdigit() else part for part in text.split("."))


def _replaced(data: Any, loc: Loc, value: Any) -> Any:
    if not loc:
        return value
    first, *rest = loc
    if isinstance(first, int):
        copy = list(data)
        copy[first] = _replaced(copy[first], tuple(rest), value)
        return copy
    mapping: Mapping[str, Any] = {} if data is None else data
    return {**mapping, first: _replaced(mapping.get(first), tuple(rest), value)}
