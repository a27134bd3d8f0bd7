"""The sink `http`: sends records to an HTTP server, one by one or in sets."""

from kafka_etl_connectors.http.sink import SINK

__all__ = ["SINK"]
