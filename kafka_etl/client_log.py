"""Where the Kafka client's own log lines go, instead of straight to stderr.

A command that only asks Kafka something imports this, and not `kafka_etl.log`, which takes long.
"""

from __future__ import annotations

import logging
from typing import Final

CLIENT_LOG: Final = "kafka_etl.client"


def client_logger() -> logging.Logger:
    """The logger that the Kafka client is given; `kafka_etl.log` shows its lines."""
    return logging.getLogger(CLIENT_LOG)
