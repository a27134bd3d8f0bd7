"""The contracts of plug-ins: sources, sinks and codecs, and the values between them.

A plug-in's package imports this module, `kafka_etl` and `kafka_etl.errors`, nothing else.
`kafka_etl.testing` has the suites that every implementation must pass, built-in ones included.
"""

from kafka_etl.contracts.codec import (
    Codec,
    CodecContext,
    CodecPlugin,
    Fields,
    TableCodec,
    Unavailable,
)
from kafka_etl.contracts.deployment import Abandoned, ClientSettings, Deployment, Pulse
from kafka_etl.contracts.doors import (
    TAKEN,
    Again,
    Conflict,
    Limits,
    Move,
    RefusedRows,
    RollingStore,
    RowOrder,
    Sender,
    Store,
    StoredOffset,
    Taken,
    Unreachable,
    Writer,
)
from kafka_etl.contracts.label import Label
from kafka_etl.contracts.plugin import Preflight, SinkPlugin, SourcePlugin
from kafka_etl.contracts.rows import Row, Rows, place_of
from kafka_etl.contracts.settings import (
    BatchSettings,
    ByteSinkSettings,
    CodecUse,
    Guarantee,
    OffsetSettings,
    Settings,
    SinkSettings,
    SourceSettings,
    UseSettings,
    bare_string_is_use,
)
from kafka_etl.contracts.sink import (
    Aborted,
    OffsetKeeper,
    OutcomeUnknown,
    Refusal,
    RowsRefused,
    Sink,
)
from kafka_etl.contracts.source import Accounts, Arrival, Position, Reconnect, Source
from kafka_etl.contracts.table import Column, Kind
from kafka_etl.extras import require_extra
from kafka_etl.invocation import Refused
from kafka_etl.record import Partition
from kafka_etl.units import Duration, Size

__all__ = [
    "TAKEN",
    "Abandoned",
    "Aborted",
    "Accounts",
    "Again",
    "Arrival",
    "BatchSettings",
    "ByteSinkSettings",
    "ClientSettings",
    "Codec",
    "CodecContext",
    "CodecPlugin",
    "CodecUse",
    "Column",
    "Conflict",
    "Deployment",
    "Duration",
    "Fields",
    "Guarantee",
    "Kind",
    "Label",
    "Limits",
    "Move",
    "OffsetKeeper",
    "OffsetSettings",
    "OutcomeUnknown",
    "Partition",
    "Position",
    "Preflight",
    "Pulse",
    "Reconnect",
    "Refusal",
    "Refused",
    "RefusedRows",
    "RollingStore",
    "Row",
    "RowOrder",
    "Rows",
    "RowsRefused",
    "Sender",
    "Settings",
    "Sink",
    "SinkPlugin",
    "SinkSettings",
    "Size",
    "Source",
    "SourcePlugin",
    "SourceSettings",
    "Store",
    "StoredOffset",
    "TableCodec",
    "Taken",
    "Unavailable",
    "Unreachable",
    "UseSettings",
    "Writer",
    "bare_string_is_use",
    "place_of",
    "require_extra",
]
