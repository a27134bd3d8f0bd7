"""Kafka pipelines in YAML and plain Python."""

from kafka_etl.errors import Permanent, RecordErrors, Retry
from kafka_etl.functions.context import Context
from kafka_etl.functions.declare import DROP, operator
from kafka_etl.record import Record

__all__ = ["DROP", "Context", "Permanent", "Record", "RecordErrors", "Retry", "operator"]
