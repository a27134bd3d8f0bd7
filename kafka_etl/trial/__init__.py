"""Runs a pipeline's operators on some records, as a worker would, and writes nothing.

`kafka-etl try`, `kafka-etl test`, `kafka-etl dlq debug` and `kafka_etl.testing` use it.
"""
