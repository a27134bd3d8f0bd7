"""The built-in codecs: bytes to values and back."""

from kafka_etl.codecs.json.codec import JSON
from kafka_etl.codecs.plain import BYTES, TEXT, of_class

__all__ = ["BYTES", "JSON", "TEXT", "of_class"]
