"""Kafka: the only place that imports the client. Gather, commit, abort, rewind, end, renewal."""
