"""Settings that every source and every sink has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kafka_etl.units import Duration, Size


class Guarantee(StrEnum):
    """Guarantees to readers of the outputs, strongest first."""

    EXACTLY_ONCE = "exactly_once"
    EFFECTIVELY_ONCE = "effectively_once"
    AT_LEAST_ONCE = "at_least_once"

    @property
    def strength(self) -> int:
        return -list(Guarantee).index(self)


class Settings(BaseModel):
    """Base of every settings model: unknown keys are errors, values are fixed once loaded."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    misplaced: ClassVar[Mapping[str, str]] = {}
    """Key that users take for a setting -> hint what to do instead."""


class UseSettings(Settings):
    """A plug-in by name, with settings that the plug-in's own model checks.

    Attributes:
        use: Name of the plug-in.
        with_: Settings of the plug-in.
    """

    use: str = Field(min_length=1)
    with_: dict[str, Any] = Field(default_factory=dict[str, Any], alias="with")


def bare_string_is_use(value: Any) -> Any:
    """Expand the short form `value: json` to `value: {use: json}`."""
    return {"use": value} if isinstance(value, str) else value


CodecUse = Annotated[UseSettings, BeforeValidator(bare_string_is_use)]
"""A codec in a settings model."""


class BatchSettings(Settings):
    """When a batch is full; the first limit reached counts.

    Attributes:
        max_records: Records in a batch.
        max_bytes: Bytes of their values; a larger record is a batch of its own.
        max_wait: How long to fill a batch, counted from when the last one was full: an idle
            pipeline does not wait at all.
    """

    max_records: int = Field(default=10_000, ge=1, le=1_000_000)
    max_bytes: Size = Field(default=16 * 1024 * 1024, ge=1)
    max_wait: Duration = Field(default=0.01, ge=0, le=60)


class OffsetSettings(Settings):
    """Where a store keeps the offsets.

    Attributes:
        name: Name under which they are kept; None: the consumer group.
    """

    name: str | None = Field(default=None, min_length=1)


class SourceSettings(Settings):
    """Settings of every source.

    Attributes:
        value: Codec of values.
        key: Codec of keys.
        batch: When a batch is full.
    """

    value: CodecUse = UseSettings(use="bytes")
    key: CodecUse = UseSettings(use="bytes")
    batch: BatchSettings = BatchSettings()

    def reads(self, topic: str) -> bool:
        """Whether the source would read records that are written to this topic."""
        del topic
        return False


class SinkSettings(Settings):
    """Base of the settings of every sink; a sink derives one of the two classes below."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Kafka topics where records can go; the first is the default. Empty for other sinks."""
        return ()

    @property
    def destinations(self) -> Collection[str] | None:
        """Names of the places to which a row may be sent; None: any text, which the sink judges.

        Empty: the sink has one place for all rows.
        """
        return self.topics

    @property
    def source_timestamp(self) -> bool:
        """Whether outputs carry the timestamp of their source record."""
        return False


class ByteSinkSettings(SinkSettings):
    """Settings of a sink that takes encoded values, such as a queue.

    Attributes:
        value: Codec of values; None: the source's codec of values.
        key: Codec of keys; None: the source's codec of keys.
    """

    value: CodecUse | None = None
    key: CodecUse | None = None
