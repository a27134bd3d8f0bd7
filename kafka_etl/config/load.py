"""Reads pipeline files: YAML with positions, overrides by `--set`, and variables."""

from __future__ import annotations

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kafka_etl.config.client_files import with_whole_paths
from kafka_etl.config.document import Document
from kafka_etl.config.parse import is_list, is_mapping, parse
from kafka_etl.config.report import Finding, Loc, Mark, excerpt
from kafka_etl.config.variables import interpolate
from kafka_etl.errors import Code

CASES: Final = ".tests"
"""Ending of the names of files with cases, before `.yaml`."""

_MAX_FILE: Final = 1024 * 1024
_HAS_DOTTED_KEYS: Final = re.compile(r"(kafka|consumer|producer|registry|.+\.create\.config)\.(.+)")


@dataclass(slots=True)
class Loaded:
    """The result of reading files: the documents, and the findings of all files."""

    documents: list[Document] = field(default_factory=list[Document])
    findings: list[Finding] = field(default_factory=list[Finding])


def load(
    paths: Iterable[Path], *, env: Mapping[str, str], overrides: Mapping[str, str] | None = None
) -> Loaded:
    """Read pipeline files, and of folders all files `*.yaml` and `*.yml` but cases and hidden ones.

    Args:
        paths: Files and folders.
        env: Environment variables, for `${VAR}`.
        overrides: Place, such as `source.with.batch.max_records` -> YAML text of the value.
    """
    loaded = Loaded()
    for file in _files(paths, loaded.findings):
        document = _read(file, loaded.findings)
        if document is not None:
            document = override(document, overrides or {}, loaded.findings)
            document = interpolate(_without_notes(document), env, loaded.findings)
            data = with_whole_paths(document.data, document.folder)
            loaded.documents.append(replace(document, data=data))
    return loaded


def _files(paths: Iterable[Path], findings: list[Finding]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        try:
            found = sorted(p for p in path.iterdir() if is_yaml(p.name))
        except OSError as error:
            message = f"the folder cannot be read: {error.strerror}"
            findings.append(Finding(Code.UNREADABLE_FILE, message, path))
            continue
        found = [p for p in found if not p.stem.endswith(CASES)]
        yield from found
        if not found:
            message = "there is no pipeline file (*.yaml or *.yml) here"
            findings.append(Finding(Code.NO_PIPELINE, message, path))


def is_yaml(name: str) -> bool:
    """Whether a file of a folder is ours to read: hidden ones are an editor's, or other tools'."""
    return name.endswith((".yaml", ".yml")) and not name.startswith(".")


def _read(path: Path, findings: list[Finding]) -> Document | None:
    try:
        text = _text_of(path)
    except UnicodeDecodeError as error:
        findings.append(_not_utf8(path, error))
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"the file cannot be read: {reason}"
        findings.append(Finding(Code.UNREADABLE_FILE, message, path))
        return None
    lines = text.splitlines()
    parsed = parse(text)
    for problem in parsed.problems:
        mark = problem.mark
        findings.append(
            Finding(
                Code.INVALID_YAML,
                problem.message,
                path,
                problem.loc,
                mark,
                excerpt(lines, mark, problem.loc) if mark else "",
                hint=problem.hint,
            )
        )
    if is_mapping(parsed.data):
        return Document(path, parsed.data, parsed.keys, parsed.values, lines)
    if not parsed.problems:
        message = "a pipeline file holds one mapping: name, source, operators, sink"
        hint = "`kafka-etl init DIR` writes one to begin with"
        findings.append(Finding(Code.INVALID_YAML, message, path, (), Mark(1, 1), hint=hint))
    return None


def _without_notes(document: Document) -> Document:
    """Drop the top-level keys `x-…`, which hold parts that YAML aliases refer to."""
    data = {key: value for key, value in document.data.items() if not key.startswith("x-")}
    return replace(document, data=data)


def _text_of(path: Path) -> str:
    if path.stat().st_size > _MAX_FILE:
        raise ValueError(f"it is larger than {_MAX_FILE:,} bytes")
    return path.read_text(encoding="utf-8")


def _not_utf8(path: Path, error: UnicodeDecodeError) -> Finding:
    before = error.object[: error.start]
    line = before.count(b"\n") + 1
    mark = Mark(line, len(before) - (before.rfind(b"\n") + 1) + 1)
    is_utf16 = error.object.startswith((BOM_UTF16_BE, BOM_UTF16_LE))
    what = "it is UTF-16" if is_utf16 else f"byte {error.start + 1:,}, in line {line}, is not UTF-8"
    message = f"the file cannot be read: {what}"
    return Finding(Code.UNREADABLE_FILE, message, path, (), mark, hint="save it as UTF-8")


def override(document: Document, overrides: Mapping[str, str], findings: list[Finding]) -> Document:
    """Return the document with these places replaced.

    Args:
        document: The document.
        overrides: Place, such as `source.with.batch.max_records` -> YAML text of the value.
        findings: List to which a finding is added for each place that cannot be replaced.
    """
    data: Any = document.data
    overridden: list[Loc] = []
    for place, text in overrides.items():
        loc = _loc(place)
        value = parse(text)
        if value.problems:
            message = f"its value is not YAML: {value.problems[0].message}"
            findings.append(_refused(document, place, loc, message))
            continue
        try:
            data = _replaced(data, loc, value.data)
        except (TypeError, IndexError):
            message = "there is no such place in this file"
            findings.append(_refused(document, place, loc, message))
        else:
            overridden.append(loc)
    return replace(document, data=data, overridden=tuple(overridden))


def _refused(document: Document, place: str, loc: Loc, message: str) -> Finding:
    option = f"--set {place}"
    return Finding(Code.INVALID_VALUE, f"`{place}`: {message}", document.path, loc, override=option)


def _loc(place: str) -> Loc:
    """Parse a place such as `operators.0.with.rate`; names of client settings keep their dots."""
    dotted = _HAS_DOTTED_KEYS.fullmatch(place)
    parts = [*dotted[1].split("."), dotted[2]] if dotted else place.split(".")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _replaced(data: Any, loc: Sequence[str | int], value: Any) -> Any:
    if not loc:
        return value
    first, *rest = loc
    if is_list(data):
        if not isinstance(first, int):
            raise TypeError
        return [*data[:first], _replaced(data[first], rest, value), *data[first + 1 :]]
    mapping: Mapping[str, Any] = {} if data is None else data
    key = str(first)
    return {**mapping, key: _replaced(mapping.get(key), rest, value)}
