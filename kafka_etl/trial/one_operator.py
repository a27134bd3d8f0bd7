"""The pipeline of a trial that has an operator, and no file: its records may go to any topic."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kafka_etl.config.document import Document
from kafka_etl.engine.attempt.chain import Chain
from kafka_etl.engine.attempt.encode import Encode
from kafka_etl.kafka.settings import KafkaSinkSettings

_ANY: Final = KafkaSinkSettings(topic="out", routes=("^_?[^_]",))


def document_with(
    operator: str, settings: Mapping[str, Any], *, topic: str = "in", codec: str = "json"
) -> Document:
    """Make the document of a pipeline with one operator.

    The operator's module is looked for in the current folder. Nobody connects to the brokers that
    the document names.

    Args:
        operator: `module:function`, or the name of a plug-in.
        settings: Settings of the operator.
        topic: Topic of the source.
        codec: Codec of values, at both ends.
    """
    data: dict[str, Any] = {
        "name": "trial",
        "kafka": {"bootstrap.servers": "localhost:9092"},
        "source": {"use": "kafka", "with": {"topics": [topic], "value": codec}},
        "operators": [{"use": operator, "with": dict(settings)}],
        "sink": {"use": "kafka", "with": {"topic": "out"}},
    }
    return Document(Path(operator), data, {}, {}, ())


def to_any_topic(chain: Chain) -> Chain:
    """Let the records of a chain go to any topic: without a file, nobody has listed routes."""
    stage = chain.encode
    return (
        replace(chain, encode=replace(stage, look_up=_refused)) if type(stage) is Encode else chain
    )


def _refused(topics: Collection[Any]) -> dict[Any, str]:
    """Topic -> why no record can go there, for those of the topics that Kafka does not allow."""
    return {name: "no topic has such a name" for name in topics if not _ANY.fits(str(name))}
