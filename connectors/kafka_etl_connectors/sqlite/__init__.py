"""The sink `sqlite`: rows and offsets in one transaction of a file."""

from kafka_etl_connectors.sqlite.plugin import SINK

__all__ = ["SINK"]
