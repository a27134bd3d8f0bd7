"""The sink `stdout`: records as JSON lines; the smallest sink, and the model for others."""

from kafka_etl_connectors.stdout.sink import SINK

__all__ = ["SINK"]
