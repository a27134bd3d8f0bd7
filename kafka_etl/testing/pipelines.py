"""Runs a pipeline, or one operator, on records of a test: without Kafka, and without waiting.

In plain pytest, with a pipeline file beside the test::

    def test_dollars_are_converted() -> None:
        ran = run_pipeline("pipeline.yaml", [{"id": 1, "amount": 10.0, "currency": "USD"}])
        assert [output.value["amount_eur"] for output in ran.outputs] == [9.2]

Records pass the engine as in a worker: decoding, operators with their retries, encoding.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from kafka_etl.config.build import Pipeline
from kafka_etl.config.document import Document
from kafka_etl.config.load import load
from kafka_etl.config.report import config_error
from kafka_etl.config.task_documents import all_documents, attempt_document
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.invocation import Attempt, Condition, DeadLetter
from kafka_etl.plugins import Plugin, PluginRegistry
from kafka_etl.record import KEEP, Headers, Record, headers_of
from kafka_etl.trial.clock import Clock, FakeClock
from kafka_etl.trial.one_operator import document_with, to_any_topic
from kafka_etl.trial.payload import decoded, encoded, outputs_of, source_topic
from kafka_etl.trial.run import building, run_trial
from kafka_etl.trial.stored_record import StoredRecord

_OPERATOR: Final = "operator"


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """A dead letter of a test: a record, and why it failed.

    Attributes:
        condition: Reason of the failure, such as `OperatorError`.
        error_type: Class of the error with its module, such as `ValueError`.
        error_text: Text of the error.
        operator: Name of the operator, or of the codec, that failed.
        attempts: The attempts that failed.
        value: Value of the record, decoded if its codec decodes it.
        key: Key of the record, likewise.
        headers: Headers of the record.
        letter: The dead letter itself.
    """

    condition: Condition
    error_type: str
    error_text: str
    operator: str
    attempts: tuple[Attempt, ...]
    value: Any
    key: Any
    headers: Headers
    letter: DeadLetter


class PipelineRun(NamedTuple):
    """What came of the records: outputs, dead letters, and the number of dropped records.

    Outputs have decoded values and keys, and their `destination` is the topic.
    """

    outputs: list[Record]
    dead_letters: list[FailedRecord]
    dropped: int


def run_pipeline(
    path: str | os.PathLike[str],
    records: Iterable[Any],
    *,
    clock: Clock | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> PipelineRun:
    """Run the pipeline of a file on records, which are one batch.

    Args:
        path: The pipeline file.
        records: Values, which the source's codec encodes; bytes, which stay as they are; a `Record`
            where key, headers or timestamp matter; or a `StoredRecord`.
        clock: Tells the time, and waits before retries; None: a new `FakeClock`.
        env: Variables of the file; None: those of the process.
        overrides: Place in the file, such as `operators.0.with.rate` -> YAML text of its value.

    Raises:
        ConfigError: The file has findings; the error's text holds all of them.
        TryEnded: A system that a codec or an operator needs is away.
    """
    loaded = load([Path(path)], env=os.environ if env is None else env, overrides=overrides)
    findings = list(loaded.findings)
    for document in loaded.documents:
        all_documents(document, findings)
    if findings:
        raise config_error(findings)
    (document,) = loaded.documents
    return _run(attempt_document(document), records, clock)


def run_operator(
    operator: Callable[..., Any],
    records: Iterable[Any],
    /,
    *,
    clock: Clock | None = None,
    codec: str = "json",
    **settings: Any,
) -> PipelineRun:
    """Run one operator on records, as a pipeline with this operator alone would.

    The operator may route records to any topic; outputs have it as their `destination`.

    Args:
        operator: A function, a class, or what else a pipeline file can name.
        records: As in `run_pipeline`.
        clock: As in `run_pipeline`.
        codec: Codec of values, at both ends.
        settings: The operator's settings, by their names.

    Raises:
        ConfigError: The operator does not accept the settings, or takes no record.
        TryEnded: A system that the operator needs is away.
    """
    name = str(getattr(operator, "__name__", _OPERATOR))
    given = Plugin("operators", name, "this test", "", lambda: operator)
    plugins = PluginRegistry([*PluginRegistry.installed(), given])
    made = document_with(name, settings, codec=codec)
    return _run(made, records, clock, plugins, to_any_topic)


def _run(
    document: Document,
    records: Iterable[Any],
    clock: Clock | None,
    plugins: PluginRegistry | None = None,
    changed: Callable[[Chain], Chain] | None = None,
) -> PipelineRun:
    timed = clock or FakeClock()
    with building(document, plugins) as built:
        pipeline = built()
        given = [_stored(record, i, pipeline, timed) for i, record in enumerate(records)]
        trial = run_trial(pipeline, given, timed, changed)
        settlement = trial.settlement
        return PipelineRun(
            list(outputs_of(pipeline, settlement.outputs)),
            [_failed(letter, pipeline) for letter in settlement.dead_letters],
            trial.dropped,
        )


def _stored(given: Any, number: int, pipeline: Pipeline, clock: Clock) -> StoredRecord:
    if isinstance(given, StoredRecord):
        return given
    record = given if isinstance(given, Record) else Record(given)
    topic, codecs = record.destination or source_topic(pipeline), pipeline.codecs
    key = None if record.key is KEEP else record.key
    headers: Any = record.headers
    time_ms: Any = record.timestamp
    return StoredRecord(
        encoded(record.value, codecs.source_value, topic),
        encoded(key, codecs.source_key, topic),
        None if headers is KEEP else headers,
        timestamp_ms=clock.now_ms() if time_ms is KEEP else time_ms,
        topic=topic,
        offset=number,
    )


def _failed(letter: DeadLetter, pipeline: Pipeline) -> FailedRecord:
    record, failure, codecs = letter.record, letter.failure, pipeline.codecs
    headers = headers_of(record)
    return FailedRecord(
        failure.condition,
        failure.error.type,
        failure.error.message,
        failure.operator,
        failure.attempts,
        decoded(record.value(), codecs.source_value, headers),
        decoded(record.key(), codecs.source_key, headers),
        headers,
        letter,
    )
