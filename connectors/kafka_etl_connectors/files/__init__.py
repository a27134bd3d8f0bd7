"""The sink `files`: lines in local files, one for each partition."""

from kafka_etl_connectors.files.plugin import SINK

__all__ = ["SINK"]
