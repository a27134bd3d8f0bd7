"""Preflight: credentials that the service knows, and a target that exists.

A service that is away makes a pipeline wait, not fail; so that is a note here, too.
"""

from __future__ import annotations

from kafka_etl.contracts import Preflight, Unreachable
from kafka_etl.errors import SinkFailed
from kafka_etl_connectors.mns.client import ServiceError, Target
from kafka_etl_connectors.mns.settings import MnsSettings


def check(settings: MnsSettings, *, looks_only: bool = False) -> Preflight:
    """Look at the target's attributes.

    Args:
        settings: Settings of the sink.
        looks_only: See `Deployment.looks_only`.

    Raises:
        Unreachable: The service is away, and the check only looks.
        SinkFailed: The service refuses: a wrong key, no right, no such queue.
        ExtraMissing: The client is not installed.
    """
    target = Target(settings)
    try:
        target.look()
    except ServiceError as error:
        judged = error.judged
        if isinstance(judged, Unreachable) and judged.mend:
            raise SinkFailed(
                f"{settings.target} at {settings.endpoint}: {judged.reason}", _next_step(judged)
            ) from error
        reason = getattr(judged, "reason", str(judged))
        if looks_only:
            raise Unreachable(reason) from error
        return Preflight(notes=(f"{settings.target}: {reason}; records wait until it answers",))
    finally:
        target.close()
    return Preflight()


def _next_step(judged: Unreachable) -> str:
    code = judged.reason.partition(":")[0]
    if code.endswith("NotExist"):
        return "Create it in the service's console, or mend its name and the endpoint."
    if code in {"TimeExpired", "InvalidDateHeader"}:
        return "Set this machine's clock."
    if code == "AccessDenied":
        return (
            "Allow the key's user mns:GetQueueAttributes and mns:SendMessage, or "
            "mns:GetTopicAttributes and mns:PublishMessage for a topic."
        )
    return "Mend access_key_id, access_key_secret or security_token."
