"""The contracts of plug-ins: sources, sinks and codecs, with their settings and errors.

Of this project, a plug-in's package imports only this module, `kafka_etl` and `kafka_etl.errors`.
`kafka_etl.testing` has the suites that every implementation must pass, the built-in ones first.
"""

from kafka_etl.contracts.codec import Codec, CodecContext, CodecPlugin, TableCodec, Unavailable
from kafka_etl.contracts.deployment import Abandoned, ClientSettings, Deployment, Pulse
from kafka_etl.contracts.plugin import Preflight, SinkPlugin, SourcePlugin
from kafka_etl.contracts.settings import (
    BatchSettings,
    CodecUse,
    Guarantee,
    Settings,
    SinkSettings,
    SourceSettings,
    UseSettings,
    bare_string_is_use,
)
from kafka_etl.contracts.sink import Aborted, OutcomeUnknown, PromptSink, Refusal, Sink, Writer
from kafka_etl.contracts.source import Arrival, Position, Reconnect, Source

__all__ = [
    "Abandoned",
    "Aborted",
    "Arrival",
    "BatchSettings",
    "ClientSettings",
    "Codec",
    "CodecContext",
    "CodecPlugin",
    "CodecUse",
    "Deployment",
    "Guarantee",
    "OutcomeUnknown",
    "Position",
    "Preflight",
    "PromptSink",
    "Pulse",
    "Reconnect",
    "Refusal",
    "Settings",
    "Sink",
    "SinkPlugin",
    "SinkSettings",
    "Source",
    "SourcePlugin",
    "SourceSettings",
    "TableCodec",
    "Unavailable",
    "UseSettings",
    "Writer",
    "bare_string_is_use",
]
