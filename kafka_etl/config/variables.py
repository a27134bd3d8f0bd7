"""Replaces variables in pipeline files: `${VAR}`, `${VAR:-default}`, `${file:PATH}`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kafka_etl.config.client_files import names_file
from kafka_etl.config.document import Document
from kafka_etl.config.parse import is_list, is_mapping
from kafka_etl.config.report import Finding, Loc
from kafka_etl.errors import Code

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_LENGTH: Final = 8  # hiding shorter values would garble unrelated texts
_FORMS: Final = "${NAME}, ${NAME:-default} or ${file:PATH}; write $${ for a literal ${"


def interpolate(document: Document, env: Mapping[str, str], findings: list[Finding]) -> Document:
    """Replace variables in scalars, after parsing, so that a value cannot change the structure.

    Args:
        document: The document.
        env: Environment variables.
        findings: List to which a finding is added for each variable without a value.
    """
    secrets: dict[str, str] = {}

    def visit(node: Any, loc: Loc) -> Any:
        if is_mapping(node):
            return {key: visit(child, (*loc, key)) for key, child in node.items()}
        if is_list(node):
            return [visit(child, (*loc, index)) for index, child in enumerate(node)]
        if isinstance(node, str) and "${" in node:
            return substituted(node, loc)
        return node

    def substituted(text: str, loc: Loc) -> str:
        def value_of(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            try:
                value = _value_of(match, env, document.folder)
            except _NotSet as error:
                findings.append(
                    document.finding(Code.VARIABLE_NOT_SET, str(error), loc, hint=error.hint)
                )
                return match[0]
            may_be_secret = len(value) >= _SECRET_LENGTH and value not in match[0]
            if may_be_secret and (match[1].startswith("file:") or not names_file(loc, value)):
                secrets[value] = match[0]
            return value

        return _VARIABLE.sub(value_of, text)

    return replace(document, data=visit(document.data, ()), secrets=secrets)


class _NotSet(Exception):
    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def _value_of(match: re.Match[str], env: Mapping[str, str], folder: Path) -> str:
    reference, closed = match[1], match[2]
    if not closed:
        raise _NotSet(f"`{match[0]}` is not closed with `}}`; variables do not nest", _FORMS)
    if reference.startswith("file:"):
        return _contents(folder / reference.removeprefix("file:"))
    name, has_default, default = reference.partition(":-")
    if not _NAME.fullmatch(name):
        raise _NotSet(f"`{match[0]}` is not a variable", _FORMS)
    if env.get(name):
        return env[name]
    if has_default:
        return default
    state = "empty" if name in env else "not set"
    hint = f"set it, or write `${{{name}:-default}}`"
    raise _NotSet(f"the environment variable `{name}` is {state}", hint)


def _contents(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise _NotSet(f"`{path}` cannot be read: {reason}", "create the file") from error
