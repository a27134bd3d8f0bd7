"""The sink `duckdb`: rows and offsets in one transaction of a file."""

from kafka_etl_connectors.duckdb.plugin import SINK

__all__ = ["SINK"]
