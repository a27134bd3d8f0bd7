"""The forms in which `kafka-etl dlq show` shows bytes."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    """How bytes are shown."""

    TEXT = "text"
    JSON = "json"
    HEX = "hex"
    AVRO = "avro"
