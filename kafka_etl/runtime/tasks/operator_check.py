"""Whether the operator of a task pipeline can be built; a process of its own finds out.

An owner runs no code of users, and importing an operator would. So a misspelt operator is an error
of the pipeline when the daemon starts, and not of the first attempt.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Final

from kafka_etl.config.build import build
from kafka_etl.config.document import Document
from kafka_etl.errors import ConfigError, KafkaEtlError, Problem
from kafka_etl.plugins import PluginRegistry
from kafka_etl.runtime.child import OperatorChild, task_of_child
from kafka_etl.runtime.user_code import set_stdout_aside

_MODULE: Final = "kafka_etl.runtime.tasks.operator_check"
_PATIENCE: Final = 60.0
"""Seconds after which an operator that is still being imported is taken for a sound one."""
_TASK_INBOX: Final = "task_inbox"


class OperatorCheck:
    """The check of one operator, under way.

    Args:
        document: The pipeline that owns tasks; of any other there is nothing to check.
    """

    def __init__(self, document: Document) -> None:
        self._child: OperatorChild | None = None
        source = document.data["source"]
        if source.get("use") == _TASK_INBOX:
            places = [(("operators", 0), ("operator",)), *document.places]
            self._child = OperatorChild(_MODULE)
            self._child.send(replace(document, data=source["with"]["run"], places=places))

    def finish(self) -> None:
        """Wait for the end of the check.

        Raises:
            ConfigError: The operator cannot be built.
        """
        if self._child is None:
            return
        try:
            problem = self._answer(self._child)
        finally:
            self._child.end()
            self._child.close()
        if problem is not None:
            raise ConfigError(problem.what, problem.next_step)

    def _answer(self, child: OperatorChild) -> Problem | None:
        if not child.connection.poll(_PATIENCE):
            return None
        try:
            answer: Problem | None = child.connection.recv()
        except (EOFError, OSError):
            how = child.end()
            return ConfigError(f"a process that imports the operator does not live: {how}").problem
        return answer


def main() -> None:
    """Build the pipeline of the attempts, and say what is wrong."""
    document: Document
    document, connection = task_of_child()
    set_stdout_aside()
    sys.path.insert(0, str(document.folder))
    problem: Problem | None = None
    try:
        build(document, PluginRegistry.installed())
    except KafkaEtlError as error:
        problem = error.problem
    connection.send(problem)


if __name__ == "__main__":
    main()
