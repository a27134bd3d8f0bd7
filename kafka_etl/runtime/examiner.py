"""The process that examines pipeline files: imports their operators, and says what is wrong."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from kafka_etl.config.build import Pipeline, examine, same_names
from kafka_etl.config.document import Document
from kafka_etl.config.load import load
from kafka_etl.config.report import Finding, Loc, show_loc
from kafka_etl.config.task_documents import (
    ACCEPT,
    all_documents,
    is_task_mode,
    notes_of,
    stream_documents,
    task_spec,
)
from kafka_etl.config.task_summary import summary
from kafka_etl.errors import Code
from kafka_etl.plugins import PluginRegistry, importable
from kafka_etl.runtime.child import task_of_child
from kafka_etl.runtime.examination import TELL_PLACE, Begun, ExaminationTask, Examined
from kafka_etl.runtime.user_code import set_stdout_aside

_NOT_ALIVE: Final = (
    "see what runs when the module is imported: definitions belong at its top level, and work into "
    "functions; `--no-import` checks everything else"
)
_NO_ANSWER: Final = "see whether the server answers; without `--connect` it is not asked"


def main() -> None:
    """Examine what the parent names; send each step, and at last the result."""
    task: ExaminationTask
    task, connection = task_of_child()
    os.set_inheritable(task.trace, False)
    faulthandler.enable(task.trace)
    faulthandler.register(TELL_PLACE, task.trace, all_threads=False)
    set_stdout_aside()
    connection.send(Examination(task, connection.send).run())


@dataclass(slots=True)
class Examination:
    """One examination.

    Args:
        task: What is to be examined.
        begin: Called at the beginning of each step.
        registry: Registry of plug-ins.
    """

    task: ExaminationTask
    begin: Callable[[Begun], None]
    registry: PluginRegistry = field(default_factory=PluginRegistry.installed)
    _findings: list[Finding] = field(default_factory=list[Finding])
    _lines: list[str] = field(default_factory=list[str])
    _is_whole: bool = True
    _notes: list[str] = field(default_factory=list[str])
    _left_out: list[str] = field(default_factory=list[str])
    _not_imported: dict[str, None] = field(default_factory=dict[str, None])

    def run(self) -> Examined:
        """Examine all files."""
        task = self.task
        loaded = load(task.paths, env=os.environ, overrides=task.overrides)
        self._findings = loaded.findings
        sound: list[tuple[Document, Pipeline]] = []
        for document in loaded.documents:
            sound += self._file(document)
        self._findings += same_names((document, pipeline.spec) for document, pipeline in sound)
        for document in loaded.documents:
            self._lines += [f"{_name(document)}: {note}" for note in notes_of(document)]
        return Examined(self._findings, self._lines, self._left_out)

    def _file(self, document: Document) -> Iterator[tuple[Document, Pipeline]]:
        """Examine a file, and yield the pipelines without a problem that it stands for."""
        self._not_imported.clear()
        self._notes.clear()
        parts = all_documents(document, self._findings)
        known = len(self._findings)
        sound = [(part, pipeline) for part in parts if (pipeline := self._part(part)) is not None]
        self._findings[known:] = without_inner(document, self._findings[known:])
        if self.task.connects:
            running = len(stream_documents(document, []))
            sound = [
                (part, each) for part, each in sound if self._connects(part, each, parts[:running])
            ]
        yield from sound
        spec = task_spec(document)
        if spec is None:
            self._lines += [_line(document, pipeline) for _, pipeline in sound]
        elif len(sound) == len(parts):
            labels = {pipeline.spec.name: pipeline.label for _, pipeline in sound}
            self._lines.append(summary(document, spec, labels))
        self._lines += self._notes
        if self._not_imported:
            names = ", ".join(self._not_imported)
            self._left_out.append(f"{_name(document)}: not imported, so not checked: {names}")

    def _part(self, part: Document) -> Pipeline | None:
        subject = f"{part.path}#{part.data.get('name')}"
        if not self._survives(part, subject, "the check of this file", ()):
            return None
        self._is_whole = True
        with importable(part.folder):
            found = examine(part, self.registry, self._may_import, with_extras=True)
        if isinstance(found, Pipeline):
            return found if self._is_whole else None
        self._add(found)
        return None

    def _connects(self, part: Document, pipeline: Pipeline, running: Sequence[Document]) -> bool:
        """Look at the servers of a pipeline that a daemon would run; whether nothing is wrong."""
        if part not in running:
            return True
        from kafka_etl.runtime.servers import Look  # noqa: PLC0415 - imports the Kafka client

        known = len(self._findings)

        def may_ask(loc: Loc) -> bool:
            subject = f"{part.path}#{part.data.get('name')}: {show_loc(loc)}"
            return self._survives(part, subject, "looking at the server", loc, hint=_NO_ANSWER)

        look = Look(part, pipeline, may_ask)
        look.run()
        self._add(look.findings)
        self._notes += [f"{_name(part)}: {note}" for note in look.notes]
        return len(self._findings) == known

    def _may_import(self, document: Document, use: str, loc: Loc) -> bool:
        if use == ACCEPT:
            return True
        module = use.partition(":")[0]
        if ":" in use and not self.task.imports:
            self._not_imported[use] = None
            return False
        return self._survives(document, f"{document.folder}:{module}", f"importing {use}", loc)

    def _survives(
        self, document: Document, subject: str, what: str, loc: Loc, hint: str = _NOT_ALIVE
    ) -> bool:
        """Begin a step; False, with a finding: the process has not survived the step before."""
        how = self.task.deadly.get(subject)
        if how is None:
            self.begin(Begun(subject))
            return True
        self._is_whole = False
        self._add([document.finding(Code.BROKEN_PLUGIN, f"{what} {how}", loc, hint=hint)])
        return False

    def _add(self, found: Iterable[Finding]) -> None:
        self._findings += [finding for finding in found if finding not in self._findings]


def without_inner(document: Document, findings: Sequence[Finding]) -> Sequence[Finding]:
    """Leave out findings in what the file does not have, but in what it stands for in task mode.

    A mistake in the file is also found where the file has it.
    """
    own = {(), *((key,) for key in document.data)}
    found = [each for each in findings if not is_task_mode(document) or each.loc[:1] in own]
    return found or findings


def _name(document: Document) -> str:
    return f"{document.path}: {document.data.get('name')}"


def _line(document: Document, pipeline: Pipeline) -> str:
    operators = ", ".join(use.label for use in pipeline.spec.operators) or "none"
    return f"{_name(document)}: {pipeline.label}; operators: {operators}"


if __name__ == "__main__":
    main()
