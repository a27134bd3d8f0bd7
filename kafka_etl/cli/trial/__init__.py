"""Commands that run a pipeline without Kafka: `try` and `test`."""
