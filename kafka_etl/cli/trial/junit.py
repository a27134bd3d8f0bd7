"""The results of cases as JUnit XML, which CI systems read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from kafka_etl.trial.cases import Ran, Suite

_ILLEGAL: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML does not have."""


def as_junit(results: Iterable[tuple[Suite, Sequence[Ran]]]) -> bytes:
    """Return one `testsuite` for each pipeline, one `testcase` for each case."""
    root = ET.Element("testsuites")
    for suite, ran in results:
        element = ET.SubElement(
            root,
            "testsuite",
            name=suite.name,
            tests=str(len(ran)),
            failures=str(sum(bool(one.problems) for one in ran)),
            errors="0",
            skipped="0",
            time=_seconds(sum(one.seconds for one in ran)),
        )
        for one in ran:
            _add_case(element, suite, one)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _add_case(parent: ET.Element, suite: Suite, ran: Ran) -> None:
    case = ran.case
    element = ET.SubElement(
        parent,
        "testcase",
        name=_legal(case.spec.name),
        classname=suite.name,
        file=str(case.path),
        line=str(case.line),
        time=_seconds(ran.seconds),
    )
    if ran.problems:
        failure = ET.SubElement(element, "failure", message=_legal(ran.problems[0]))
        failure.text = _legal("\n".join(ran.problems))
    if ran.printed:
        ET.SubElement(element, "system-out").text = _legal(ran.printed)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
