"""Records as JSON lines on standard output: the smallest sink, and the model for others."""

from kafka_etl_connectors.stdout.sink import SINK

__all__ = ["SINK"]
