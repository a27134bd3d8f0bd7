"""A consumer of a function service's destination messages, written from that service's page alone.

Knows the five keys and the fields of a Kafka element, requires each to be there, and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Element:
    key: str | None
    offset: int
    overflow: bool
    partition: int
    timestamp: int
    topic: str
    value: str | None
    size: int


@dataclass(frozen=True)
class Message:
    timestamp: int
    request_id: str
    function: str
    condition: str
    invocations: int
    elements: list[Element]
    status: int
    function_error: str
    response: str

    @property
    def failed(self) -> bool:
        return self.status != 200 or self.function_error != "" or self.condition != ""


def read(body: bytes | str) -> Message:
    """Read a message; raises KeyError or TypeError where a field is not as the page says."""
    message = json.loads(body)
    request, response = message["requestContext"], message["responseContext"]
    payload = message["requestPayload"]
    if not isinstance(payload, str):
        raise TypeError("requestPayload is a string")
    for owner, name, kind in (
        (message, "timestamp", int),
        (request, "requestId", str),
        (request, "functionArn", str),
        (request, "condition", str),
        (request, "approximateInvokeCount", int),
        (response, "statusCode", int),
        (response, "functionError", str),
        (message, "responsePayload", str),
    ):
        if type(owner[name]) is not kind:
            raise TypeError(f"{name} is {owner[name]!r}")
    return Message(
        message["timestamp"],
        request["requestId"],
        request["functionArn"],
        request["condition"],
        request["approximateInvokeCount"],
        [
            Element(
                one["key"],
                one["offset"],
                one["overflowFlag"],
                one["partition"],
                one["timestamp"],
                one["topic"],
                one["value"],
                one["valueSize"],
            )
            for one in json.loads(payload)
        ],
        response["statusCode"],
        response["functionError"],
        message["responsePayload"],
    )
