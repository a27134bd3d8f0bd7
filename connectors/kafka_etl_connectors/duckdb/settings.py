"""Settings of the sink `duckdb`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from kafka_etl.contracts import Settings
from kafka_etl.table_settings import TableSettings


class OffsetSettings(Settings):
    """Where the store keeps the offsets.

    Attributes:
        table: Table of the offsets; made if it is missing.
        name: Name under which they stand; default: the consumer group.
    """

    table: str = Field(default="kafka_etl_offsets", min_length=1)
    name: str | None = Field(default=None, min_length=1)


class DuckdbSettings(TableSettings):
    """Settings of the sink `duckdb`.

    Attributes:
        path: The database file; a relative path begins at the pipeline file.
        types: Column -> DuckDB type, for `create` and `evolve`.
        offsets: Where the offsets are.
    """

    path: Path
    types: dict[str, str] = Field(default_factory=dict[str, str])
    offsets: OffsetSettings = OffsetSettings()
