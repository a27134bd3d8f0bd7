"""The deployment of a worker, for tests of a plug-in's `build` and `check`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from kafka_etl.contracts import Deployment
from kafka_etl.envelope import Provenance

_WORKER: Final = "kafka-etl.test.0.0"
_PROVENANCE: Final = Provenance(
    pipeline="test",
    config_hash="",
    group="test",
    worker=_WORKER,
    host="localhost",
    pid=1,
    kafka_etl="0",
    python="3",
    versions={},
)


def deployment(**changes: Any) -> Deployment:
    """Return the deployment of a pipeline `test` in a group of that name, without a cluster.

    Args:
        changes: Attributes of `Deployment` with other values, such as `columns` or `folder`.

    Raises:
        TypeError: `Deployment` has no such attribute.
    """
    made = Deployment("test", _WORKER, {}, {}, {}, _PROVENANCE, group="test")
    return replace(made, **changes)
