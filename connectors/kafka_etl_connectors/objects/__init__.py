"""The sinks `objects` and `parquet`: files in an object store or a folder, exactly once."""

from kafka_etl_connectors.objects.sink import PARQUET, SINK

__all__ = ["PARQUET", "SINK"]
