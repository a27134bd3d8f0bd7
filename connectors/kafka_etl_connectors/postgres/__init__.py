"""The sink `postgres`: rows, offsets and dead letters in one transaction of a database."""

from kafka_etl_connectors.postgres.plugin import SINK

__all__ = ["SINK"]
