"""The plug-in `mns`; imports the client only where one is made."""

from __future__ import annotations

from typing import Final

from kafka_etl.contracts import Deployment, Guarantee, Label, Preflight, SinkPlugin
from kafka_etl_connectors.mns.check import check
from kafka_etl_connectors.mns.client import require_client
from kafka_etl_connectors.mns.settings import MnsSettings
from kafka_etl_connectors.mns.writer import MnsWriter


def label(settings: MnsSettings) -> Label:
    """What the sink promises with these settings."""
    kind = "queue" if settings.queue is not None else "topic"
    because = f"the {kind} does not recognise a repeat"
    if settings.format == "envelope":
        because += "; the id is in the message, requestContext.requestId"
    return Label(Guarantee.AT_LEAST_ONCE, because)


def _build(settings: MnsSettings, deployment: Deployment) -> MnsWriter:
    require_client()
    return MnsWriter(settings, deployment.provenance)


def _check(settings: MnsSettings, deployment: Deployment) -> Preflight:
    return check(settings, looks_only=deployment.looks_only)


SINK: Final = SinkPlugin(
    settings=MnsSettings,
    label=label,
    build=_build,
    check=_check,
    summary="messages to a queue or topic of Alibaba Cloud's message service (MNS, SMQ)",
    require=require_client,
)
