"""Settings of the sink `duckdb`."""

from __future__ import annotations

from kafka_etl.sql_tables import FileSettings


class DuckdbSettings(FileSettings):
    """Settings of the sink `duckdb`."""
