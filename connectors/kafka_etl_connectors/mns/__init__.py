"""The sink `mns`: messages to a queue or a topic of Alibaba Cloud's message service (MNS, SMQ)."""

from kafka_etl_connectors.mns.sink import SINK

__all__ = ["SINK"]
