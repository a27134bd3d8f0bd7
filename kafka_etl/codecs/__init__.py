"""The built-in codecs that need no schema registry: `bytes`, `text` and `json`."""

from kafka_etl.codecs.json.codec import JSON
from kafka_etl.codecs.plain import BYTES, TEXT, not_bytes, of_class

__all__ = ["BYTES", "JSON", "TEXT", "not_bytes", "of_class"]
