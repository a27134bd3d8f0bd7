"""The sink `redis`: rows and offsets by one script in Redis or Valkey."""

from kafka_etl_connectors.redis.plugin import SINK

__all__ = ["SINK"]
