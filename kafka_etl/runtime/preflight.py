"""Preflight: everything that can be known to be wrong before a worker joins the group.

A process of its own, because it imports user code and makes an admin client.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from kafka_etl.config.build import build
from kafka_etl.contracts import Preflight
from kafka_etl.errors import KafkaEtlError, Problem
from kafka_etl.kafka.preflight import check_topics
from kafka_etl.log import configure
from kafka_etl.registry import Registry
from kafka_etl.runtime.assemble import deployment
from kafka_etl.runtime.child import task_of_child
from kafka_etl.runtime.messages import Checked, PreflightTask


def check(task: PreflightTask) -> Checked:
    """Build the pipeline, and check and prepare source, sink and dead-letter topic.

    Raises:
        KafkaEtlError: The first thing that is wrong with the cluster, or all that is wrong with
            the file.
    """
    pipeline = build(task.document, Registry.installed())
    place = deployment(pipeline, task.member, Preflight())
    found = pipeline.source.check(pipeline.source_settings, place)
    place = replace(place, partitions=found.partitions)
    found = _both(found, pipeline.sink.check(pipeline.sink_settings, place))
    letters = pipeline.spec.dead_letter
    if letters is not None:
        found = _both(found, check_topics([letters.topic], letters.create or None, place))
    return Checked(found, pipeline.guarantee)


def _both(first: Preflight, second: Preflight) -> Preflight:
    return Preflight(
        partitions={**first.partitions, **second.partitions},
        size_limits={**first.size_limits, **second.size_limits},
        ends=first.ends,
        notes=first.notes + second.notes,
    )


def main() -> None:
    """The process: a task comes through the pipe, `Checked` or a `Problem` goes back."""
    task: PreflightTask
    task, connection = task_of_child()
    configure(task.logs.levels, pipeline=task.document.data.get("name"), worker="preflight")
    sys.path.insert(0, str(task.document.folder))
    answer: Checked | Problem
    try:
        answer = check(task)
    except KafkaEtlError as error:
        answer = error.problem
    connection.send(answer)


if __name__ == "__main__":
    main()
