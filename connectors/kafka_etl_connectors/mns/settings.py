"""Settings of the sink `mns`."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from kafka_etl.contracts import ByteSinkSettings
from kafka_etl.units import Duration

BATCH: Final = 16
"""Messages in a request."""
BODY: Final = 64 * 1024
"""Bytes of a message's body, and of all bodies of a request."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,254}$")]


class MnsSettings(ByteSinkSettings):
    """Settings of the sink `mns`.

    Attributes:
        endpoint: `https://ACCOUNT.mns.REGION.aliyuncs.com`, without a path.
        access_key_id: Id of the access key.
        access_key_secret: Its secret.
        security_token: Token of temporary credentials; empty: the access key is a lasting one.
        queue: The queue to send to; either this or `topic`.
        topic: The topic to publish to.
        format: `value`: the message is the value. `envelope`: the message is a JSON document with
            the source record and the value, as a function service sends to its destinations.
        encoding: `base64`: the body is encoded, as the service's own clients expect. `text`: the
            body is the message itself, which must be text that XML can hold.
        timeout: How long to wait for the service, in each step of a request.
        delay_seconds: How long a queue hides a new message, in seconds; None: as the queue says.
        priority: Priority in a queue, 1 is the highest; None: the service's own, 8.
    """

    endpoint: str = Field(examples=["https://1234567890.mns.eu-central-1.aliyuncs.com"])
    access_key_id: str = Field(min_length=1, examples=["${MNS_KEY_ID}"])
    access_key_secret: SecretStr = Field(examples=["${MNS_SECRET}"])
    security_token: SecretStr = SecretStr("")
    queue: Name | None = Field(default=None, examples=["orders"])
    topic: Name | None = None
    format: Literal["value", "envelope"] = "value"
    encoding: Literal["base64", "text"] = "base64"
    timeout: Duration = Field(default=30.0, gt=0, le=300)
    delay_seconds: int | None = Field(default=None, ge=0, le=604_800)
    priority: int | None = Field(default=None, ge=1, le=16)

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, endpoint: str) -> str:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("should be https://ACCOUNT.mns.REGION.aliyuncs.com")
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("should end behind the host: name the queue with `queue`")
        return f"{parts.scheme}://{parts.netloc}"

    @model_validator(mode="after")
    def _has_one_target(self) -> MnsSettings:
        if (self.queue is None) == (self.topic is None):
            raise ValueError("should name one target, either `queue` or `topic`")
        if self.topic is not None and (self.delay_seconds, self.priority) != (None, None):
            raise ValueError("`delay_seconds` and `priority` are for a queue: a topic has none")
        return self

    @property
    def target(self) -> str:
        """The target's kind and name, for messages."""
        return f"queue {self.queue}" if self.queue is not None else f"topic {self.topic}"

    @property
    def body_bytes(self) -> int:
        """Bytes of a message before its body is encoded; likewise of all messages of a request."""
        return BODY // 4 * 3 if self.encoding == "base64" else BODY
