"""The sink `postgres`: rows and offsets in one transaction of a PostgreSQL database."""

from kafka_etl_connectors.postgres.plugin import SINK

__all__ = ["SINK"]
