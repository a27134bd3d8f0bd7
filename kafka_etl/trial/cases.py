"""Reads the cases of pipelines, and runs them: `kafka-etl test` without its output."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kafka_etl.config.build import Pipeline
from kafka_etl.config.case_model import CaseSpec, CasesSpec, GivenSpec, LetterSpec, OutputSpec
from kafka_etl.config.check import check
from kafka_etl.config.document import Document
from kafka_etl.config.load import CASES, is_yaml, load
from kafka_etl.config.model import PipelineSpec
from kafka_etl.config.report import Finding, config_error
from kafka_etl.config.task_documents import attempt_document, is_task_mode
from kafka_etl.config.task_model import TaskSpec
from kafka_etl.errors import Code, KafkaEtlError
from kafka_etl.invocation import ErrorInfo
from kafka_etl.trial.clock import FakeClock
from kafka_etl.trial.expectations import Letter, Payload, compared, letters_in, outputs_in
from kafka_etl.trial.given import Unreadable, listed, record_of
from kafka_etl.trial.run import building, run_trial

_SUFFIXES: Final = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Case:
    """A case and its place in a file."""

    spec: CaseSpec
    path: Path
    line: int


@dataclass(slots=True)
class Suite:
    """A pipeline and its cases, from its own file and from the file beside it.

    Attributes:
        document: Document with the operators of the pipeline.
        name: Name of the pipeline.
        path: Pipeline file.
        cases: The cases.
    """

    document: Document
    name: str
    path: Path
    cases: list[Case] = field(default_factory=list[Case])


@dataclass(frozen=True, slots=True)
class Ran:
    """A case that was run.

    Attributes:
        case: The case.
        problems: What differs from the expectations; empty: the case has passed.
        printed: What operators have printed.
        seconds: How long it took.
    """

    case: Case
    problems: Sequence[str]
    printed: str
    seconds: float


def read_suites(
    paths: Iterable[Path], env: Mapping[str, str], overrides: Mapping[str, str]
) -> list[Suite]:
    """Read pipelines and their cases; imports no plug-in.

    Args:
        paths: Pipeline files, folders of them, or files with cases.
        env: Environment variables.
        overrides: Place in the pipeline files -> YAML text of its value.

    Raises:
        ConfigError: The files have findings; the error's text holds all of them.
    """
    chosen = [_pipeline_file(path) for path in paths]
    loaded = load(chosen, env=env, overrides=overrides)
    findings = loaded.findings
    suites = [s for d in loaded.documents if (s := _suite(d, env, findings)) is not None]
    findings += _strays(chosen, [document.path for document in loaded.documents])
    if findings:
        raise config_error(findings)
    return suites


def run_suite(suite: Suite, chosen: Callable[[Case], bool]) -> list[Ran]:
    """Run the chosen cases, each with new instances of the operators and a clock of its own.

    What modules print when they are imported goes to standard error.

    Raises:
        ConfigError: The pipeline has findings.
    """
    with contextlib.redirect_stdout(sys.stderr), building(suite.document) as built:
        return [_run(case, built()) for case in filter(chosen, suite.cases)]


def _pipeline_file(path: Path) -> Path:
    """Return the pipeline file that a file with cases stands beside; any other path as it is."""
    if path.suffix not in _SUFFIXES or not path.stem.endswith(CASES):
        return path
    beside = [path.with_name(path.stem.removesuffix(CASES) + suffix) for suffix in _SUFFIXES]
    return next((file for file in beside if file.exists()), beside[0])


def _suite(document: Document, env: Mapping[str, str], findings: list[Finding]) -> Suite | None:
    """Make the suite of a pipeline file; None: the file has findings."""
    model: type[TaskSpec | PipelineSpec] = TaskSpec if is_task_mode(document) else PipelineSpec
    checked = check(model, document.data, document)
    if isinstance(checked, list):
        findings += checked
        return None
    suite = Suite(attempt_document(document), checked.name, document.path)
    suite.cases += _placed(checked.tests, document)
    beside = [document.path.with_name(document.path.stem + CASES + s) for s in _SUFFIXES]
    for path in filter(Path.exists, beside):
        loaded = load([path], env=env)
        findings += loaded.findings
        for own in loaded.documents:
            cases = check(CasesSpec, own.data, own)
            if isinstance(cases, list):
                findings += cases
            else:
                suite.cases += _placed(cases.tests, own)
    return suite


def _placed(specs: Sequence[CaseSpec], document: Document) -> Iterator[Case]:
    for number, spec in enumerate(specs):
        mark = document.keys.get(("tests", number))
        yield Case(spec, document.path, mark.line if mark else 1)


def _strays(folders: Iterable[Path], read: Sequence[Path]) -> Iterator[Finding]:
    """Yield a finding for each file with cases in a folder that has no pipeline of its name."""
    for folder in filter(Path.is_dir, folders):
        for path in sorted(folder.iterdir()):
            if is_yaml(path.name) and path.stem.endswith(CASES):
                own = _pipeline_file(path)
                if own not in read:
                    message = f"there is no pipeline file {own.name} for these cases"
                    yield Finding(Code.NO_PIPELINE, message, path)


def _run(case: Case, pipeline: Pipeline) -> Ran:
    printed = io.StringIO()
    started = time.perf_counter()
    with contextlib.redirect_stdout(printed):
        try:
            problems = list(_problems(case, pipeline))
        except Unreadable as wrong:
            problems = [str(wrong)]
        except KafkaEtlError as error:
            problems = [f"the pipeline would wait or stop: {error.what}"]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - `open` and `close` are user code
            info = ErrorInfo.of(error)
            problems = [f"{info.type}: {info.message}", *info.traceback.splitlines()]
    return Ran(case, problems, printed.getvalue(), time.perf_counter() - started)


def _problems(case: Case, pipeline: Pipeline) -> Iterator[str]:
    spec, folder = case.spec, case.path.parent
    clock = FakeClock()
    given = listed(spec.given, GivenSpec, folder, "given")
    records = [record_of(one, i, pipeline, folder, clock) for i, one in enumerate(given)]
    outputs = listed(spec.expect, OutputSpec, folder, "expect")
    letters = listed(spec.expect_dead_letters, LetterSpec, folder, "expect_dead_letters")
    trial = run_trial(pipeline, records, clock)
    yield from compared("output", outputs, outputs_in(trial, folder), Payload.differences)
    yield from compared("dead letter", letters, letters_in(trial, folder), Letter.differences)
    if spec.expect_dropped is not None and spec.expect_dropped != trial.dropped:
        yield f"dropped: expected {spec.expect_dropped:,}, got {trial.dropped:,}"
