"""The pipeline of a trial that has an operator, and no file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kafka_etl.config.document import Document


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
