"""Clients of librdkafka: their settings, and the meaning of their errors."""
