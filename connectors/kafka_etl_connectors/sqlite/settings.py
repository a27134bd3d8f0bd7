"""Settings of the sink `sqlite`."""

from __future__ import annotations

from pydantic import Field

from kafka_etl.sql_tables import FileSettings
from kafka_etl.units import Duration


class SqliteSettings(FileSettings):
    """Settings of the sink `sqlite`.

    Attributes:
        lock_timeout: Seconds to wait for another writer before a try counts as failed.
    """

    lock_timeout: Duration = Field(default=5.0, ge=0, le=60)
