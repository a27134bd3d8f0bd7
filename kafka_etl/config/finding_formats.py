"""Findings for programs: JSON lines, annotations of GitHub, and SARIF for code scanning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

import orjson

from kafka_etl.config.report import Finding, Mark, show_loc

_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"
_MESSAGE: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY: Final = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def json_lines(findings: Sequence[Finding]) -> str:
    """One JSON object a line, with code, message, path, line, column, place and hint."""
    rows = [
        {
            "code": str(finding.code),
            "message": finding.message,
            "path": str(finding.path),
            "line": finding.mark.line if finding.mark else None,
            "column": finding.mark.column if finding.mark else None,
            "place": show_loc(finding.loc),
            "hint": finding.hint or None,
        }
        for finding in findings
    ]
    return "\n".join(orjson.dumps(row).decode() for row in rows)


def github(findings: Sequence[Finding]) -> str:
    """Workflow commands, which GitHub shows beside the lines of a pull request."""
    return "\n".join(map(_annotation, findings))


def sarif(findings: Sequence[Finding]) -> str:
    """One SARIF 2.1.0 log, also if nothing was found: a scan that finds nothing closes alerts."""
    rules = sorted({str(finding.code) for finding in findings})
    driver = {
        "name": "kafka-etl validate",
        "version": version("kafka-etl"),
        "rules": [{"id": rule} for rule in rules],
    }
    run = {"tool": {"driver": driver}, "results": [_result(finding) for finding in findings]}
    return orjson.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [run]}).decode()


FORMATS: Final[Mapping[str, Callable[[Sequence[Finding]], str]]] = MappingProxyType(
    {"json": json_lines, "github": github, "sarif": sarif}
)
"""Name of a format -> what makes the text."""


def _annotation(finding: Finding) -> str:
    mark = finding.mark or Mark(1, 1)
    about = {
        "file": str(finding.path),
        "line": str(mark.line),
        "col": str(mark.column),
        "title": str(finding.code),
    }
    listed = ",".join(f"{name}={text.translate(_PROPERTY)}" for name, text in about.items())
    return f"::error {listed}::{_text(finding).translate(_MESSAGE)}"


def _result(finding: Finding) -> dict[str, Any]:
    mark = finding.mark or Mark(1, 1)
    place = {
        "artifactLocation": {"uri": finding.path.as_posix()},
        "region": {"startLine": mark.line, "startColumn": mark.column},
    }
    return {
        "ruleId": str(finding.code),
        "level": "error",
        "message": {"text": _text(finding)},
        "locations": [{"physicalLocation": place}],
    }


def _text(finding: Finding) -> str:
    return f"{finding.message}. {finding.hint}" if finding.hint else finding.message
